//! A guest's devices: a slot for each, and a backend that serves it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use backend::Bank;
use backend::xen::slots::{Device as SlotDevice, Interrupt, Slot, SlotState, Transport};
use machine_model::{Region, layout};

use crate::config::{Device, GuestConfig};
use crate::xen::{Xen, poll_until};
use xenolith_abi::DomId;

/// How long a backend may take to open an image.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often the slots are read meanwhile.
const PERIOD: Duration = Duration::from_millis(20);

/// Makes the slots; returns their numbers.
pub fn make(
    xen: &dyn Xen,
    config: &GuestConfig,
    guest: DomId,
    banks: &[Region],
    backends: &[DomId],
) -> Result<Vec<u32>> {
    let ram: Vec<Bank> = banks.iter().map(|bank| Bank { base: bank.start, size: bank.size }).collect();
    let mut slots = Vec::new();
    for (index, (wanted, &backend)) in (0u32..).zip(config.devices.iter().zip(backends)) {
        let (registers, irq) =
            layout::virtio_mmio(index).context("more devices than there are places for")?;
        let device = SlotDevice {
            guest,
            backend,
            transport: Transport::VirtioMmio.number(),
            device_id: wanted.device_id(),
            interrupt: Interrupt::Line { intid: irq }.into(),
            registers: Bank { base: registers.start, size: registers.size },
            ram: ram.clone(),
            config: wanted.to_blob()?,
        };
        let slot = xen.create_slot(&device);
        slots.push(slot.with_context(|| format!("{} in {}", wanted.label(), domain_name(backend)))?);
    }
    Ok(slots)
}

/// Waits until all slots are served.
pub fn wait(xen: &dyn Xen, config: &GuestConfig, slots: &[u32], backends: &[DomId]) -> Result<()> {
    let mut waits = None;
    let served = poll_until(xen, PERIOD, TIMEOUT, || {
        waits = first_unserved(xen, config, slots, backends)?;
        anyhow::Ok(waits.is_none().then_some(()))
    })?;
    let (None, Some((device, backend))) = (served, waits) else { return Ok(()) };
    bail!(
        "{}: nobody serves it in {} after {} s; is `lithd serve` running there?",
        device.label(),
        domain_name(backend),
        TIMEOUT.as_secs()
    );
}

/// The first device that is not served yet, and who is to serve it.
fn first_unserved<'a>(
    xen: &dyn Xen,
    config: &'a GuestConfig,
    slots: &[u32],
    backends: &[DomId],
) -> Result<Option<(&'a dyn Device, DomId)>> {
    let all = if slots.is_empty() { Vec::new() } else { xen.slots()? };
    let state = |number: &u32| all.iter().find(|slot| slot.number == *number);
    let mut unserved = None;
    for ((device, &backend), slot) in config.devices.iter().zip(backends).zip(slots.iter().map(state)) {
        // All are looked at: one that has failed is the reason, whichever others still wait.
        if !is_ready(device, backend, slot)? {
            unserved = unserved.or(Some((device, backend)));
        }
    }
    Ok(unserved)
}

/// What a guest's devices are called together: its kinds.
pub fn nouns(config: &GuestConfig) -> String {
    let mut nouns: Vec<&str> = config.devices.iter().map(|device| device.nouns().1).collect();
    nouns.dedup();
    nouns.join(" and ")
}

fn is_ready(device: &dyn Device, backend: DomId, slot: Option<&Slot>) -> Result<bool> {
    let Some(slot) = slot else {
        bail!("{}: its slot has gone, as if {} had ended", device.label(), domain_name(backend));
    };
    match slot.state {
        Some(SlotState::Ready) => Ok(true),
        Some(SlotState::Failed | SlotState::Gone) => {
            let label = device.label();
            let why = without_subject(&slot.message, &label);
            bail!("{label}: {} cannot serve it: {why}", domain_name(backend))
        }
        Some(SlotState::Waiting) | None => Ok(false),
    }
}

/// What a backend says of a device, without the name with which the device's label ends: that is said once.
fn without_subject<'a>(message: &'a str, label: &str) -> &'a str {
    let subject = label.split_once(' ').map_or(label, |(_, subject)| subject);
    message.strip_prefix(subject).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message)
}

fn domain_name(domain: DomId) -> String {
    if domain == DomId::CONTROL { "the control domain".into() } else { format!("domain {}", domain.0) }
}
