//! What a device's process is to do.

use std::sync::Arc;
use xenolith_abi::{DomId, Intid};

use anyhow::{Context, Result, anyhow, bail, ensure};
use backend::Bank;
use backend::xen::Privcmd;
use backend::xen::slots::{Interrupt, Slots, Transport};
use serde::{Deserialize, Serialize};
use virtio::devices::Kind;
use virtio::transport::mmio::registers;

use crate::kinds;

/// A device of a guest, behind virtio-mmio.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What it is called in the log.
    pub name: String,
    /// The guest's domain.
    pub guest: DomId,
    /// Guest physical address of its registers.
    pub base: u64,
    /// Bytes of its registers.
    pub size: u64,
    /// Its interrupt (INTID).
    pub irq: Intid,
    /// Where the guest's RAM is: address and bytes of each bank. None: the hypervisor is asked.
    pub ram: Vec<(u64, u64)>,
    /// What it is: virtio's number for it.
    pub device_id: u32,
    /// The configuration of such a device.
    pub config: String,
    /// Whether the number of queues is that of the guest's vCPUs.
    pub queue_each: bool,
}

impl Job {
    /// What a slot asks for.
    ///
    /// # Errors
    /// There is no such slot, or what it says is nothing that can be served.
    pub fn of_slot(privcmd: &Arc<Privcmd>, number: u32) -> Result<Job> {
        let slot = Slots::new(Arc::clone(privcmd)).get(number)?;
        let device = slot.ok_or_else(|| anyhow!("there is no such slot"))?.device;
        let kind = kinds::get(device.device_id)?;
        if Transport::from_number(device.transport) != Some(Transport::VirtioMmio) {
            bail!("this lithd does not know transport {}", device.transport);
        }
        let Some(Interrupt::Line { intid: irq }) = device.interrupt.get() else {
            bail!("a virtio-mmio device has a line as its interrupt, and no {:?}", device.interrupt);
        };
        (kind.check)(&device.config).map_err(anyhow::Error::from_boxed)?;
        Ok(Job {
            name: format!("slot {number}"),
            guest: device.guest,
            base: device.registers.base,
            size: device.registers.size,
            irq,
            ram: device.ram.iter().map(|bank| (bank.base, bank.size)).collect(),
            device_id: device.device_id,
            config: String::from_utf8(device.config).context("its configuration is no text")?,
            queue_each: false,
        })
    }

    /// Reads what [`Job::to_text`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_text(text: &str) -> Result<Job> {
        let job: Job = serde_json::from_str(text).context("the job cannot be read")?;
        (job.kind()?.check)(job.config.as_bytes()).map_err(anyhow::Error::from_boxed)?;
        Ok(job)
    }

    /// One line that says it all.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn to_text(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// What kind of device it is.
    ///
    /// # Errors
    /// lithd serves no such devices.
    pub fn kind(&self) -> Result<&'static Kind> {
        kinds::get(self.device_id)
    }

    /// The guest's RAM, if it is known.
    pub fn banks(&self) -> Vec<Bank> {
        self.ram.iter().map(|&(base, size)| Bank { base, size }).collect()
    }

    /// The last address of its registers.
    ///
    /// # Errors
    /// There is none, or there are fewer registers than a virtio-mmio device has.
    pub fn last(&self) -> Result<u64> {
        ensure!(
            self.size >= registers::WINDOW,
            "it has {} bytes of registers, a virtio-mmio device needs {}",
            self.size,
            registers::WINDOW,
        );
        let last = self.base.checked_add(self.size).and_then(|end| end.checked_sub(1));
        last.filter(|&last| last >= self.base)
            .ok_or_else(|| anyhow!("its registers end past the address space"))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use virtio::config::{DiskConfig, Format};

    /// A job with this image.
    pub fn job(image: &str) -> Job {
        Job {
            name: "slot 7".into(),
            guest: DomId(3),
            base: 0x200_0000,
            size: 0x200,
            irq: Intid(33),
            ram: vec![(0x4000_0000, 1 << 20)],
            device_id: DiskConfig::DEVICE_ID,
            config: serde_json::to_string(&DiskConfig::new(image, Format::Raw)).unwrap(),
            queue_each: false,
        }
    }

    #[test]
    fn a_job_is_handed_over() {
        let job = job("/a \"b\"\n.img");
        assert_eq!(Job::from_text(&job.to_text().unwrap()).unwrap(), job);
        assert!(Job::from_text("{}").is_err());
        let relative = super::tests::job("relative");
        assert!(Job::from_text(&relative.to_text().unwrap()).is_err());
        let unknown = Job { device_id: 99, ..job };
        assert!(Job::from_text(&unknown.to_text().unwrap()).is_err());
    }

    #[test]
    fn registers_end_in_the_address_space() {
        assert_eq!(job("/d").last().unwrap(), 0x200_01ff);
        assert!(Job { base: u64::MAX, ..job("/d") }.last().is_err());
        assert!(Job { size: 0, ..job("/d") }.last().is_err());
        let small = Job { size: 0x100, ..job("/d") }.last().unwrap_err();
        assert!(small.to_string().contains("512"), "{small}");
    }
}
