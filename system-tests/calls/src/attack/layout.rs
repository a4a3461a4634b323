//! What the fields of an argument are, so that random values can be such as lead further than the first check.

use crate::families::Form;

/// What a field holds, and thereby how many bytes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// A domain's number (2 bytes).
    Domain,
    /// A guest frame (8 bytes).
    Frame,
    /// An address of the caller's (8 bytes).
    Address,
    /// A number of a few things, a port, a vCPU, a kind (1, 2, 4 or 8 bytes).
    Small(usize),
    /// Any bits (1, 2, 4 or 8 bytes).
    Any(usize),
    /// Padding: nearly always 0.
    Zero(usize),
}

use Field::{Address, Any, Domain, Frame, Small, Zero};

/// Bytes of a field.
pub fn size(field: Field) -> usize {
    match field {
        Domain => 2,
        Frame | Address => 8,
        Small(size) | Any(size) | Zero(size) => size,
    }
}

/// A bitmap: its address and its length.
const BITMAP: [Field; 3] = [Address, Small(4), Zero(4)];
const UNKNOWN: &[Field] = &[Domain, Any(2), Small(4), Frame, Address, Small(8), Any(8), Small(4), Any(4)];
const RESERVATION: &[Field] = &[Address, Small(8), Small(4), Small(4), Domain, Zero(6)];

/// The fields of a sub-operation's structure, from the byte behind the head that its form has.
pub fn of(form: Form, sub: u64) -> &'static [Field] {
    match form {
        Form::Memory => match sub {
            0 | 1 | 6 => RESERVATION,
            3 | 4 | 14 => &[Domain, Zero(6)],
            7 => &[Domain, Small(2), Small(4), Small(8), Frame],
            15 => &[Domain, Zero(6), Frame],
            23 => &[Domain, Small(2), Small(2), Domain, Address, Address, Address],
            26 => &[Domain, Zero(2), Small(4), Small(4), Small(4), Address, Address, Address],
            27 => &[Small(4), Small(4), Address, Any(8)],
            28 => &[Domain, Small(2), Small(4), Small(4), Zero(4), Small(8), Address],
            _ => UNKNOWN,
        },
        Form::MapSpace => &[Domain, Small(2), Small(4), Small(8), Frame],
        Form::Grant => match sub {
            0 => &[Frame, Small(4), Small(4), Domain, Zero(6), Any(8)],
            1 => &[Frame, Any(8), Small(4), Zero(4)],
            2 => &[Domain, Zero(2), Small(4), Zero(8), Address],
            5 => &[
                Small(8),
                Domain,
                Small(2),
                Zero(4),
                Small(8),
                Domain,
                Small(2),
                Zero(4),
                Small(2),
                Small(2),
            ],
            6 | 9 => &[Domain, Zero(2), Small(4), Small(4), Zero(4), Address],
            7 => &[Frame, Frame, Small(4), Zero(4)],
            8 => &[Small(4)],
            10 => &[Domain, Zero(2), Small(4)],
            11 => &[Small(4), Small(4), Zero(8)],
            12 => &[Frame, Small(2), Small(2), Small(4)],
            _ => UNKNOWN,
        },
        Form::Event => match sub {
            0 => &[Domain, Zero(2), Small(4), Zero(4)],
            5 => &[Domain, Zero(2), Small(4), Zero(16)],
            6 => &[Domain, Domain, Small(4)],
            10 | 14 => &[Domain],
            11 => &[Frame, Small(4), Small(4), Zero(8)],
            12 => &[Frame],
            _ => &[Small(4), Small(4), Small(4)],
        },
        Form::Hvm | Form::HvmParam => &[Domain, Zero(2), Small(4), Any(8)],
        Form::Sched => match sub {
            3 => &[Address, Small(4), Zero(4), Small(8)],
            4 => &[Domain, Zero(2), Small(4)],
            _ => &[Small(4), Small(4)],
        },
        Form::Vcpu => &[Frame, Small(4), Small(4)],
        Form::Dm => match sub {
            1 => &[Zero(8)],
            2 => &[Small(2), Small(2), Zero(4), Zero(8), Zero(8)],
            3 | 4 => &[Small(2), Zero(2), Small(4), Small(8), Any(8)],
            5 => &[Small(2), Small(1), Zero(5)],
            6 => &[Small(2), Zero(6)],
            19 => &[Small(4), Small(1), Zero(3)],
            _ => &[Small(2), Small(2), Zero(4), Small(8), Any(8)],
        },
        Form::Domctl => domctl(sub),
        Form::Sysctl => sysctl(sub),
        _ => UNKNOWN,
    }
}

fn domctl(sub: u64) -> &'static [Field] {
    const AFFINITY: &[Field] =
        &[Small(4), Small(4), BITMAP[0], BITMAP[1], BITMAP[2], BITMAP[0], BITMAP[1], BITMAP[2]];
    match sub {
        9 | 25 => AFFINITY,
        11 => &[Any(8)],
        12 | 13 => &[Small(4), Zero(4), Address],
        14 | 15 | 35 => &[Small(4)],
        16 => &[Small(4), Small(4), Small(4), Small(4), Address],
        19 => &[Small(4), Small(1), Zero(3)],
        20 => &[Frame, Small(8), Small(1), Zero(7)],
        38 | 48 => &[Small(4), Small(4), Small(2), Zero(6)],
        39 => &[Frame, Frame, Small(8), Small(4)],
        46 => &[Domain],
        68 | 69 => &BITMAP,
        71 => &[Frame, Small(8)],
        86 => &[Frame],
        _ => UNKNOWN,
    }
}

fn sysctl(sub: u64) -> &'static [Field] {
    match sub {
        1 => &[Small(1), Small(1), Zero(2), Small(4), Address, Small(4)],
        6 => &[Domain, Zero(2), Small(4), Address, Zero(4)],
        7 => &[Address, Small(4)],
        8 => &[Small(4), Zero(4), Address, Zero(4)],
        9 => &[Small(4), Small(4), Small(4), Zero(4), Zero(8)],
        16 | 22 => &[Small(4), Zero(4), Address],
        17 => &[Small(4), Zero(4), Address, Address],
        18 => &[Small(4), Small(4), Small(4), Small(4), Small(4), Zero(4), BITMAP[0], BITMAP[1], BITMAP[2]],
        19 => &[Small(4), Small(4), Small(4), Small(4), Address],
        _ => UNKNOWN,
    }
}
