//! A list of calls (`public/xen.h`, `multicall_entry`): x0 the list's address, x1 the number of entries.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One call of the list.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MulticallEntry {
    /// In: a [`Hypercall`](crate::hypercall::Hypercall).
    pub op: u64,
    /// Out: what the call would leave in x0.
    pub result: u64,
    /// In: arguments; Arm uses the first five.
    pub args: [u64; 6],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(MulticallEntry, 64, 8, { op: 0, result: 8, args: 16 });
    }
}
