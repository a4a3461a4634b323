//! A guest's disks: a device slot for each, and a backend that serves it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use devicemodel::Bank;
use devicemodel::slots::{CONFIG_SIZE, Device, DeviceKind, Slot, SlotState};
use serde::Serialize;
use xenolith_guest::{Region, layout};

use crate::config::{Disk, Format, GuestConfig, Layer};
use crate::xen::{CONTROL, DomainId, Xen};

/// How long a backend may take to open an image.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked.
const PERIOD: Duration = Duration::from_millis(20);

/// A disk as its slot's configuration says it. The backend knows these keys and no others.
#[derive(Serialize)]
struct SlotConfig<'a> {
    image: &'a str,
    format: Format,
    read_only: bool,
    queues: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    serial: &'a str,
    #[serde(skip_serializing_if = "<[Layer]>::is_empty")]
    backing: &'a [Layer],
}

/// The configuration of a disk's slot.
///
/// # Errors
///
/// It is longer than a slot's configuration may be.
pub fn slot_config(disk: &Disk) -> Result<Vec<u8>> {
    let config = SlotConfig {
        image: &disk.image,
        format: disk.format,
        read_only: disk.read_only,
        queues: disk.queues,
        serial: &disk.serial,
        backing: &disk.backing,
    };
    let blob = serde_json::to_vec(&config)?;
    if blob.len() > CONFIG_SIZE {
        bail!(
            "disk {}: its description has {} bytes, and a device slot has room for {CONFIG_SIZE}; use shorter paths",
            disk.image,
            blob.len()
        );
    }
    Ok(blob)
}

/// Makes the slots; returns their numbers.
pub fn make(
    xen: &dyn Xen,
    config: &GuestConfig,
    guest: DomainId,
    banks: &[Region],
    backends: &[DomainId],
    blobs: &[Vec<u8>],
) -> Result<Vec<u32>> {
    let ram: Vec<Bank> = banks.iter().map(|bank| Bank { base: bank.start, size: bank.size }).collect();
    let mut slots = Vec::new();
    for (index, ((disk, &backend), blob)) in (0u32..).zip(config.disks.iter().zip(backends).zip(blobs)) {
        let (registers, irq) = layout::virtio_mmio(index).context("more disks than there are places for")?;
        let device = Device {
            guest,
            backend,
            kind: DeviceKind::VirtioMmioBlock.number(),
            irq,
            registers: Bank { base: registers.start, size: registers.size },
            ram: ram.clone(),
            config: blob.clone(),
        };
        let slot = xen.create_slot(&device);
        slots.push(slot.with_context(|| format!("disk {} in {}", disk.image, domain_name(backend)))?);
    }
    Ok(slots)
}

/// Waits until all slots are served.
pub fn wait(xen: &dyn Xen, config: &GuestConfig, slots: &[u32], backends: &[DomainId]) -> Result<()> {
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
                disk.image,
                domain_name(backend),
                PATIENCE.as_secs()
            );
        }
        xen.wait(PERIOD);
        waited = waited.saturating_add(PERIOD);
    }
}

fn is_ready(disk: &Disk, backend: DomainId, slot: Option<&Slot>) -> Result<bool> {
    let Some(slot) = slot else {
        bail!("disk {}: its slot has gone, as if {} had ended", disk.image, domain_name(backend));
    };
    match slot.state {
        Some(SlotState::Ready) => Ok(true),
        Some(SlotState::Failed | SlotState::Gone) => {
            bail!("disk {}: {} cannot serve it: {}", disk.image, domain_name(backend), slot.message)
        }
        Some(SlotState::Waiting) | None => Ok(false),
    }
}

fn domain_name(domain: DomainId) -> String {
    if domain == CONTROL { "the control domain".into() } else { format!("domain {domain}") }
}
