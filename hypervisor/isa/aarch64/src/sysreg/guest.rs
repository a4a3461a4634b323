//! What a guest's identification registers depend on beside the CPU.

/// What the identification registers say of the virtual machine rather than of the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The interrupt controller has a system register interface (GICv3).
    pub gic_system_registers: bool,
    /// Width of a guest physical address at stage 2, in bits.
    pub ipa_bits: u8,
    /// It has SVE, if the CPU has.
    pub sve: bool,
}
