//! In a build for tests: after calls that can change what domains reach, parts of their tables are held against the
//! specification, those of the caller and in turn those of all domains.

use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_abi::hypercall::Hypercall;
use xenolith_domain::arch::demand;
use xenolith_domain::domain::DomainRef;

/// Of so many calls one is followed by a look.
const EVERY: u64 = 8;

static CALLS: AtomicU64 = AtomicU64::new(0);

/// A call of this number was made by a domain. The machine ends if tables are not as they are to be.
pub fn after(caller: DomainRef<'_>, number: u64) {
    let changes_memory = matches!(
        Hypercall::from_number(number),
        Some(
            Hypercall::MemoryOp
                | Hypercall::Multicall
                | Hypercall::GrantTableOp
                | Hypercall::PhysdevOp
                | Hypercall::Domctl
                | Hypercall::DmOp
                | Hypercall::Xenolith
        )
    );
    if !changes_memory {
        return;
    }
    let count = CALLS.fetch_add(1, Ordering::Relaxed);
    if !count.is_multiple_of(EVERY) {
        return;
    }
    let turn = (count / EVERY) as usize % caller.hv.domain_count().max(1);
    let other = caller.hv.domains().nth(turn).filter(|other| other.id != caller.id);
    let others = other.map_or(Ok(()), |other| other.on(caller.hv).check_next_tables());
    let looked = caller.check_next_tables().and(others);
    demand(looked, format_args!("hypercall {number} of {}", caller.id));
}
