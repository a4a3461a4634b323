//! What is done against branch prediction by guests ([`xenolith_host::branch_prediction`]).

use xenolith_host::branch_prediction::{self, AtExit, Joined, Verdict};
use xenolith_isa::psci::Mitigations;

use super::{cpu, idregs, power};

static JOINED: Joined = Joined::new();

/// What guests are told.
pub fn mitigations() -> Mitigations {
    JOINED.get()
}

/// Decides for the calling CPU, before it runs a guest, and returns whether it is to have the vectors that do something when a
/// guest is left. `tell` hears of it if guests are told something worse than before.
pub fn init_cpu(tell: impl FnOnce(&Verdict)) -> bool {
    let verdict = branch_prediction::decide(read_sysreg!("midr_el1"), &idregs::read(), power::arch_features);
    cpu::set_at_exit(verdict.at_exit.encode());
    if JOINED.add(&verdict.mitigations) {
        tell(&verdict);
    }
    verdict.at_exit != AtExit::Nothing
}
