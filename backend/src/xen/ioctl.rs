//! The ioctl system call, for calls whose argument is one structure.
//!
//! The numbers are `_IOC(_IOC_NONE, type, number, size)`: Xen's files carry the size without a direction.
#![allow(unsafe_code)]

use std::ffi::c_void;

use rustix::fd::AsFd;
use rustix::io::Result;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

/// A call's number: the file's letter, the number and the argument's bytes.
pub const fn number(letter: u8, number: u8, size: usize) -> u32 {
    assert!(size < 1 << 14);
    (size as u32) << 16 | (letter as u32) << 8 | number as u32
}

/// An argument that ioctl may read and write in place: plain data, in the layout that the file's driver expects.
struct InPlace<'a, T> {
    number: u32,
    argument: &'a mut T,
}

// SAFETY: `as_ptr` points to a whole `T`, borrowed for the call; the result is the call's own, and nothing is read
// through the pointer. That the driver reads and writes no more than a `T` there is the duty of `call`'s caller.
unsafe impl<T> Ioctl for InPlace<'_, T> {
    type Output = i32;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.number as Opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.argument).cast()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> Result<i32> {
        Ok(out)
    }
}

/// Makes a call; returns what it returns.
///
/// # Safety
/// `file` is the device file that this number belongs to, and its driver takes a `T` for it. Every address in
/// `argument`, and every address that a hypercall in it leads to, belongs to memory that stays valid during the call
/// and of which no Rust reference exists unless it is exclusive and given up for the call.
pub unsafe fn call<T>(file: impl AsFd, number: u32, argument: &mut T) -> Result<i32> {
    // SAFETY: by this function's own condition; `InPlace` hands over exactly one `T`.
    unsafe { ioctl(file, InPlace { number, argument }) }
}

/// Makes a call whose argument is a plain number.
///
/// # Safety
/// `file` is the device file that this number belongs to, and its driver takes no address for it.
pub unsafe fn call_plain(file: impl AsFd, number: u32) -> Result<i32> {
    let mut nothing = 0u64;
    // SAFETY: by this function's own condition the driver does not use the address.
    unsafe { call(file, number, &mut nothing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_holds_size_letter_and_number() {
        assert_eq!(number(b'P', 0, 48), 0x30_5000);
        assert_eq!(number(b'E', 5, 0), 0x00_4505);
    }
}
