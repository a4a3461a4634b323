//! A device model that does all that one should not. What it does to the guest's device is its right; everything else,
//! and the guest's vCPU, must live on.

use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use backend::xen::dm::DeviceModel;
use backend::xen::slots::{Interrupt, Slots};
use backend::xen::{Evtchn, Mapping, Privcmd};
use vm_memory::Bytes;
use xenolith_abi::ioreq::{READ, STATE_MASK, Slot, State};
use xenolith_abi::{DomId, Intid, Port};

use super::{FACTS, FACTS_SIZE, MEMORY, MEMORY_SIZE, destroy_all, model};
use crate::report::Report;

/// Servers that are made, abused and left in some state.
const ROUNDS: u32 = 12;
/// What is done to each.
const STEPS: u32 = 25;
/// Events of a flood.
const FLOOD: u32 = 100;
/// How often a guest is made to ask for the last time.
const ATTEMPTS: u32 = 10_000;
/// Bytes of a page.
const PAGE: usize = 4096;
/// Where a slot's data is.
const DATA: usize = std::mem::offset_of!(Slot, data);
/// Where its state is.
const FLAGS: usize = std::mem::offset_of!(Slot, flags);
/// Where its port is.
const PORT: usize = std::mem::offset_of!(Slot, vp_eport);

/// Abuses the ioreq servers of a guest with the kernel of `system-tests/bare`, and leaves the last one as it is.
pub fn run(mut report: Report, guest: DomId, seed: u64) -> ExitCode {
    report.test("a device model that is hostile", || Device::bare(guest)?.abuse(seed));
    report.finish()
}

/// Takes the first device that this domain serves away from the process that does so, and abuses it. When there is a
/// second device to be served, the first never gets an answer again. `vcpu` is the one that uses it.
pub fn run_served(mut report: Report, vcpu: u16) -> ExitCode {
    report.test("a backend that is hostile", || {
        let device = Device::served(vcpu)?;
        let slots = Slots::new(Arc::clone(device.model.privcmd()));
        let mut seed = 0;
        while slots.list()?.len() == 1 {
            seed += 1;
            device.abuse(seed)?;
        }
        device.fall_silent()
    });
    report.finish()
}

/// What a guest has, and this domain emulates.
pub(super) struct Device {
    pub(super) model: DeviceModel,
    registers: Vec<RangeInclusive<u64>>,
    /// Its interrupt, by which a guest can be made to ask.
    irq: Option<Intid>,
    /// Where the slot is of the vCPU that asks.
    slot: usize,
}

impl Device {
    /// That of the kernel of `system-tests/bare`.
    pub(super) fn bare(guest: DomId) -> Result<Self> {
        let registers = vec![MEMORY..=MEMORY + MEMORY_SIZE - 1, FACTS..=FACTS + FACTS_SIZE - 1];
        Ok(Self { model: model(guest)?, registers, irq: None, slot: 0 })
    }

    fn served(vcpu: u16) -> Result<Self> {
        let slots = Slots::new(Arc::new(Privcmd::open()?)).list()?;
        let device = &slots.first().context("this domain serves nothing")?.device;
        let registers = device.registers.base..=device.registers.base + device.registers.size - 1;
        let slot = usize::from(vcpu) * size_of::<Slot>();
        let irq = match device.interrupt.get() {
            Some(Interrupt::Line { intid }) => Some(intid),
            _ => None,
        };
        Ok(Self { model: model(device.guest)?, registers: vec![registers], irq, slot })
    }

    fn abuse(&self, seed: u64) -> Result<()> {
        let model = &self.model;
        let mut random = Random(seed);
        let mut asked = 0;
        // Kept to the end of the process, which nobody cleans up after.
        let mut kept = Vec::new();
        for number in 0..ROUNDS {
            if number == 0 || !random.one_in(8) {
                destroy_all(model);
            }
            let round = Round::begin(self).or_else(|_| {
                ensure!(destroy_all(model) > 0, "there is neither room nor a server to be destroyed");
                Round::begin(self)
            });
            let mut round = round.with_context(|| format!("round {number}"))?;
            for _ in 0..STEPS {
                self.interrupt(random.one_in(2));
                round.step(&mut random)?;
            }
            asked += round.asked;
            match random.below(4) {
                // A server that lost its port has ended.
                0 => drop(model.destroy_server(round.id)),
                1 => drop(round),
                2 => {
                    drop(round.page);
                    drop(model.destroy_server(round.id));
                }
                _ => kept.push(round),
            }
        }
        println!("found {asked} requests");
        ensure!(asked > 0, "the guest asked for nothing in all rounds");
        // What is left is what the process that ends now leaves.
        std::mem::forget(kept);
        Ok(())
    }

    /// Sets the level of the device's interrupt, if it has one.
    fn interrupt(&self, level: bool) {
        if let Some(irq) = self.irq {
            // The guest may be gone.
            drop(self.model.set_irq(irq, level));
        }
    }

    /// Makes the guest ask, and does nothing more. Returns only if the guest does not ask.
    fn fall_silent(&self) -> Result<()> {
        destroy_all(&self.model);
        let mut round = Round::begin(self)?;
        for attempt in 0..ATTEMPTS {
            self.interrupt(attempt % 2 == 0);
            round.wait()?;
            if round.asked > 0 {
                // Whoever reads it may be late.
                loop {
                    println!("hostile: never answers again");
                    thread::sleep(Duration::from_secs(2));
                }
            }
        }
        bail!("the guest does not ask");
    }
}

/// A server for the device, and all that it is answered by.
pub(super) struct Round {
    model: DeviceModel,
    pub(super) id: u16,
    events: Evtchn,
    page: Arc<Mapping>,
    port: Option<Port>,
    /// Where the slot is.
    slot: usize,
    /// Some of the device's registers.
    some: RangeInclusive<u64>,
    pub(super) asked: u32,
}

impl Round {
    pub(super) fn begin(device: &Device) -> Result<Self> {
        const IOREQ: u32 = 0;
        const SLOTS: u32 = 1;
        let model = &device.model;
        let id = model.create_server()?;
        let page = model.privcmd().map_resource(model.domain(), IOREQ, id.into(), SLOTS, 1)?;
        model.enable_server(id, true)?;
        let events = Evtchn::open()?;
        let remote: u32 = page.slice().read_obj(device.slot + PORT)?;
        let port = events.bind_interdomain(model.domain(), Port(remote)).ok();
        for registers in &device.registers {
            // Another server that was left behind may have them.
            let _ = model.map_mmio(id, registers.clone());
        }
        let first = device.registers.first().context("a device without registers")?;
        let some = *first.start()..=*first.start() + 0xff;
        Ok(Self {
            model: model.clone(),
            id,
            events,
            page: Arc::new(page),
            port,
            slot: device.slot,
            some,
            asked: 0,
        })
    }

    pub(super) fn flags(&self) -> Result<u8> {
        Ok(self.page.slice().read_obj(self.slot + FLAGS)?)
    }

    pub(super) fn set_flags(&self, flags: u8) -> Result<()> {
        Ok(self.page.slice().write_obj(flags, self.slot + FLAGS)?)
    }

    fn notify(&self, times: u32) {
        if let Some(port) = self.port {
            // The other end may be gone.
            (0..times).for_each(|_| drop(self.events.notify(port)));
        }
    }

    /// Waits a little for the guest to ask.
    pub(super) fn wait(&mut self) -> Result<()> {
        for _ in 0..20 {
            if self.flags()? & STATE_MASK == State::Ready.number() {
                self.asked += 1;
                return Ok(());
            }
            thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    fn step(&mut self, random: &mut Random) -> Result<()> {
        let page = Arc::clone(&self.page);
        let slice = page.slice();
        match random.below(12) {
            0 => {
                let bytes: Vec<u8> = (0..PAGE / 8).flat_map(|_| random.next().to_le_bytes()).collect();
                slice.write_slice(&bytes, 0)?;
            }
            1 => {
                // Every state, with every other flag.
                for flags in 0..=u8::MAX {
                    self.set_flags(flags)?;
                    self.notify(1);
                }
            }
            2 => self.notify(FLOOD),
            3 => drop(self.model.enable_server(self.id, false)),
            4 => drop(self.model.unmap_mmio(self.id, self.some.clone())),
            5 => drop(self.model.map_mmio(self.id, self.some.clone())),
            6 => {
                if let Some(port) = self.port.take() {
                    self.events.unbind(port)?;
                }
            }
            7 => {
                let remote: u32 = slice.read_obj(self.slot + PORT)?;
                self.port = self
                    .port
                    .or_else(|| self.events.bind_interdomain(self.model.domain(), Port(remote)).ok());
            }
            // A request is taken and answered, half answered, or spoilt while it is being worked on.
            _ => {
                drop(self.model.enable_server(self.id, true));
                self.wait()?;
                let before = self.flags()? & !STATE_MASK;
                self.set_flags(before | State::InProcess.number())?;
                self.notify(1);
                slice.write_obj(random.next(), self.slot + DATA)?;
                let state =
                    if random.one_in(2) { State::ResponseReady.number() } else { random.next() as u8 };
                self.set_flags(before & READ | state)?;
                self.notify(random.below(3));
            }
        }
        Ok(())
    }
}

/// Numbers without order (splitmix64, Vigna 2015).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).unwrap_or(0)
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.below(many) == 0
    }
}
