//! Starting vCPUs, and the end of a domain.

use core::sync::atomic::Ordering;

use xenolith_abi::event::Virq;
use xenolith_abi::sched::ShutdownReason;

use crate::arch::{Context, entry_registers};
use crate::console::console;
use crate::hypervisor::Hypervisor;
use crate::vcpu::{Power, Vcpu};
use xenolith_arch as arch;
use xenolith_host::command_line::CrashAction;

use crate::domain::{Domain, DomainRef};
use crate::parts::ending::Resume;

impl Domain {
    /// Makes what a CPU holds for a vCPU that of one which has not run.
    pub(super) fn reset_context(&self, vcpu: &Vcpu, context: &mut Context) {
        vcpu.arch.reset(context);
        if let Some(offset) = self.counter_offset() {
            context.set_counter_offset(offset);
        }
    }

    /// Remembers the reason that a crash still to come will have (`sched_op` shutdown_code).
    pub fn announce_shutdown(&self, reason: ShutdownReason) {
        self.ending.lock().announced = Some(reason);
    }

    /// Why it has shut down, if it has or is about to.
    pub fn shutdown_reason(&self) -> Option<ShutdownReason> {
        self.ending.lock().reason
    }

    /// Whether it has shut down: all its vCPUs have stopped.
    pub fn has_shut_down(&self) -> bool {
        self.ending.lock().complete
    }

    fn log_shutdown(&self) {
        match self.shutdown_reason() {
            Some(ShutdownReason::Poweroff) => log::info!("{} has powered off", self.id),
            Some(ShutdownReason::Reboot | ShutdownReason::SoftReset) => {
                log::info!("{} has shut down to be started again", self.id);
            }
            Some(ShutdownReason::Suspend) => self.say_ratelimited(format_args!("has suspended itself")),
            Some(ShutdownReason::Crash) => log::error!("{} has crashed", self.id),
            Some(ShutdownReason::Watchdog) => log::error!("{} has not fed its watchdog", self.id),
            None => (),
        }
    }
}

impl DomainRef<'_> {
    /// Starts a vCPU that is off at `entry`, with an argument for it. False when it is on.
    pub fn start_vcpu(self, vcpu: &Vcpu, entry: u64, argument: u64) -> bool {
        {
            let mut power = vcpu.power.lock();
            let mut saved = vcpu.saved.lock();
            // One that has turned itself off may not have left its CPU yet: it is on for a moment longer.
            if *power == Power::On || saved.loaded {
                return false;
            }
            saved.regs = entry_registers(entry, argument);
            self.reset_context(vcpu, &mut saved.context);
            saved.defined = true;
            *power = Power::On;
        }
        // A domain that is paused has not started: its time begins when it is let go on.
        if !self.is_paused() {
            self.begin_time();
        }
        // Before it can run, so that it finds what waits for it.
        self.set_interrupts_online(vcpu.id, true);
        self.hv.kick(self.hv.scheduler.start(vcpu.unit, arch::now()));
        true
    }

    /// Stops a vCPU, which runs on the calling CPU, until it is started again.
    pub fn stop_vcpu(self, vcpu: &Vcpu) {
        // Nobody starts it before its registers have left this CPU, which is after all of this.
        *vcpu.power.lock() = Power::Off;
        self.set_interrupts_online(vcpu.id, false);
        self.hv.kick(self.hv.scheduler.stop(vcpu.unit, arch::now()));
    }

    /// Stops the domain; once all its vCPUs have left their CPUs, the control domain is told. The first domain takes the
    /// machine with it.
    pub fn shut_down(self, reason: ShutdownReason) {
        self.begin_shutdown(reason, None);
    }

    /// Begins a shutdown after which the domain goes on as `resume` says, if it is let go on.
    pub(super) fn begin_shutdown(self, reason: ShutdownReason, resume: Option<Resume>) {
        let reason = {
            let mut ending = self.ending.lock();
            let reason = ending.announced.unwrap_or(reason);
            // The first reason counts: what its vCPUs still do until they stop changes it no more.
            if ending.reason.is_some() {
                return;
            }
            ending.reason = Some(reason);
            ending.resume = resume.filter(|_| reason == ShutdownReason::Suspend);
            self.is_wakeable.store(ending.resume.is_some(), Ordering::Relaxed);
            reason
        };
        let now = arch::now();
        for vcpu in &self.vcpus {
            self.hv.kick(self.hv.scheduler.pause(vcpu.unit, now));
        }
        // It does not come back: nobody would be there who could be told.
        if self.is_control {
            self.hv.end_machine(reason);
        }
        // After the pauses: a CPU that saves a vCPU before this is seen not to run it by the look that follows, and one
        // that saves it later looks itself.
        self.stopping.store(true, Ordering::SeqCst);
        self.complete_shutdown();
    }

    /// A vCPU of the domain has left its CPU: when it shuts down and this was the last, the control domain is told.
    pub fn complete_shutdown(self) {
        if !self.stopping.load(Ordering::SeqCst) {
            return;
        }
        {
            // Once it is complete, the domain may be let go on and shut down again: asked and said in one step.
            let mut ending = self.ending.lock();
            if !self.stopping.load(Ordering::SeqCst) || !self.is_stopped() {
                return;
            }
            self.stopping.store(false, Ordering::SeqCst);
            ending.complete = true;
        }
        // What came before it was complete has found nothing to wake.
        if self.is_wakeable.load(Ordering::Relaxed) {
            self.vcpus.iter().for_each(|vcpu| self.withdraw_stale_timer(vcpu));
            if self.wake_suspended() {
                return;
            }
        }
        self.log_shutdown();
        self.hv.raise_global_virq(Virq::DomExc);
    }
}

impl Hypervisor {
    /// The first domain is gone: the machine ends as it asked, or as the options say if it crashed.
    fn end_machine(&self, reason: ShutdownReason) -> ! {
        // From here on nobody comes by who would write what waits.
        console().flush();
        match reason {
            ShutdownReason::Poweroff => {
                log::info!("the first domain has powered off; powering the machine off");
                arch::power_off()
            }
            ShutdownReason::Crash | ShutdownReason::Watchdog => match self.options.after_crash {
                CrashAction::Reboot => {
                    log::error!("the first domain has crashed; resetting the machine");
                    arch::reset()
                }
                CrashAction::Halt => {
                    log::error!("the first domain has crashed; the machine is halted");
                    arch::halt()
                }
            },
            ShutdownReason::Reboot | ShutdownReason::Suspend | ShutdownReason::SoftReset => {
                log::info!("the first domain reboots; resetting the machine");
                arch::reset()
            }
        }
    }
}
