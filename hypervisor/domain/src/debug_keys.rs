//! What the hypervisor tells of itself when it is asked (`xl debug-keys`): one key, one subject, written to its log.
//!
//! Everything here reads and changes nothing. What is shown of a domain is bounded: a domain cannot make the answer, which the
//! control domain waits for, as long as it likes.

use core::sync::atomic::Ordering;

use xenolith_abi::event::{EventStatus, Status};

use crate::arch::log_registers;
use crate::hypervisor::Hypervisor;
use xenolith_core::types::DomId;
use xenolith_policy::event::Port;

/// Event channels shown of each domain.
const PORTS: u32 = 64;
/// Interrupts shown of each vCPU.
const INTERRUPTS: usize = 16;

/// A key, what it shows, and who does it.
type Key = (u8, &'static str, fn(&Hypervisor));

/// The keys. Where Xen has one for the subject, it is the same.
const KEYS: [Key; 8] = [
    (b'd', "registers of vCPUs that do not run", Hypervisor::show_registers),
    (b'E', "what the hypervisor cost, where that is counted", |hv| hv.accounts.show(hv.cpus())),
    (b'e', "event channels", Hypervisor::show_events),
    (b'g', "grants", Hypervisor::show_grants),
    (b'h', "these keys", |_| help()),
    (b'i', "interrupts of domains that wait or are served", Hypervisor::show_interrupts),
    (b'q', "domains", Hypervisor::show_domains),
    (b'r', "vCPUs and where they run", Hypervisor::show_vcpus),
];

impl Hypervisor {
    /// Does what a key asks for. Other keys do nothing, as in Xen.
    pub fn press_debug_key(&self, key: u8) {
        if let Some((_, _, show)) = KEYS.iter().find(|(known, ..)| *known == key) {
            show(self);
        }
    }

    fn show_domains(&self) {
        for domain in self.domains() {
            let info = domain.on(self).info();
            log::info!(
                "{}: {} of at most {} pages, {} of {} vCPUs on, {} ms{}{}{}",
                domain.id,
                info.tot_pages,
                info.max_pages,
                info.nr_online_vcpus,
                domain.vcpus.len(),
                info.cpu_time / 1_000_000,
                if domain.is_paused() { ", paused" } else { "" },
                if domain.has_shut_down() { ", has shut down" } else { "" },
                if domain.is_dead() { ", is being taken apart" } else { "" },
            );
        }
        let (free, promised) = (self.frames.available_frames(), self.frames.promised_frames());
        log::info!("free: {free} of {} pages; {promised} promised to domains", self.frames.total());
    }

    fn show_vcpus(&self) {
        for domain in self.domains() {
            for vcpu in &domain.vcpus {
                let (Some(times), Some((affinity, weight))) =
                    (self.scheduler.times(vcpu.unit), self.scheduler.parameters(vcpu.unit))
                else {
                    continue;
                };
                let last = vcpu.last_cpu.load(Ordering::Relaxed);
                let (id, state) = (domain.id, times.state);
                log::info!(
                    "{id} {}: {state:?}, cpu{last}, of CPUs {:#x}, weight {weight}",
                    vcpu.id,
                    affinity.0
                );
            }
        }
    }

    fn show_registers(&self) {
        for domain in self.domains() {
            for vcpu in &domain.vcpus {
                // One that runs has them in its CPU.
                let kept = vcpu.saved.try_lock().filter(|saved| !saved.loaded).map(|saved| saved.regs);
                if let Some(regs) = kept {
                    log::info!("{} {}:", domain.id, vcpu.id);
                    log_registers(log::Level::Info, &regs);
                }
            }
        }
    }

    fn show_interrupts(&self) {
        for domain in self.domains() {
            for vcpu in &domain.vcpus {
                // The console is slow, and the domain's CPUs wait for the lock.
                let in_hand = domain.arch.interrupts_in_hand::<INTERRUPTS>(vcpu.id);
                for (intid, state) in in_hand {
                    log::info!("{} {}: interrupt {}: {state}", domain.id, vcpu.id, intid.0);
                }
            }
        }
    }

    fn show_events(&self) {
        for domain in self.domains() {
            for port in 1..=PORTS {
                let mut status = Status { dom: domain.id, port: Port(port), ..Status::default() };
                let known = domain.events.lock().status(&mut status);
                if known.is_err() {
                    continue;
                }
                let (vcpu, other) = (status.vcpu, DomId(status.bound_to as u16));
                match EventStatus::from_number(status.status) {
                    Some(EventStatus::Closed) | None => (),
                    Some(EventStatus::Unbound) => log::info!("{} port {port}: offered to {other}", domain.id),
                    Some(EventStatus::Interdomain) => {
                        log::info!("{} port {port}: v{vcpu}, {other} {}", domain.id, status.remote_port);
                    }
                    Some(kind) => {
                        log::info!("{} port {port}: v{vcpu}, {kind:?} {}", domain.id, status.bound_to)
                    }
                }
            }
        }
    }

    fn show_grants(&self) {
        for domain in self.domains() {
            let ((frames, most), lent) = {
                let grants = domain.grants.lock();
                (grants.size(), grants.in_use())
            };
            let mapped = domain.maptrack.lock().live();
            log::info!(
                "{}: {frames} of {most} frames of grants, {lent} in use; maps {mapped} of others",
                domain.id
            );
        }
    }
}

fn help() {
    for (key, shows, _) in KEYS {
        log::info!("key {}: {shows}", char::from(key));
    }
}
