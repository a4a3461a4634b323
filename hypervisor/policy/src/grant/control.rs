//! The calls about a table as a whole, and the arguments of cache maintenance.

use xenolith_abi::Errno;
use xenolith_abi::grant::{CacheFlush, GrantStatus, cache};

use super::{GrantTable, SharedFrame};
use xenolith_core::types::{Mfn, PAGE_SHIFT, PAGE_SIZE};

/// `GNTTABOP_set_version`: there is only version 1, which needs no change. `ENOSYS`: version 2, which Linux then does
/// without. `EINVAL`: any other.
pub fn set_version(version: u32) -> Result<(), Errno> {
    match version {
        1 => Ok(()),
        2 => Err(Errno::ENOSYS),
        _ => Err(Errno::EINVAL),
    }
}

impl<F: SharedFrame> GrantTable<F> {
    /// `GNTTABOP_setup_table`: makes the table large enough. The caller then gets [`GrantTable::gfn_of`] each frame,
    /// all ones for those that its domain has not mapped. `GeneralError`: too many frames, or no memory.
    pub fn setup(&mut self, frames: u32, allocate: impl FnMut() -> Option<F>) -> GrantStatus {
        match self.grow(frames, allocate) {
            Ok(()) => GrantStatus::Okay,
            Err(_) => GrantStatus::GeneralError,
        }
    }
}

/// What `GNTTABOP_cache_flush` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// The frame. Whether the caller may use it is still to be found out: `EINVAL` if there is none, `EPERM` if it
    /// neither belongs to the caller nor is granted to it ([`GrantTable::lends`]).
    pub mfn: Mfn,
    /// The first byte in the frame.
    pub offset: u16,
    /// Bytes, at least one.
    pub length: u16,
    /// Write back.
    pub clean: bool,
    /// Drop.
    pub invalidate: bool,
}

/// Checks an element of `GNTTABOP_cache_flush`; `None` when there is nothing to do. `EINVAL`: it leaves the page, or
/// has bits other than clean and invalidate.
pub fn flush_request(op: &CacheFlush) -> Result<Option<Flush>, Errno> {
    let end = u64::from(op.offset) + u64::from(op.length);
    let known = op.op & !(cache::CLEAN | cache::INVALIDATE) == 0;
    if u64::from(op.offset) >= PAGE_SIZE || end > PAGE_SIZE || !known {
        return Err(Errno::EINVAL);
    }
    let flush = Flush {
        mfn: Mfn(op.dev_bus_addr >> PAGE_SHIFT),
        offset: op.offset,
        length: op.length,
        clean: op.op & cache::CLEAN != 0,
        invalidate: op.op & cache::INVALIDATE != 0,
    };
    Ok((op.length != 0 && op.op != 0).then_some(flush))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_one() {
        assert_eq!(set_version(1), Ok(()));
        assert_eq!(set_version(2), Err(Errno::ENOSYS));
        assert_eq!(set_version(0), Err(Errno::EINVAL));
        assert_eq!(set_version(3), Err(Errno::EINVAL));
    }

    #[test]
    fn a_flush_stays_in_its_page() {
        let op = |offset, length, op| CacheFlush { dev_bus_addr: 0x5123, offset, length, op };
        let flush = Flush { mfn: Mfn(5), offset: 4095, length: 1, clean: true, invalidate: false };
        assert_eq!(flush_request(&op(4095, 1, 1)), Ok(Some(flush)));
        assert_eq!(flush_request(&op(0, 0, 0)), Ok(None), "how Linux asks whether the call exists");
        assert_eq!(flush_request(&op(0, 4096, 0)), Ok(None));
        for bad in [op(4096, 0, 1), op(4095, 2, 1), op(u16::MAX, u16::MAX, 1), op(0, 1, 4), op(0, 1, 1 << 31)]
        {
            assert_eq!(flush_request(&bad), Err(Errno::EINVAL));
        }
    }
}
