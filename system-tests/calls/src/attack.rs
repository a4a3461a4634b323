//! Calls as a hostile program makes them: every call and sub-operation, with random and boundary arguments.
//!
//! An attack is a sequence of calls that its seed decides. Each begins as the probe's and gets its fields by their
//! meaning, so that many pass the first checks and some do something. The control domain makes domains now and then that
//! can be done something to; [`Attack::cleaning`] takes them away.

mod layout;
mod restraint;

use std::collections::VecDeque;

use xenolith_abi::DomId;
use xenolith_abi::control::Payload;
use xenolith_abi::domctl::{CreateDomain, CreateDomainV15, Domctl, DomctlOp, VERSION_4_17, create_flag};
use xenolith_abi::hypercall::Hypercall;
use zerocopy::IntoBytes;

use crate::Call;
use crate::families::{self, Family, Form};
use crate::probe::{self, Places};
use crate::random::Random;

use layout::Field;

/// Bytes of a page.
const PAGE: u64 = 4096;
/// The page of the caller's buffer in which arrays of frames are.
const LISTS: u64 = 2 * PAGE;
/// Elements of these arrays.
const LIST: u64 = 16;
/// Where the second array is: of frames at which the caller has no RAM.
const SECOND: u64 = LISTS + 512;
/// The first of these frames.
const WINDOW: u64 = RAM + 0x1000;
/// Where the RAM of domains begins that the attack makes.
const RAM: u64 = 0x4_0000;
/// The caller itself.
const SELF: DomId = DomId::SELF;
/// Once in so many calls another domain is made.
const MAKES: u64 = 100;

/// Who attacks, from where, and whom.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Whether the caller is the control domain.
    pub is_control: bool,
    /// The caller's number.
    pub own: DomId,
    /// Pages of the caller's, at least four. Behind them is nothing.
    pub buffer: u64,
    /// How many.
    pub pages: u64,
    /// Domains to be attacked. Those that there are not the control domain makes.
    pub victims: Vec<u16>,
    /// The interface version of `domctl`.
    pub domctl_version: u32,
    /// Whether to leave out what ends the caller or takes from it what it needs.
    pub restrained: bool,
}

/// A call of an attack.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The family's name.
    pub family: &'static str,
    /// The sub-operation's number.
    pub sub: u64,
    /// The call.
    pub call: Call,
    /// Whether it is to be refused whatever its arguments are, and nothing of the caller's memory written.
    pub must_be_refused: bool,
    /// Where in memory a call that succeeds leaves the number of a port of the caller's.
    pub port: Option<u64>,
}

/// An attack.
pub struct Attack {
    ground: Ground,
    random: Random,
    /// Calls that make a domain, to be made before others.
    plan: VecDeque<Attempt>,
}

impl Attack {
    /// The attack that a seed stands for.
    pub fn new(seed: u64, ground: Ground) -> Self {
        let mut attack = Self { ground, random: Random::new(seed), plan: VecDeque::new() };
        if attack.ground.is_control {
            for victim in attack.ground.victims.clone() {
                attack.plan_domain(DomId(victim));
            }
        }
        attack
    }

    /// The next call.
    pub fn next_call(&mut self) -> Attempt {
        if self.plan.is_empty() && self.ground.is_control && self.random.one_in(MAKES) {
            let victim = self.random.pick(&self.ground.victims);
            self.plan_domain(DomId(victim));
        }
        if let Some(attempt) = self.plan.pop_front() {
            return attempt;
        }
        loop {
            let attempt = self.any();
            if !self.ground.restrained || restraint::permits(&self.ground, &attempt) {
                return attempt;
            }
        }
    }

    /// Destroys a domain.
    pub fn cleaning(&self, domain: DomId) -> Call {
        self.domctl(DomctlOp::DestroyDomain, domain, Payload::of(&0_u64))
    }

    /// Closes a port of the caller's.
    pub fn closing(&self, port: u32) -> Call {
        const CLOSE: u64 = 3;
        let buffer = self.ground.buffer;
        let memory = vec![(buffer, port.to_le_bytes().to_vec())];
        Call { number: Hypercall::EventChannelOp.number(), arguments: [CLOSE, buffer, 0, 0, 0], memory }
    }

    fn domctl(&self, op: DomctlOp, domain: DomId, payload: Payload) -> Call {
        let request = Domctl {
            cmd: op.number(),
            interface_version: self.ground.domctl_version,
            domain,
            pad: [0; 3],
            payload,
        };
        let buffer = self.ground.buffer;
        let memory = vec![(buffer, request.as_bytes().to_vec())];
        Call { number: Hypercall::Domctl.number(), arguments: [buffer, 0, 0, 0, 0], memory }
    }

    /// Plans the end of a domain and the making of another with its number: with vCPUs, memory, and a port for the caller.
    fn plan_domain(&mut self, domain: DomId) {
        let vcpus = 1 + u32::try_from(self.random.below(3)).unwrap_or(0);
        let create = CreateDomain {
            flags: create_flag::HVM | create_flag::HAP,
            max_vcpus: vcpus,
            max_evtchn_port: 1023,
            max_grant_frames: 4,
            max_maptrack_frames: 4,
            grant_opts: 1,
            ..CreateDomain::default()
        };
        let create = match self.ground.domctl_version {
            VERSION_4_17 => Payload::of(&CreateDomainV15::from(create)),
            _ => Payload::of(&create),
        };
        let steps = [
            (DomctlOp::DestroyDomain, Payload::of(&0_u64)),
            (DomctlOp::CreateDomain, create),
            (DomctlOp::MaxVcpus, Payload::of(&u64::from(vcpus))),
            (DomctlOp::MaxMem, Payload::of(&256_u64)),
            (DomctlOp::SetPagingMempoolSize, Payload::of(&(64 * PAGE))),
        ];
        for (op, payload) in steps {
            let call = self.domctl(op, domain, payload);
            self.push("domctl", op.number().into(), call);
        }
        const POPULATE: u64 = 6;
        let (buffer, list) = (self.ground.buffer, self.ground.buffer + LISTS);
        let frames = (RAM..RAM + LIST).flat_map(u64::to_le_bytes).collect();
        let request = [list, LIST, 0, domain.0.into()].into_iter().flat_map(u64::to_le_bytes).collect();
        let memory = vec![(list, frames), (buffer, request)];
        let number = Hypercall::MemoryOp.number();
        let populate = Call { number, arguments: [POPULATE, buffer, 0, 0, 0], memory };
        self.push("memory_op", POPULATE, populate);
        const CREATE_SERVER: u64 = 1;
        let places = Places { buffer, nowhere: 0, domain, domctl_version: self.ground.domctl_version };
        let server = probe::call(&places, &families::DM, CREATE_SERVER);
        self.push("dm_op", CREATE_SERVER, server);
        const ALLOC_UNBOUND: u64 = 6;
        let number = Hypercall::EventChannelOp.number();
        for _ in 0..3 {
            let request = [domain.0.to_le_bytes(), SELF.0.to_le_bytes(), [0; 2], [0; 2]].concat();
            let memory = vec![(buffer, request)];
            let port = Call { number, arguments: [ALLOC_UNBOUND, buffer, 0, 0, 0], memory };
            self.push("event_channel_op", ALLOC_UNBOUND, port);
        }
    }

    fn push(&mut self, family: &'static str, sub: u64, call: Call) {
        self.plan.push_back(Attempt { family, sub, call, must_be_refused: false, port: None });
    }

    fn any(&mut self) -> Attempt {
        let family = self.family();
        let sub = match self.random.below(32) {
            0 => self.random.below(64),
            1 => self.random.word(),
            _ => self.random.pick(family.subs).number,
        };
        let buffer = self.ground.buffer;
        let places = Places {
            buffer,
            nowhere: 0x10,
            domain: DomId(self.domain()),
            domctl_version: self.ground.domctl_version,
        };
        let mut call = probe::call(&places, &family, sub);
        if let Some((_, bytes)) = call.memory.first_mut() {
            self.fill(&family, sub, bytes);
        }
        self.spoil_registers(&family, &mut call);
        self.displace(&mut call);
        // Last, so that no structure covers it.
        for (at, first) in [(LISTS, RAM), (SECOND, WINDOW)] {
            let frames = self.frames(first);
            call.memory.push((buffer + at, frames));
        }
        let must_be_refused = restraint::must_be_refused(&self.ground, &family, sub, &call);
        let port = restraint::new_port(&self.ground, &family, sub, &call);
        Attempt { family: family.name, sub, call, must_be_refused, port }
    }

    /// Those with much behind them more often.
    fn family(&mut self) -> Family {
        use families::{DM, DOMCTL, EVENT, GRANT, HVM, MEMORY, SYSCTL};
        const DEEP: [Family; 10] = [MEMORY, MEMORY, GRANT, EVENT, HVM, DM, SYSCTL, DOMCTL, DOMCTL, DOMCTL];
        match self.random.below(32) {
            0 => families::CALLS,
            1..8 => self.random.pick(families::ALL),
            _ => self.random.pick(&DEEP),
        }
    }

    /// Gives the fields of a structure values.
    fn fill(&mut self, family: &Family, sub: u64, bytes: &mut [u8]) {
        const CREATE: u64 = 1;
        let head = match family.form {
            Form::Domctl => 16,
            Form::Sysctl | Form::Platform | Form::Xsm | Form::Dm => 8,
            _ => 0,
        };
        if family.form == Form::Domctl {
            if sub == CREATE {
                return self.fill_creation(bytes);
            }
            let domain = self.domain();
            put(bytes, 8, &domain.to_le_bytes());
        }
        if head > 0 && self.random.one_in(64) {
            let at = usize::try_from(self.random.below(8)).unwrap_or(0);
            put(bytes, at, &[self.random.word().to_le_bytes()[0]]);
        }
        let mut at = head;
        // Sometimes an array of them.
        for _ in 0..1 + self.random.below(4) / 3 {
            for &field in layout::of(family.form, sub) {
                let size = layout::size(field);
                if !(is_kept(family.form, at)) {
                    let value = self.value(field);
                    put(bytes, at, &value.to_le_bytes()[..size.min(8)]);
                }
                at += size;
            }
        }
    }

    /// A domain that can be made, but for a field or two.
    fn fill_creation(&mut self, bytes: &mut [u8]) {
        let domain = self.domain();
        put(bytes, 8, &domain.to_le_bytes());
        let words = [
            (5, u64::from(create_flag::HVM | create_flag::HAP)),
            (7, 1 + self.random.below(4)),
            (8, 1023),
            (9, 4),
            (10, 4),
            (11, 1),
        ];
        for (word, value) in words {
            put(bytes, 16 + 4 * word, &value.to_le_bytes()[..4]);
        }
        for _ in 0..self.random.below(3) {
            let at = 16 + 4 * usize::try_from(self.random.below(24)).unwrap_or(0);
            let value = self.value(Field::Any(4));
            put(bytes, at, &value.to_le_bytes()[..4]);
        }
    }

    /// What is by value, and lengths.
    fn spoil_registers(&mut self, family: &Family, call: &mut Call) {
        let by_value: &[usize] = match family.form {
            Form::Bare => &[0, 1, 2, 3, 4],
            Form::Grant => &[2],
            Form::Vcpu | Form::Console => &[1],
            Form::Dm => &[0, 1],
            Form::VmAssist => &[0, 1],
            _ => &[],
        };
        for &register in by_value {
            if self.random.one_in(4) {
                call.arguments[register] = self.value(Field::Small(8));
            }
        }
        if self.random.one_in(16) {
            let register = usize::try_from(self.random.below(5)).unwrap_or(0);
            call.arguments[register] = self.value(Field::Any(8));
        }
    }

    /// Sometimes the structure lies at the end of the caller's pages, or goes beyond.
    fn displace(&mut self, call: &mut Call) {
        if !self.random.one_in(8) {
            return;
        }
        let (buffer, end) = (self.ground.buffer, self.ground.buffer + self.ground.pages * PAGE);
        let to = end - 8 * (1 + self.random.below(32));
        for (at, bytes) in &mut call.memory {
            if *at == buffer {
                *at = to;
                bytes.truncate(usize::try_from(end - to).unwrap_or(0));
            }
        }
        for argument in &mut call.arguments {
            if *argument == buffer {
                *argument = to;
            }
        }
    }

    /// An array of frames from near this one on.
    fn frames(&mut self, first: u64) -> Vec<u8> {
        let first = first + self.random.below(2 * LIST);
        let frames: Vec<u64> = (first..first + LIST)
            .map(|frame| if self.random.one_in(8) { self.value(Field::Frame) } else { frame })
            .collect();
        frames.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    fn domain(&mut self) -> u16 {
        match self.random.below(16) {
            0 => SELF.0,
            1 => self.ground.own.0,
            2 => u16::from_le_bytes([self.random.word().to_le_bytes()[0], 0x7f]),
            3 => self.random.word().to_le_bytes()[0].into(),
            _ => self.random.pick(&self.ground.victims),
        }
    }

    fn value(&mut self, field: Field) -> u64 {
        let random = &mut self.random;
        match field {
            Field::Domain => self.domain().into(),
            Field::Frame => match random.below(8) {
                0 => boundary(random),
                1 => random.below(64),
                2 => random.below(1 << 36),
                // A size in bytes, or a machine's device.
                3 => random.below(512) * PAGE,
                4 | 5 => WINDOW + random.below(2 * LIST),
                _ => RAM + random.below(2 * LIST),
            },
            Field::Address => match random.below(16) {
                0 => boundary(random),
                1 => 0,
                2 => self.ground.buffer + self.ground.pages * PAGE - random.below(64),
                3 | 4 => self.ground.buffer + random.below(self.ground.pages * PAGE),
                5..8 => self.ground.buffer + LISTS + PAGE,
                8..12 => self.ground.buffer + SECOND,
                _ => self.ground.buffer + LISTS,
            },
            Field::Small(_) => match random.below(16) {
                0 => boundary(random),
                1 => random.below(4096),
                2..5 => random.below(256),
                5..10 => random.below(8),
                _ => random.below(3),
            },
            Field::Any(_) => match random.below(4) {
                0 => boundary(random),
                1 => random.below(256),
                2 => random.below(64) * PAGE,
                _ => random.word(),
            },
            Field::Zero(_) => {
                if random.one_in(64) {
                    random.word()
                } else {
                    0
                }
            }
        }
    }
}

/// Whether the probe's value stays: the space of `add_to_physmap` and the number of a parameter.
fn is_kept(form: Form, at: usize) -> bool {
    at == 4 && matches!(form, Form::MapSpace | Form::HvmParam)
}

/// Where a check may be off by one, or an addition wrap.
fn boundary(random: &mut Random) -> u64 {
    let bit = 1_u64 << random.below(64);
    match random.below(4) {
        0 => u64::MAX - random.below(16),
        1 => bit - 1,
        2 => bit.wrapping_add(1),
        _ => bit,
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = *from;
    }
}
