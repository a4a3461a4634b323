//! What `domctl` and `sysctl` share: the space for a call's own structure, and bitmaps in the caller's memory.
//!
//! Both calls pass one structure with a header and a union of 128 bytes, and take results back in the same place.
//! Tools of Xen 4.17 leave padding and unused bytes of the union as they were on their stack: nobody may look at them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::GuestPtr;

/// Bytes of the union.
pub const PAYLOAD_SIZE: usize = 128;

/// The union of a call: any structure of at most [`PAYLOAD_SIZE`] bytes, from its first byte on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Payload {
    words: [u64; PAYLOAD_SIZE / size_of::<u64>()],
}

impl Payload {
    /// All zeroes.
    pub const EMPTY: Payload = Payload { words: [0; PAYLOAD_SIZE / size_of::<u64>()] };

    /// A payload with `value` in it, and zeroes behind.
    pub fn of<T: IntoBytes + Immutable>(value: &T) -> Self {
        let mut payload = Payload::EMPTY;
        payload.set(value);
        payload
    }

    /// Puts `value` in; the bytes behind it stay as they are.
    pub fn set<T: IntoBytes + Immutable>(&mut self, value: &T) {
        const { assert!(size_of::<T>() <= PAYLOAD_SIZE) };
        for (to, from) in self.words.as_mut_bytes().iter_mut().zip(value.as_bytes()) {
            *to = *from;
        }
    }

    /// What the bytes say as a `T`.
    pub fn get<T: FromBytes + IntoBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= PAYLOAD_SIZE) };
        let mut value = T::new_zeroed();
        for (to, from) in value.as_mut_bytes().iter_mut().zip(self.words.as_bytes()) {
            *to = *from;
        }
        value
    }
}

impl Default for Payload {
    fn default() -> Self {
        Payload::EMPTY
    }
}

/// A bitmap in the caller's memory (`xenctl_bitmap`): bit `n` is bit `n % 8` of byte `n / 8`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Bitmap {
    /// The bytes.
    pub bitmap: GuestPtr<u8>,
    /// Bits; the bytes are as many as hold them.
    pub nr_bits: u32,
    /// Ignored.
    pub pad: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_eq!((size_of::<Payload>(), align_of::<Payload>()), (128, 8));
        assert_layout!(Bitmap, 16, 8, { bitmap: 0, nr_bits: 8 });
    }

    #[test]
    fn what_is_put_in_comes_out_from_the_first_byte_on() {
        let value = Bitmap { bitmap: GuestPtr::new(0x1122_3344_5566_7788), nr_bits: 9, pad: 0 };
        let mut payload = Payload { words: [u64::MAX; 16] };
        payload.set(&value);
        assert_eq!(payload.get::<Bitmap>(), value);
        assert_eq!(payload.as_bytes()[0], 0x88);
        assert_eq!(payload.get::<[u64; 16]>()[2..], [u64::MAX; 14]);
        assert_eq!(Payload::of(&value).get::<[u64; 16]>()[2..], [0; 14]);
    }
}
