//! A control domain that makes any `domctl` and `sysctl`: bytes become calls, and after each the books must agree. Both a
//! property test and a fuzz target play it.

use xenolith_abi::Errno;
use xenolith_abi::control::Payload;
use xenolith_abi::domctl::{Domctl, DomctlOp, VERSION_4_17, VERSION_4_20, create_flag};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::sysctl::{INTERFACE_VERSION, Sysctl, SysctlOp};

use xenolith_core::types::{DomId, PAGE_SIZE};

use super::hostile::Bytes;
use super::{Machine, Plan, RAM_BASE};

/// Pages of the control domain.
const PAGES: u64 = 16;
/// Calls made of one input.
const CALLS: usize = 64;

/// Makes the calls that the bytes stand for.
///
/// # Panics
/// A call returned what is no error number, or the books do not agree.
pub fn play(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let mut machine = Machine::new(2, 2048);
    let domain = machine.boot(Plan { id: 0, vcpus: 1, pages: PAGES, direct_mapped: false });
    let at = (RAM_BASE.0 + 1) * PAGE_SIZE;
    for _ in 0..CALLS {
        if bytes.is_empty() {
            break;
        }
        let Some(cpu) = machine.cpu_of(&domain, 0) else { break };
        let call = if bytes.below(4) == 0 {
            machine.poke(&domain, at, &sysctl(&mut bytes));
            Hypercall::Sysctl
        } else {
            machine.poke(&domain, at, &domctl(&mut bytes));
            Hypercall::Domctl
        };
        let result = machine.hypercall(cpu, call.number(), [at, bytes.below(3), 0, 0, 0]);
        let is_known =
            |result| result == 0 || Errno::ALL.iter().any(|errno| errno.to_register() as i64 == result);
        assert!(result.is_none_or(is_known), "{call:?} returns {result:?}");
        machine.settle();
        assert_eq!(machine.audit(), Ok(()));
    }
}

fn domctl(bytes: &mut Bytes<'_>) -> Domctl {
    let cmd = match bytes.below(8) {
        0 => 1,
        1 => bytes.below(128) as u32,
        _ => DomctlOp::ALL[bytes.below(DomctlOp::ALL.len() as u64) as usize].number(),
    };
    let interface_version = match bytes.below(16) {
        0 => bytes.below(256) as u32,
        odd if odd % 2 == 1 => VERSION_4_17,
        _ => VERSION_4_20,
    };
    let domain = match bytes.below(8) {
        0 => bytes.word() as u16,
        1 => DomId::SELF.0,
        _ => bytes.below(4) as u16,
    };
    let payload = if cmd == DomctlOp::CreateDomain.number() { creation(bytes) } else { payload(bytes) };
    Domctl { cmd, interface_version, domain: DomId(domain), pad: [bytes.word() as u16; 3], payload }
}

fn sysctl(bytes: &mut Bytes<'_>) -> Sysctl {
    let cmd = match bytes.below(8) {
        0 => bytes.below(64) as u32,
        _ => SysctlOp::ALL[bytes.below(SysctlOp::ALL.len() as u64) as usize].number(),
    };
    let interface_version = if bytes.below(16) == 0 { bytes.below(256) as u32 } else { INTERFACE_VERSION };
    Sysctl { cmd, interface_version, payload: payload(bytes) }
}

/// A domain that can be made, but for a field or two.
fn creation(bytes: &mut Bytes<'_>) -> Payload {
    let mut words = [0_u32; 32];
    words[5] = create_flag::HVM | create_flag::HAP;
    (words[7], words[8], words[9], words[10], words[11]) = (1 + bytes.below(3) as u32, 1023, 4, 64, 1);
    for _ in 0..bytes.below(3) {
        words[bytes.below(20) as usize] = bytes.below(256) as u32;
    }
    Payload::of(&words)
}

/// Words that mean something: small numbers, the caller's own addresses, frames, and now and then anything.
fn payload(bytes: &mut Bytes<'_>) -> Payload {
    let words: [u64; 16] = core::array::from_fn(|index| match bytes.below(12) {
        _ if index > 5 => 0,
        0..4 => bytes.below(8),
        4..6 => (RAM_BASE.0 + bytes.below(PAGES)) * PAGE_SIZE + bytes.below(4) * 1366,
        6 => RAM_BASE.0 + bytes.below(4),
        7 => bytes.below(64) << 32 | bytes.below(4),
        8 => bytes.below(256) * PAGE_SIZE,
        9 => u64::MAX - bytes.below(4),
        10 => 1 << bytes.below(64),
        _ => bytes.word(),
    });
    Payload::of(&words)
}
