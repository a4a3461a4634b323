//! `domctl` and `sysctl`: what a toolstack does to domains and asks of the machine.

mod console;
mod create;
mod device;
mod errors;
mod machine;
mod shutdown;
mod suspend;
mod uart;
mod vcpus;

use proptest::prelude::*;

use xenolith_abi::control::Payload;
use xenolith_abi::domctl::{
    CreateDomain, CreateDomainV15, DomainInfo, Domctl, DomctlOp, VERSION_4_17, VERSION_4_20,
};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::sysctl::{self, Sysctl, SysctlOp};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::super::*;
use super::support::*;

/// A toolstack in the control domain. That of Xen 4.17 leaves garbage where nothing is said to be.
struct Toolstack {
    guest: Guest,
    version: u32,
}

impl Toolstack {
    /// A machine with two CPUs, the control domain on one.
    fn new(version: u32) -> (Machine, Toolstack) {
        let mut machine = Machine::new(2, 4096);
        let guest = Guest::boot(&mut machine, CONTROL);
        (machine, Toolstack { guest, version })
    }

    /// `domctl` for a domain. The payload comes back as the call left it.
    fn domctl<T: FromBytes + IntoBytes + Immutable>(
        &self,
        machine: &mut Machine,
        op: DomctlOp,
        domain: u16,
        payload: &mut T,
    ) -> i64 {
        self.domctl_for(machine, op.number(), domain, payload).0
    }

    /// The same with any number; also returns the domain that stands in the header then.
    fn domctl_for<T: FromBytes + IntoBytes + Immutable>(
        &self,
        machine: &mut Machine,
        cmd: u32,
        domain: u16,
        payload: &mut T,
    ) -> (i64, u16) {
        let garbage = self.version == VERSION_4_17;
        let pad = if garbage { [0xfff0, 0x1234, 0xa5a5] } else { [0; 3] };
        let mut request =
            Domctl { cmd, interface_version: self.version, domain: DomId(domain), pad, payload: self.rest() };
        request.payload.set(payload);
        let at = self.guest.scratch(machine);
        machine.poke(&self.guest.domain, at, &request);
        let junk = if garbage { 0xdead_beef } else { 0 };
        let result = self.guest.plain(machine, Hypercall::Domctl, [at, junk, junk, junk, junk]);
        machine.settle();
        let answer: Domctl = machine.peek(&self.guest.domain, at);
        *payload = answer.payload.get();
        (result, answer.domain.0)
    }

    /// `sysctl`.
    fn sysctl<T: FromBytes + IntoBytes + Immutable>(
        &self,
        machine: &mut Machine,
        op: SysctlOp,
        payload: &mut T,
    ) -> i64 {
        let mut request =
            Sysctl { cmd: op.number(), interface_version: sysctl::INTERFACE_VERSION, payload: self.rest() };
        request.payload.set(payload);
        let at = self.guest.scratch(machine);
        machine.poke(&self.guest.domain, at, &request);
        let result = self.guest.plain(machine, Hypercall::Sysctl, [at, 0, 0, 0, 0]);
        *payload = machine.peek::<Sysctl>(&self.guest.domain, at).payload.get();
        result
    }

    /// What stands in the bytes of the union that an operation does not use.
    fn rest(&self) -> Payload {
        if self.version == VERSION_4_17 { Payload::of(&[0xa5_u8; 128]) } else { Payload::EMPTY }
    }

    /// Makes a domain; its number.
    fn create(&self, machine: &mut Machine, wanted: CreateDomain) -> Result<u16, i64> {
        let (result, id) = if self.version == VERSION_4_17 {
            let mut old = CreateDomainV15::from(wanted);
            old.arch.sve_vl = 0xee;
            self.domctl_for(machine, 1, 0xffff, &mut old)
        } else {
            self.domctl_for(machine, 1, 0xffff, &mut { wanted })
        };
        if result == 0 { Ok(id) } else { Err(result) }
    }

    /// An operation without a payload.
    fn simple(&self, machine: &mut Machine, op: DomctlOp, domain: u16) -> i64 {
        self.domctl(machine, op, domain, &mut [0_u8; 0])
    }

    fn info(&self, machine: &mut Machine, domain: u16) -> Result<DomainInfo, i64> {
        let mut info = DomainInfo::default();
        match self.domctl(machine, DomctlOp::GetDomainInfo, domain, &mut info) {
            0 => Ok(info),
            error => Err(error),
        }
    }

    /// A page of the control domain for arrays and the like.
    fn buffer(&self, machine: &Machine) -> u64 {
        self.guest.page(machine, 5)
    }
}

/// What a toolstack asks for when it makes a domain with two vCPUs.
fn plan() -> CreateDomain {
    CreateDomain {
        ssidref: 12,
        handle: *b"sixteen bytes id",
        flags: 3,
        max_vcpus: 2,
        max_evtchn_port: 1023,
        max_grant_frames: 4,
        max_maptrack_frames: 4,
        grant_opts: 1,
        ..CreateDomain::default()
    }
}

/// Both personalities.
const VERSIONS: [u32; 2] = [VERSION_4_17, VERSION_4_20];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_control_call_breaks_the_books(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        toolstack::play(&bytes);
    }
}
