//! A hypervisor that notes what it is asked, and fails where it is told to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use backend::xen::slots::{Device, Slot, SlotInterrupt, SlotState};
use rustix::io::Errno;
use xenolith_abi::domctl::{CreateDomain, DomainInfo, GicVersion, VcpuGuestContext, info_flag};
use xenolith_abi::hvm::HvmParam;
use xenolith_abi::sysctl::PhysInfo;
use xenolith_abi::{DomId, Gfn, Port, VcpuId};

use super::{Control, Devices, Domains, Error, Memory, Result, System, Version, Xen};
use xenstore::page::SharedPage;
use xenstore::page::mock::MockPage;

/// The number of the domain that it makes first.
pub const FIRST: DomId = DomId(7);

/// What it was asked and what there is.
#[derive(Default)]
pub struct FakeXen {
    /// Every call that changes something, in words.
    pub calls: RefCell<Vec<String>>,
    /// The call, counted from 0, that fails.
    pub fails_at: Cell<Option<usize>>,
    /// Pages that are free, if they are few.
    pub free_pages: Cell<Option<u64>>,
    /// Whether there are blocks of 2 MiB.
    pub has_large: Cell<bool>,
    /// How often it was asked for random bytes.
    pub randoms: Cell<u8>,
    /// What was loaded, by frame.
    pub loaded: RefCell<BTreeMap<Gfn, Vec<u8>>>,
    /// The first vCPU's registers.
    pub context: Cell<Option<VcpuGuestContext>>,
    /// Device slots.
    pub slots: RefCell<Vec<Slot>>,
    /// The hypervisor has no slots.
    pub no_slots: Cell<bool>,
    /// What becomes of a slot after some time.
    pub slot_becomes: RefCell<Option<(SlotState, String)>>,
    /// Domains that there are.
    pub domains: RefCell<BTreeMap<DomId, DomainInfo>>,
    /// Time that has passed.
    pub time: Cell<Duration>,
    /// What each look at the slots takes.
    pub slots_take: Cell<Duration>,
}

impl FakeXen {
    /// A machine with enough of everything, whose backends serve every slot.
    pub fn new() -> FakeXen {
        let xen = FakeXen::default();
        xen.has_large.set(true);
        xen.slot_becomes.replace(Some((SlotState::Ready, String::new())));
        xen
    }

    fn note(&self, call: String) -> Result<()> {
        let mut calls = self.calls.borrow_mut();
        let fails = self.fails_at.get() == Some(calls.len());
        calls.push(call);
        if fails {
            return Err(Error::Unfit("the fake was told to fail".into()));
        }
        Ok(())
    }

    fn take(&self, pages: u64) -> bool {
        match self.free_pages.get() {
            Some(free) if free < pages => false,
            free => {
                self.free_pages.set(free.map(|free| free - pages));
                true
            }
        }
    }
}

impl System for FakeXen {
    fn version_number(&self) -> Result<(u16, u16)> {
        Ok((4, 17))
    }

    fn version(&self) -> Result<Version> {
        Ok(Version { number: (4, 17), ..Version::default() })
    }

    fn machine(&self) -> Result<PhysInfo> {
        Ok(PhysInfo { free_pages: self.free_pages.get().unwrap_or(1 << 20), ..PhysInfo::default() })
    }

    fn console(&self) -> Result<Vec<u8>> {
        Ok(b"Xenolith\n".to_vec())
    }

    fn domains(&self) -> Result<Vec<DomainInfo>> {
        Ok(self.domains.borrow().values().copied().collect())
    }
}

impl Domains for FakeXen {
    fn create(&self, request: &CreateDomain) -> Result<(DomId, CreateDomain)> {
        self.note(format!("create {} vCPUs, {} SPIs", request.max_vcpus, request.arch.nr_spis))?;
        let taken = self.domains.borrow().keys().last().copied();
        let domain = taken.map_or(FIRST, |last| DomId(last.0 + 1));
        let info = DomainInfo {
            domain,
            gpaddr_bits: 40,
            flags: info_flag::PAUSED,
            handle: request.handle,
            ..DomainInfo::default()
        };
        self.domains.borrow_mut().insert(domain, info);
        let mut granted = *request;
        granted.arch.gic_version = GicVersion::V3.number();
        Ok((domain, granted))
    }

    fn control(&self, domain: DomId, control: Control) -> Result<()> {
        if control == Control::Destroy {
            self.domains.borrow_mut().remove(&domain);
            self.slots.borrow_mut().retain(|slot| slot.device.guest != domain);
        }
        self.note(match control {
            Control::Destroy => format!("destroy {}", domain.0),
            Control::Pause => format!("pause {}", domain.0),
            Control::Resume => format!("resume {}", domain.0),
            Control::Unpause => format!("unpause {}", domain.0),
            Control::MaxVcpus(vcpus) => format!("max_vcpus {vcpus}"),
            Control::MaxMemory(kib) => format!("max_mem {kib:#x}"),
            Control::AddressSize64 => "64 bits".into(),
            Control::PagingPool(bytes) => format!("paging pool {bytes:#x}"),
            Control::CacheFlush(first, frames) => format!("flush {frames} from {:#x}", first.0),
        })
    }

    fn domain(&self, domain: DomId) -> Result<Option<DomainInfo>> {
        Ok(self.domains.borrow().get(&domain).copied())
    }

    fn set_context(&self, _: DomId, vcpu: VcpuId, context: &VcpuGuestContext) -> Result<()> {
        self.note(format!("context of {}", vcpu.0))?;
        self.context.set(Some(*context));
        Ok(())
    }

    fn make_event_channel(&self, _: DomId) -> Result<Port> {
        let made = self.calls.borrow().iter().filter(|call| *call == "event channel").count();
        self.note("event channel".into())?;
        Ok(Port(u32::try_from(made).unwrap() + 1))
    }

    fn set_parameter(&self, _: DomId, parameter: HvmParam, value: u64) -> Result<()> {
        self.note(format!("parameter {} = {value:#x}", parameter.number()))
    }
}

impl Memory for FakeXen {
    fn populate(&self, _: DomId, order: u32, frames: &[Gfn]) -> Result<usize> {
        let first = frames.first().map_or(0, |frame| frame.0);
        self.note(format!("populate {} of order {order} from {first:#x}", frames.len()))?;
        if order != 0 && !self.has_large.get() {
            return Ok(0);
        }
        Ok(frames.iter().take_while(|_| self.take(1 << order)).count())
    }

    fn load(&self, _: DomId, frame: Gfn, bytes: &[u8]) -> Result<()> {
        self.note(format!("load {:#x}", frame.0))?;
        self.loaded.borrow_mut().insert(frame, bytes.to_vec());
        Ok(())
    }

    fn map(&self, domain: DomId, frame: Gfn) -> Result<Box<dyn SharedPage>> {
        if self.domains.borrow().contains_key(&domain) {
            return Ok(Box::new(MockPage::default()));
        }
        Err(Error::Page { domain, frame, source: Errno::SRCH, advice: "" })
    }
}

impl Devices for FakeXen {
    fn has_slots(&self) -> Result<bool> {
        Ok(!self.no_slots.get())
    }

    fn create_slot(&self, device: &Device) -> Result<u32> {
        let SlotInterrupt { kind: 1, number: line, .. } = device.interrupt else {
            panic!("no line: {:?}", device.interrupt);
        };
        self.note(format!("slot in {} with interrupt {line}", device.backend.0))?;
        let mut slots = self.slots.borrow_mut();
        let number = u32::try_from(slots.len()).unwrap() + 10;
        slots.push(Slot {
            number,
            device: device.clone(),
            state: Some(SlotState::Waiting),
            message: String::new(),
        });
        Ok(number)
    }

    fn slots(&self) -> Result<Vec<Slot>> {
        self.time.set(self.time.get() + self.slots_take.get());
        Ok(self.slots.borrow().clone())
    }

    fn slot(&self, number: u32) -> Result<Option<Slot>> {
        Ok(self.slots.borrow().iter().find(|slot| slot.number == number).cloned())
    }
}

impl Xen for FakeXen {
    fn random(&self, bytes: &mut [u8]) {
        let asked = self.randoms.get();
        bytes.fill(!asked);
        self.randoms.set(asked.wrapping_add(1));
    }

    fn wait(&self, time: Duration) {
        self.time.set(self.time.get() + time);
        if let Some((state, message)) = &*self.slot_becomes.borrow() {
            for slot in self.slots.borrow_mut().iter_mut() {
                (slot.state, slot.message) = (Some(*state), message.clone());
            }
        }
    }

    fn now(&self) -> Duration {
        self.time.get()
    }
}
