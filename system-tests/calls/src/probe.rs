//! Each call once, with zeroes for arguments.
//!
//! Zeroes are changed where they would end the caller or the machine, or where they would only ever be refused for their
//! sake: a domain that is asked about is [`Places::domain`].

use xenolith_abi::DomId;
use xenolith_abi::control::Payload;
use xenolith_abi::domctl::{
    CreateDomain, CreateDomainV15, Domctl, DomctlOp, MaxVcpus, VERSION_4_17, create_flag,
};
use xenolith_abi::hypercall::Hypercall;
use zerocopy::IntoBytes;

use crate::Call;
use crate::families::{self, Family, Form, Sub};

/// What the caller has.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Two pages of its own.
    pub buffer: u64,
    /// An address that leads nowhere.
    pub nowhere: u64,
    /// A domain other than the caller: made by [`preparation`], or the control domain.
    pub domain: DomId,
    /// The interface version of `domctl`.
    pub domctl_version: u32,
}

/// The interface version of `sysctl`.
const SYSCTL_VERSION: u32 = xenolith_abi::sysctl::INTERFACE_VERSION;
/// The interface version of `platform_op`.
const PLATFORM_VERSION: u32 = xenolith_abi::platform::INTERFACE_VERSION;
/// The interface version of `xsm_op`.
const XSM_VERSION: u32 = 1;
/// Bytes that are zeroed for an argument; no structure is longer but for results.
const ARGUMENT: usize = 2048;
/// Where the array of buffers of a `dm_op` is.
const BUFFERS: u64 = 4096;

/// A call of the probe.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Its family's name.
    pub family: &'static str,
    /// Its family's number.
    pub number: u64,
    /// The header that has it.
    pub header: &'static str,
    /// How it is asked for.
    pub form: Form,
    /// Its sub-operation.
    pub sub: Sub,
    /// The call.
    pub call: Call,
}

/// What makes [`Places::domain`]: paused, with a vCPU and without memory. Only the control domain may.
pub fn preparation(places: &Places) -> [Call; 2] {
    let plan = CreateDomain {
        flags: create_flag::HVM | create_flag::HAP,
        max_vcpus: 1,
        max_evtchn_port: 1023,
        max_grant_frames: 4,
        max_maptrack_frames: 4,
        grant_opts: 1,
        ..CreateDomain::default()
    };
    let create = match places.domctl_version {
        VERSION_4_17 => Payload::of(&CreateDomainV15::from(plan)),
        _ => Payload::of(&plan),
    };
    let vcpus = Payload::of(&MaxVcpus { max: plan.max_vcpus });
    [(DomctlOp::CreateDomain, create), (DomctlOp::MaxVcpus, vcpus)]
        .map(|(op, payload)| domctl(places, op, payload))
}

/// A `domctl` on [`Places::domain`].
fn domctl(places: &Places, op: DomctlOp, payload: Payload) -> Call {
    let (interface_version, domain) = (places.domctl_version, places.domain);
    let request = Domctl { cmd: op.number(), interface_version, domain, pad: [0; 3], payload };
    let memory = vec![(places.buffer, request.as_bytes().to_vec())];
    Call { number: Hypercall::Domctl.number(), arguments: [places.buffer, 0, 0, 0, 0], memory }
}

/// All calls in the order in which they are to be made. The last destroys [`Places::domain`].
pub fn all(places: &Places) -> Vec<Probe> {
    let alone = families::calls_alone().map(|sub| (families::CALLS, sub));
    let rest = families::ALL.iter().flat_map(|family| family.subs.iter().map(move |sub| (*family, sub)));
    let mut all: Vec<_> = alone.chain(rest).collect();
    // A domain that is gone can be asked nothing.
    all.sort_by_key(|(_, sub)| sub.name == DESTROY);
    all.into_iter()
        .map(|(family, sub)| Probe {
            family: family.name,
            number: family.number,
            header: family.header,
            form: family.form,
            sub: *sub,
            call: call(places, &family, sub.number),
        })
        .collect()
}

const DESTROY: &str = "XEN_DOMCTL_destroydomain";

/// The call of one sub-operation.
pub fn call(places: &Places, family: &Family, sub: u64) -> Call {
    let buffer = places.buffer;
    let mut bytes = vec![0; ARGUMENT];
    let domain = places.domain.0.to_le_bytes();
    let arguments = match family.form {
        Form::Bare => return Call { number: sub, ..Call::default() },
        Form::Pointer => [sub, buffer, 0, 0, 0],
        Form::Memory => {
            if let Some(at) = memory_domain(sub) {
                put(&mut bytes, at, &domain);
            }
            [sub, buffer, 0, 0, 0]
        }
        Form::MapSpace => {
            const ADD_TO_PHYSMAP: u64 = 7;
            put(&mut bytes, 0, &domain);
            put(&mut bytes, 4, &(sub as u32).to_le_bytes());
            // A frame at which nothing is.
            put(&mut bytes, 16, &0x10_0000_u64.to_le_bytes());
            [ADD_TO_PHYSMAP, buffer, 0, 0, 0]
        }
        Form::Grant => [sub, buffer, 1, 0, 0],
        Form::Version => {
            const PAGE_SIZE: u64 = 7;
            [sub, if sub == PAGE_SIZE { 0 } else { buffer }, 0, 0, 0]
        }
        Form::Console => [sub, 0, buffer, 0, 0],
        Form::VmAssist => [0, sub, 0, 0, 0],
        Form::Vcpu => {
            // Where a vCPU's information would be, misaligned: it stays where it is.
            put(&mut bytes, 8, &1_u32.to_le_bytes());
            [sub, 0, buffer, 0, 0]
        }
        Form::Sched => sched(places, sub, &mut bytes),
        Form::Event => {
            const STATUS: u64 = 5;
            const ALLOC_UNBOUND: u64 = 6;
            const RESET: u64 = 10;
            const RESET_CONT: u64 = 14;
            if [STATUS, ALLOC_UNBOUND, RESET, RESET_CONT].contains(&sub) {
                put(&mut bytes, 0, &domain);
            }
            [sub, buffer, 0, 0, 0]
        }
        Form::Hvm => {
            put(&mut bytes, 0, &domain);
            [sub, buffer, 0, 0, 0]
        }
        Form::HvmParam => {
            const GET_PARAM: u64 = 1;
            put(&mut bytes, 0, &domain);
            put(&mut bytes, 4, &(sub as u32).to_le_bytes());
            [GET_PARAM, buffer, 0, 0, 0]
        }
        Form::Domctl => {
            const CREATE: u64 = 1;
            const ANY: u16 = 0xffff;
            head(&mut bytes, sub, places.domctl_version);
            put(&mut bytes, 8, &if sub == CREATE { ANY } else { places.domain.0 }.to_le_bytes());
            [buffer, 0, 0, 0, 0]
        }
        Form::Sysctl => {
            head(&mut bytes, sub, SYSCTL_VERSION);
            [buffer, 0, 0, 0, 0]
        }
        Form::Platform => {
            // What must be zero is not: the clock stays as it is.
            const MUST_BE_ZERO: usize = 20;
            head(&mut bytes, sub, PLATFORM_VERSION);
            put(&mut bytes, MUST_BE_ZERO, &1_u32.to_le_bytes());
            [buffer, 0, 0, 0, 0]
        }
        Form::Xsm => {
            head(&mut bytes, sub, XSM_VERSION);
            [buffer, 0, 0, 0, 0]
        }
        Form::Dm => {
            put(&mut bytes, 0, &(sub as u32).to_le_bytes());
            [places.domain.0.into(), 1, buffer + BUFFERS, 0, 0]
        }
    };
    let mut memory = vec![(buffer, bytes)];
    if family.form == Form::Dm {
        let array = [buffer, ARGUMENT as u64].map(u64::to_le_bytes).concat();
        memory.push((buffer + BUFFERS, array));
    }
    Call { number: family.number, arguments, memory }
}

/// Where the domain stands in the argument of a sub-operation of `memory_op`.
fn memory_domain(sub: u64) -> Option<usize> {
    match sub {
        0 | 1 | 6 | 11 | 24 => Some(24),
        3 | 4 | 7 | 13 | 14 | 15 | 23 | 26 | 28 => Some(0),
        16 | 17 => Some(32),
        20..=22 => Some(2),
        _ => None,
    }
}

fn sched(places: &Places, sub: u64, bytes: &mut [u8]) -> [u64; 5] {
    const SHUTDOWN: u64 = 2;
    const POLL: u64 = 3;
    const REMOTE_SHUTDOWN: u64 = 4;
    const WATCHDOG: u64 = 6;
    const PIN_OVERRIDE: u64 = 7;
    match sub {
        // Any reason would end the caller.
        SHUTDOWN => return [sub, places.nowhere, 0, 0, 0],
        // Until a time that is over.
        POLL => put(bytes, 16, &1_u64.to_le_bytes()),
        REMOTE_SHUTDOWN => put(bytes, 0, &places.domain.0.to_le_bytes()),
        // None that was started: a new one would end the caller.
        WATCHDOG => put(bytes, 0, &2_u32.to_le_bytes()),
        PIN_OVERRIDE => put(bytes, 0, &(-1_i32).to_le_bytes()),
        _ => {}
    }
    [sub, places.buffer, 0, 0, 0]
}

/// Number and interface version.
fn head(bytes: &mut [u8], sub: u64, version: u32) {
    put(bytes, 0, &(sub as u32).to_le_bytes());
    put(bytes, 4, &version.to_le_bytes());
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = *from;
    }
}
