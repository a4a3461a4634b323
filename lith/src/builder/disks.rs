//! A guest's disks: a device slot for each, and a backend that serves it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use devicemodel::Bank;
use devicemodel::slots::{Device, DeviceKind, Slot, SlotState};
use machine_model::{Region, layout};

use crate::config::{Disk, GuestConfig};
use crate::xen::Xen;
use xenolith_abi::DomId;

/// How long a backend may take to open an image.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked.
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
    for (index, (disk, &backend)) in (0u32..).zip(config.disks.iter().zip(backends)) {
        let (registers, irq) = layout::virtio_mmio(index).context("more disks than there are places for")?;
        let device = Device {
            guest: guest.0,
            backend: backend.0,
            kind: DeviceKind::VirtioMmioBlock.number(),
            irq: irq.0,
            registers: Bank { base: registers.start, size: registers.size },
            ram: ram.clone(),
            config: disk.config.to_blob()?,
        };
        let slot = xen.create_slot(&device);
        slots.push(slot.with_context(|| format!("disk {} in {}", disk.config.image, domain_name(backend)))?);
    }
    Ok(slots)
}

/// Waits until all slots are served.
pub fn wait(xen: &dyn Xen, config: &GuestConfig, slots: &[u32], backends: &[DomId]) -> Result<()> {
    let mut waited = Duration::ZERO;
    loop {
        let all = if slots.is_empty() { Vec::new() } else { xen.slots()? };
        let state = |number: &u32| all.iter().find(|slot| slot.number == *number);
        let mut waits = None;
        for ((disk, &backend), slot) in config.disks.iter().zip(backends).zip(slots.iter().map(state)) {
            if !is_ready(disk, backend, slot)? {
                waits = waits.or(Some((disk, backend)));
            }
        }
        let Some((disk, backend)) = waits else { return Ok(()) };
        if waited >= PATIENCE {
            bail!(
                "disk {}: nobody serves it in {} after {} s; is `lithd serve` running there?",
                disk.config.image,
                domain_name(backend),
                PATIENCE.as_secs()
            );
        }
        xen.wait(PERIOD);
        waited = waited.saturating_add(PERIOD);
    }
}

fn is_ready(disk: &Disk, backend: DomId, slot: Option<&Slot>) -> Result<bool> {
    let Some(slot) = slot else {
        bail!("disk {}: its slot has gone, as if {} had ended", disk.config.image, domain_name(backend));
    };
    match slot.state {
        Some(SlotState::Ready) => Ok(true),
        Some(SlotState::Failed | SlotState::Gone) => {
            bail!("disk {}: {} cannot serve it: {}", disk.config.image, domain_name(backend), slot.message)
        }
        Some(SlotState::Waiting) | None => Ok(false),
    }
}

fn domain_name(domain: DomId) -> String {
    if domain == DomId::CONTROL { "the control domain".into() } else { format!("domain {}", domain.0) }
}
