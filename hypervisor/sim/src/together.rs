//! A machine whose CPUs are played at the same time, each by a thread.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;

use xenolith_arch::sim::{self, SharedMachine};
use xenolith_core::types::{CpuId, DomId, VcpuId};
use xenolith_cpu::Event;
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_isa::regs::GuestRegs;
use xenolith_isa::trap;

use super::{Machine, Played, instructions};

/// How often a hypercall is made that is put off.
const PATIENCE: u32 = 1_000;

/// One CPU, as its thread plays it.
pub struct OneCpu<'a> {
    /// The hypervisor on it.
    pub hv: &'a Hypervisor,
    /// Its number.
    pub number: CpuId,
    played: &'a mut Played,
    over: &'a AtomicBool,
}

impl Machine {
    /// Has a thread play each CPU. When one of them unwinds, because it found a fault or because the machine ended, the others
    /// are told ([`OneCpu::is_over`]), and this returns what it unwound with.
    pub fn together(&mut self, play: impl Fn(&mut OneCpu<'_>) + Sync) -> Result<(), Box<dyn Any + Send>> {
        let shared = SharedMachine::take();
        let over = AtomicBool::new(false);
        let Machine { hv, cpus, .. } = self;
        let ends: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .map(CpuId)
                .zip(cpus.iter_mut())
                .map(|(number, played)| {
                    let (hv, shared, over, play) = (&*hv, &shared, &over, &play);
                    scope.spawn(move || {
                        let mut cpu = OneCpu { hv, number, played, over };
                        let work = || play(&mut cpu);
                        let end = panic::catch_unwind(AssertUnwindSafe(|| shared.play(number, work)));
                        over.fetch_or(end.is_err(), Ordering::Relaxed);
                        end
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().and_then(|end| end)).collect()
        });
        shared.give_back();
        ends.into_iter().collect()
    }
}

impl OneCpu<'_> {
    /// Whether another CPU has ended the play.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Something brings the CPU to EL2.
    pub fn event(&mut self, event: Event) {
        self.played.event(self.hv, event);
    }

    /// Takes the interrupts that wait.
    pub fn take_interrupts(&mut self) {
        while sim::gic::pending() || self.hv.kicks.is_kicked(self.number) {
            self.event(Event::Interrupt);
        }
    }

    /// The vCPU that it runs.
    pub fn running(&self) -> Option<(DomId, VcpuId)> {
        self.played.cpu.running().map(|vcpu| (vcpu.domain.id, vcpu.id))
    }

    /// The registers of that vCPU.
    pub fn regs(&mut self) -> &mut GuestRegs {
        &mut self.played.regs
    }

    /// The guest makes a hypercall, again after interrupts when it is put off. The result; `None` if the guest no longer runs
    /// here, or if it has been put off for so long that it waits for what another domain does not do.
    pub fn hypercall(&mut self, number: u64, arguments: [u64; 5]) -> Option<i64> {
        let before = self.running();
        let regs = self.regs();
        regs.x[16] = number;
        regs.x[..5].copy_from_slice(&arguments);
        let at = regs.pc;
        for _ in 0..PATIENCE {
            self.regs().pc = at.wrapping_add(4);
            self.event(instructions::hvc(trap::IMMEDIATE_XEN));
            if self.running() != before {
                return None;
            }
            if self.regs().pc != at {
                return Some(self.regs().x[0] as i64);
            }
            // What the call waits for may be another CPU's to do.
            thread::yield_now();
            self.take_interrupts();
            if self.running() != before {
                return None;
            }
        }
        None
    }
}
