//! A heap that ends at any moment: what the control domain asks for then fails, or needs none.

use xenolith_abi::Errno;
use xenolith_abi::control::Payload;
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::sysctl::{self, DebugKeys, Sysctl, SysctlOp};

use super::super::*;
use super::support::*;
use xenolith_domain::arch::ArchRequest;
use xenolith_domain::life::create::NewDomain;
use xenolith_domain::parts::progress::Progress;

/// Does something again and again, each time with just enough heap for one allocation more, until it succeeds.
/// `after_failure` looks at what is left of the attempt.
fn with_ever_more<T>(mut act: impl FnMut() -> Result<T, Errno>, mut after_failure: impl FnMut(usize)) -> T {
    let mut bytes = 0;
    loop {
        let (result, lacked) = crate::heap::with_heap(bytes, &mut act);
        match (result, lacked) {
            (Ok(done), _) => return done,
            (Err(errno), Some(needed)) => {
                assert_eq!(errno, Errno::ENOMEM, "{bytes} bytes");
                assert!(needed > bytes);
                after_failure(bytes);
                bytes = needed;
            }
            (Err(errno), None) => panic!("{errno:?} though there was heap enough"),
        }
    }
}

/// Destroys a domain with no heap at all.
fn destroy(machine: &mut Machine, domain: &Arc<Domain>) {
    for _ in 0..1000 {
        let (progress, lacked) = crate::heap::with_heap(0, || machine.hv.destroy_domain(domain, 0));
        assert_eq!(lacked, None, "the end of a domain needs no memory");
        if progress == Ok(Progress::Done) {
            return;
        }
        machine.settle();
    }
    panic!("it never ends");
}

#[test]
fn a_domain_is_made_whole_or_not_at_all_and_destroyed_without_memory() {
    let (mut machine, _control) = Guest::alone();
    let free = machine.hv.frames.free_frames();
    let request = NewDomain {
        vcpus: 70,
        arch: ArchRequest { spis: 64, ..ArchRequest::default() },
        ..super::create::request()
    };
    let mut failures = 0;
    let domain = with_ever_more(
        || machine.hv.create_domain(&request),
        |bytes| {
            failures += 1;
            assert_eq!(machine.hv.domain_count(), 1, "{bytes} bytes");
            assert_eq!(machine.hv.frames.free_frames(), free, "{bytes} bytes");
            assert_eq!(machine.audit(), Ok(()), "{bytes} bytes");
        },
    );
    assert!(failures > 8, "only {failures} allocations");
    assert!(domain.vcpus.iter().map(|vcpu| vcpu.unit.0).eq(1..71), "an attempt has kept vCPUs");
    assert_eq!(machine.audit(), Ok(()));
    destroy(&mut machine, &domain);
    drop(domain);
    assert_eq!((machine.hv.domain_count(), machine.hv.frames.free_frames()), (1, free));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn debug_keys_need_no_memory() {
    let (mut machine, control) = Guest::alone();
    machine.add(OTHER);
    let (at, keys) = (control.scratch(&machine), control.page(&machine, 2));
    machine.poke(&control.domain, keys, b"hqregidE");
    let mut payload = Payload::default();
    payload.set(&DebugKeys { keys: keys.into(), nr_keys: 8, ..DebugKeys::default() });
    let op = SysctlOp::DebugKeys.number();
    let request = Sysctl { cmd: op, interface_version: sysctl::INTERFACE_VERSION, payload };
    machine.poke(&control.domain, at, &request);
    let call = || control.plain(&mut machine, Hypercall::Sysctl, [at, 0, 0, 0, 0]);
    assert_eq!(crate::heap::with_heap(0, call), (0, None));
}
