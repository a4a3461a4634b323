//! Two CPUs that choose, sleep, wake and steal at the same time, in every order of their steps.

use std::sync::Arc;

use xenolith_core::sync::pending::Pending;
use xenolith_hw::atomic::{AtomicBool, AtomicU32};
use xenolith_hw::model::{explore, thread};

use super::kicks::Kicks;
use super::*;

const SLICE: u64 = 1000;
const NOW: u64 = 10;
const CPUS: [CpuId; 2] = [CpuId(0), CpuId(1)];

/// Plays two parts at once and returns what they came to.
fn together<S: Send + Sync + 'static, A: Send + 'static, B>(
    shared: &Arc<S>,
    one: impl FnOnce(&S) -> A + Send + 'static,
    other: impl FnOnce(&S) -> B,
) -> (A, B) {
    let own = shared.clone();
    let thread = thread::spawn(move || one(&own));
    let other = other(shared);
    (thread.join().unwrap(), other)
}

/// A CPU that busy-polls, and then sleeps unless it was kicked.
#[test]
fn no_kick_of_a_cpu_that_goes_to_sleep_is_lost() {
    struct Shared {
        kicks: Kicks,
        work: AtomicU32,
        interrupt: AtomicBool,
    }
    let runs = explore(Some(3), || {
        let shared = Shared { kicks: Kicks::new(), work: 0.into(), interrupt: false.into() };
        let shared = Arc::new(shared);
        assert!(!shared.kicks.poll(CPUS[1], || ()));
        shared.kicks.take(CPUS[1]);
        shared.work.store(0, Ordering::Relaxed);
        shared.interrupt.store(false, Ordering::Relaxed);
        let kick = |shared: &Shared| {
            shared.work.store(1, Ordering::Relaxed);
            if !shared.kicks.kick_polling(CPUS[1]) {
                shared.interrupt.store(true, Ordering::Relaxed);
            }
        };
        let idle = |shared: &Shared| {
            let kicked = shared.kicks.poll(CPUS[1], || {
                shared.kicks.is_kicked(CPUS[1]);
            });
            if kicked {
                shared.kicks.take(CPUS[1]);
                assert_eq!(shared.work.load(Ordering::Relaxed), 1, "it was kicked for nothing");
            }
            kicked
        };
        let ((), kicked) = together(&shared, kick, idle);
        assert!(kicked || shared.interrupt.load(Ordering::Relaxed), "it sleeps");
    });
    assert!(runs > 10, "{runs}");
}

/// Two CPUs that have chosen once.
struct Rig {
    scheduler: Scheduler,
    pending: Pending,
}

impl Rig {
    fn new() -> Arc<Self> {
        let rig = Rig { scheduler: Scheduler::new(Policy::Fair, 2, SLICE), pending: Pending::new(0) };
        let rig = Arc::new(rig);
        for cpu in CPUS {
            assert_eq!(rig.scheduler.pick(cpu, 0).unit, None);
        }
        rig.pending.take();
        rig
    }

    /// A unit that runs on a CPU, and may run on these.
    fn running(&self, on: CpuId, affinity: CpuMask) -> UnitId {
        let id = self.scheduler.add(CpuShare::alone(256), CpuMask::one(on), 0).unwrap();
        let _ = self.scheduler.start(id, 0);
        assert_eq!(self.scheduler.pick(on, 0).unit, Some(id));
        assert_eq!(self.scheduler.set_affinity(id, affinity, 0), Ok(CpuMask::one(on)));
        id
    }

    /// The unit on this CPU sleeps. The CPUs to kick.
    fn sleep(&self, id: UnitId, on: CpuId) -> CpuMask {
        self.scheduler.block(id, NOW);
        let next = self.scheduler.pick(on, NOW).unit;
        assert_ne!(next, Some(id));
        self.scheduler.saved(on, id, NOW)
    }

    /// CPUs that were kicked choose.
    fn follow(&self, kicks: CpuMask) {
        for cpu in kicks.iter() {
            self.scheduler.pick(cpu, NOW);
        }
    }
}

/// One CPU has more to run than it can; the other one has nothing any more, and looks for work.
#[test]
fn no_unit_waits_while_a_cpu_sleeps() {
    let runs = explore(Some(3), || {
        let rig = Rig::new();
        let late = rig.running(CPUS[0], CpuMask::ALL);
        assert!(rig.sleep(late, CPUS[0]).is_empty());
        let _busy = rig.running(CPUS[0], CpuMask::one(CPUS[0]));
        let other = rig.running(CPUS[1], CpuMask::one(CPUS[1]));
        let (woken, slept) =
            together(&rig, move |rig| rig.scheduler.wake(late, NOW), |rig| rig.sleep(other, CPUS[1]));
        rig.follow(woken.or(slept));
        assert_eq!(rig.scheduler.running_on(late), Some(CPUS[1]), "it waits, and {:?} is idle", CPUS[1]);
    });
    assert!(runs > 100, "{runs}");
}

#[test]
fn a_unit_is_chosen_by_one_cpu() {
    let runs = explore(Some(3), || {
        let rig = Rig::new();
        let unit = rig.running(CPUS[0], CpuMask::ALL);
        assert!(rig.sleep(unit, CPUS[0]).is_empty());
        let kicks = rig.scheduler.wake(unit, NOW);
        assert_eq!(kicks, CpuMask::one(CPUS[0]));
        let pick = |cpu| move |rig: &Rig| rig.scheduler.pick(cpu, NOW).unit;
        let (first, second) = together(&rig, pick(CPUS[0]), pick(CPUS[1]));
        assert_eq!((first, second), (Some(unit), None));
    });
    assert!(runs > 10, "{runs}");
}

/// Both wake it, or one of them wakes it while the other has it stop.
#[test]
fn who_pauses_a_unit_knows_where_it_runs() {
    let runs = explore(Some(3), || {
        let rig = Rig::new();
        let unit = rig.running(CPUS[0], CpuMask::ALL);
        assert!(rig.sleep(unit, CPUS[0]).is_empty());
        let kicks = rig.scheduler.wake(unit, NOW);
        let pause = move |rig: &Rig| {
            let kicks = rig.scheduler.pause(unit, NOW);
            (kicks, rig.scheduler.running_on(unit))
        };
        let ((kicked, on), chosen) = together(&rig, pause, |rig| rig.scheduler.pick(CPUS[0], NOW).unit);
        assert!(kicks.contains(CPUS[0]));
        match on {
            // Its registers are in memory, and stay there.
            None => assert_eq!((chosen, rig.scheduler.running_on(unit)), (None, None)),
            Some(cpu) => assert!(kicked.contains(cpu), "{cpu:?} runs it and is not kicked"),
        }
    });
    assert!(runs > 10, "{runs}");
}

/// As `notify` does it: the mark, then the waking, then a kick for the CPU that has it.
#[test]
fn work_for_a_unit_that_is_being_chosen_is_taken_or_kicked() {
    let runs = explore(Some(3), || {
        let rig = Rig::new();
        let unit = rig.running(CPUS[0], CpuMask::ALL);
        assert!(rig.sleep(unit, CPUS[0]).is_empty());
        let _ = rig.scheduler.wake(unit, NOW);
        let notify = move |rig: &Rig| {
            rig.pending.mark(1);
            let _ = rig.scheduler.wake(unit, NOW);
            rig.scheduler.running_on(unit)
        };
        let enter = |rig: &Rig| (rig.scheduler.pick(CPUS[0], NOW).unit, rig.pending.take());
        let (kicked, (chosen, taken)) = together(&rig, notify, enter);
        assert_eq!(chosen, Some(unit));
        assert!(taken != 0 || kicked == Some(CPUS[0]), "it enters the guest without its work");
    });
    assert!(runs > 10, "{runs}");
}
