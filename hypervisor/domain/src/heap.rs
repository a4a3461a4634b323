//! Asking the heap before a step that has no way to fail.

use alloc::vec::Vec;

use xenolith_abi::Errno;

/// `ENOMEM`: the heap has no room for such a value, for which the next step asks without a way to fail. Nothing that uses
/// the heap comes between.
pub fn require_heap<T>() -> Result<(), Errno> {
    Vec::<T>::new().try_reserve_exact(1).map_err(|_| Errno::ENOMEM)
}
