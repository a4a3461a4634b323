//! Pointers in the calls' structures (`XEN_GUEST_HANDLE`), each with the type of what is behind it, so that an array of one
//! type is never read as an array of another.

use core::fmt;
use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The virtual address of a `T`, or of the first of several, in the memory of whoever makes the call.
///
/// It is an allegation as all that comes from a domain: it may be null, unaligned, or lead nowhere. Only a copying
/// function that takes a `GuestPtr` of its own type turns one into a `T`, and a pointer of another type does not compile:
///
/// ```compile_fail,E0308
/// # use xenolith_abi::{Gfn, GuestPtr, Port};
/// let ports = GuestPtr::<Port>::new(0x1000);
/// let frames: GuestPtr<Gfn> = ports;
/// ```
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct GuestPtr<T>(u64, PhantomData<fn() -> T>);

impl<T> GuestPtr<T> {
    /// Address 0: nothing is there. In some calls it asks for less than an address would.
    pub const NULL: GuestPtr<T> = GuestPtr::new(0);

    /// The pointer with this address. Whoever calls says what is behind it.
    pub const fn new(address: u64) -> GuestPtr<T> {
        GuestPtr(address, PhantomData)
    }

    /// The virtual address.
    pub const fn address(self) -> u64 {
        self.0
    }

    /// Whether it is [`GuestPtr::NULL`].
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The same address, with something else behind it.
    pub const fn cast<U>(self) -> GuestPtr<U> {
        GuestPtr::new(self.0)
    }

    /// Element `index` of the array that begins here; `None` when it would lie past the end of all addresses.
    pub const fn element(self, index: u64) -> Option<GuestPtr<T>> {
        match index.checked_mul(size_of::<T>() as u64) {
            Some(offset) => match self.0.checked_add(offset) {
                Some(address) => Some(GuestPtr::new(address)),
                None => None,
            },
            None => None,
        }
    }
}

/// An argument's register holds an address; which type is behind it, the call's number says.
impl<T> From<u64> for GuestPtr<T> {
    fn from(address: u64) -> GuestPtr<T> {
        GuestPtr::new(address)
    }
}

// Derived implementations would ask the same of `T`, which no pointer needs.
impl<T> Clone for GuestPtr<T> {
    fn clone(&self) -> GuestPtr<T> {
        *self
    }
}

impl<T> Copy for GuestPtr<T> {}

impl<T> Default for GuestPtr<T> {
    fn default() -> GuestPtr<T> {
        GuestPtr::NULL
    }
}

impl<T> PartialEq for GuestPtr<T> {
    fn eq(&self, other: &GuestPtr<T>) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for GuestPtr<T> {}

impl<T> fmt::Debug for GuestPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest pointer {:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;

    use super::*;

    /// A type that can do nothing.
    struct Plain {
        _bytes: [u8; 12],
    }

    #[test]
    fn a_pointer_has_its_plain_layout() {
        assert_layout!(GuestPtr<u8>, 8, 8, {});
        assert_layout!(GuestPtr<Plain>, 8, 8, {});
        assert_eq!(
            GuestPtr::<Plain>::new(0x1122_3344_5566_7788).as_bytes(),
            0x1122_3344_5566_7788_u64.as_bytes()
        );
        assert_eq!(GuestPtr::<Plain>::default(), GuestPtr::NULL);
    }

    #[test]
    fn an_element_lies_as_many_sizes_behind_the_first() {
        let array = GuestPtr::<Plain>::new(0x1000);
        assert_eq!(array.element(0), Some(array));
        assert_eq!(array.element(3).map(GuestPtr::address), Some(0x1000 + 3 * 12));
        assert_eq!(array.element(u64::MAX / 12), None, "the address wraps");
        assert_eq!(array.element(u64::MAX / 4), None, "the offset wraps");
        assert_eq!(GuestPtr::<u8>::new(1).element(u64::MAX - 1).map(GuestPtr::address), Some(u64::MAX));
        assert!(GuestPtr::<u8>::NULL.is_null() && !array.is_null());
    }

    #[test]
    fn it_is_shown_with_its_address() {
        assert_eq!(alloc::format!("{:?}", GuestPtr::<u64>::new(0xab0)), "guest pointer 0xab0");
    }
}
