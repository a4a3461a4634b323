//! A domain's memory, as the control domain sets it up.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Gfn, GuestPtr};

/// Payload of `max_mem`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MaxMem {
    /// Kibibytes that the domain may own.
    pub max_memkb: u64,
}

/// Payload of `set_address_size` and `get_address_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddressSize {
    /// 64 is AArch64, 32 AArch32.
    pub size: u32,
}

/// Payload of `cacheflush`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CacheFlush {
    /// The first guest frame.
    pub start_pfn: Gfn,
    /// Frames.
    pub nr_pfns: u64,
}

/// Payload of `get_paging_mempool_size` and `set_paging_mempool_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PagingMempool {
    /// Bytes of memory for tables, a multiple of the page size.
    pub size: u64,
}

/// Payload of `set_llc_colors`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetLlcColors {
    /// Elements.
    pub num_llc_colors: u32,
    /// Zero.
    pub pad: u32,
    /// The colours.
    pub llc_colors: GuestPtr<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(MaxMem, 8, 8, { max_memkb: 0 });
        assert_layout!(AddressSize, 4, 4, { size: 0 });
        assert_layout!(CacheFlush, 16, 8, { start_pfn: 0, nr_pfns: 8 });
        assert_layout!(PagingMempool, 8, 8, { size: 0 });
        assert_layout!(SetLlcColors, 16, 8, { num_llc_colors: 0, pad: 4, llc_colors: 8 });
    }
}
