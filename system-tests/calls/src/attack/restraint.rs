//! What a program in Linux leaves out, since it would end or spoil the domain that it runs in, and what no domain but the
//! control domain may do.

use crate::Call;
use crate::families::{self, Family, Form};

use super::{Attempt, Ground, SELF};

/// The port from which on Linux has none, in a machine with few vCPUs and no devices.
const FREE_PORTS: u64 = 512;
/// More vCPUs than the caller has.
const FREE_VCPUS: u64 = 1024;

/// A call as the hypervisor finds it.
struct Made<'a> {
    ground: &'a Ground,
    call: &'a Call,
    /// The structure's address.
    at: u64,
}

impl<'a> Made<'a> {
    fn new(ground: &'a Ground, family: Form, call: &'a Call) -> Self {
        let register = match family {
            Form::Domctl | Form::Sysctl | Form::Platform | Form::Xsm => 0,
            Form::Console | Form::Vcpu | Form::Dm => 2,
            _ => 1,
        };
        Self { ground, call, at: call.arguments[register] }
    }

    /// A field of the structure, if that stands at the address. The last that is written counts.
    fn field(&self, at: u64, size: usize) -> Option<u64> {
        let address = self.at.wrapping_add(at);
        self.call.memory.iter().rev().find_map(|(start, bytes)| {
            let offset = usize::try_from(address.checked_sub(*start)?).ok()?;
            let found = bytes.get(offset..offset.checked_add(size)?)?;
            let mut value = [0; 8];
            value[..size].copy_from_slice(found);
            Some(u64::from_le_bytes(value))
        })
    }

    /// Whether a field may be the caller's number. What is not known may.
    fn may_be_own(&self, at: u64) -> bool {
        let own = [SELF, self.ground.own].map(|domain| u64::from(domain.0));
        self.field(at, 2).is_none_or(|domain| own.contains(&domain))
    }
}

/// Whether a call that means something for its caller is such that Linux lives on.
pub fn permits(ground: &Ground, attempt: &Attempt) -> bool {
    let number = attempt.call.number;
    let Some(family) = families::ALL.iter().find(|family| family.name == attempt.family) else {
        // By their numbers alone: none of them has a structure that was written for it, but for lists of calls.
        const MULTICALL: u64 = 13;
        return number != MULTICALL || attempt.call.arguments[1] == 0;
    };
    let form = family.form;
    let made = Made::new(ground, form, &attempt.call);
    let [first, second, third, ..] = attempt.call.arguments;
    // The number may have been changed since.
    match form {
        Form::Memory | Form::MapSpace => memory(&made, first),
        Form::Grant => grant(&made, first, third),
        Form::Event => event(&made, first),
        Form::Sched => sched(&made, first),
        Form::Domctl => domctl(&made),
        Form::Sysctl => {
            const DEBUG_KEYS: u64 = 7;
            // What they print may be much.
            made.field(0, 4).is_some_and(|op| op != DEBUG_KEYS) || made.field(16, 4) == Some(0)
        }
        Form::Platform => {
            const SET_TIME: [u64; 2] = [17, 62];
            made.field(0, 4).is_some_and(|op| !SET_TIME.contains(&op))
        }
        Form::Console => {
            const WRITE: u64 = 0;
            first != 1 && (first != WRITE || second == 0)
        }
        Form::Vcpu => second >= FREE_VCPUS || ![5, 10].contains(&first),
        Form::Hvm | Form::HvmParam => first != 0 || !made.may_be_own(0),
        _ => true,
    }
}

fn memory(made: &Made<'_>, op: u64) -> bool {
    // Above it is how much was done.
    match op & 0x3f {
        0 | 1 | 6 => !made.may_be_own(24),
        7 | 15 | 23 => !made.may_be_own(0),
        // Without a list of frames, at which Linux has something.
        28 => made.field(24, 8) == Some(0) || (!made.ground.is_control && !made.may_be_own(0)),
        11 => false,
        _ => true,
    }
}

fn grant(made: &Made<'_>, op: u64, count: u64) -> bool {
    match op {
        // Mapped where Linux has something.
        0 | 7 => !made.may_be_own(16) && count <= 1 && made.field(8, 4).is_some_and(|flags| flags & 2 == 0),
        2 => !made.may_be_own(0),
        // The source is another's grant; the destination would be memory of the caller's.
        5 => count <= 1 && !made.may_be_own(24) && !made.may_be_own(8),
        1 | 11 => count == 0,
        _ => true,
    }
}

fn event(made: &Made<'_>, op: u64) -> bool {
    let is_free = |at| made.field(at, 4).is_some_and(|port| port == 0 || port >= FREE_PORTS);
    match op {
        3 | 8 | 13 => is_free(0),
        10 | 14 => !made.may_be_own(0),
        11 => made.field(12, 4).is_some_and(|vcpu| vcpu >= FREE_VCPUS),
        12 => false,
        _ => true,
    }
}

fn sched(made: &Made<'_>, op: u64) -> bool {
    match op {
        2 | 5 => false,
        // Until a time that is over.
        3 => made.field(16, 8).is_some_and(|until| (1..1 << 20).contains(&until)),
        4 => !made.may_be_own(0),
        6 => made.field(4, 4) == Some(0),
        _ => true,
    }
}

fn domctl(made: &Made<'_>) -> bool {
    const BIND_PT_IRQ: u64 = 38;
    const GETTERS: [u64; 5] = [5, 14, 25, 69, 85];
    let Some(op) = made.field(0, 4) else { return !made.ground.is_control };
    match op {
        // Refused for every line but those of the machine's devices.
        BIND_PT_IRQ => made.field(16, 4).is_some_and(|line| !(16..1024).contains(&line)),
        op => GETTERS.contains(&op) || !made.may_be_own(8),
    }
}

/// Whether a call is only the control domain's to make, or is about another domain, which such calls alone are.
pub fn must_be_refused(ground: &Ground, family: &Family, sub: u64, call: &Call) -> bool {
    if ground.is_control {
        return false;
    }
    let made = Made::new(ground, family.form, call);
    let is_as_made = call.arguments[0] == sub;
    let is_others = |at| !made.may_be_own(at);
    match family.form {
        Form::Domctl | Form::Sysctl | Form::Platform | Form::Xsm | Form::Dm => true,
        Form::Memory if is_as_made => match sub {
            1 | 6 => made.field(8, 8).is_some_and(|count| count != 0) && is_others(24),
            0 | 11 | 20..=22 | 24 => true,
            3 | 4 | 7 | 14 | 15 | 23 | 26 | 28 => is_others(0),
            _ => false,
        },
        Form::MapSpace => call.arguments[0] == 7 && is_others(0),
        Form::Hvm if is_as_made => matches!(sub, 0 | 1) && is_others(0),
        Form::HvmParam => call.arguments[0] == 1 && is_others(0),
        Form::Sched if is_as_made => sub == 4 && is_others(0),
        _ => false,
    }
}

/// Where a call leaves the number of a port that it has made for its caller.
pub fn new_port(ground: &Ground, family: &Family, sub: u64, call: &Call) -> Option<u64> {
    let made = Made::new(ground, family.form, call);
    let offset = match sub {
        0 => 8,
        1 => 8,
        6 if made.may_be_own(0) => 4,
        7 => 4,
        _ => return None,
    };
    (family.form == Form::Event && call.arguments[0] == sub).then(|| made.at.wrapping_add(offset))
}
