//! What may be wrong with CPUs.

/// What is wrong with the machine's CPUs, apart from what they say that they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defects {
    /// They translate ahead of the program, and keep what they find.
    pub speculative_at: bool,
    /// An invalidation of TLBs is complete only with the next one.
    pub early_tlbi: bool,
}

/// What has gone wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harm {
    /// Translations in a TLB that are made by registers of two vCPUs.
    pub mixed: u64,
    /// Invalidations that nobody has completed.
    pub incomplete: u64,
}
