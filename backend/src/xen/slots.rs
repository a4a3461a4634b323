//! Device slots: which devices of which guests this domain is to serve, and how that goes (`xenolith_op`).
//!
//! The control domain makes a slot and names the domain that serves it. That domain's daemon hears of it by a virtual
//! interrupt ([`Watch`]), lists its slots, and reports.

mod watch;

use std::sync::Arc;

use rustix::io::Errno;
use xenolith_abi::DomId;
use xenolith_abi::xenolith as abi;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use crate::xen::{Argument, Buffer, Privcmd};
use crate::{Bank, Error};

pub use watch::Watch;
pub use xenolith_abi::xenolith::{
    CONFIG_SIZE, FEATURE_SLOTS, Interrupt, MESSAGE_SIZE, SlotInterrupt, SlotState, Transport, VIRQ_SLOTS,
};

/// What the control domain says of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The guest that has it.
    pub guest: DomId,
    /// The domain that serves it.
    pub backend: DomId,
    /// How the guest reaches it: a [`Transport`]'s number; there may be some that this crate does not know.
    pub transport: u32,
    /// What it is: virtio's number for it (virtio 1.2, 5).
    pub device_id: u32,
    /// How it interrupts the guest; there may be ways that this crate does not know.
    pub interrupt: SlotInterrupt,
    /// Its registers.
    pub registers: Bank,
    /// The guest's RAM: one or two banks.
    pub ram: Vec<Bank>,
    /// What control domain and backend agree on; at most [`CONFIG_SIZE`] bytes.
    pub config: Vec<u8>,
}

/// A device slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its number, which is never used again.
    pub number: u32,
    /// The device.
    pub device: Device,
    /// How the serving goes; `None` for a state that this crate does not know.
    pub state: Option<SlotState>,
    /// What the backend said last.
    pub message: String,
}

/// The calls about slots.
#[derive(Clone, Debug)]
pub struct Slots {
    privcmd: Arc<Privcmd>,
}

impl Slots {
    /// Through an open file.
    pub fn new(privcmd: Arc<Privcmd>) -> Slots {
        Slots { privcmd }
    }

    /// A mask of what the hypervisor has, such as [`FEATURE_SLOTS`]; 0 for one without these calls.
    ///
    /// # Errors
    /// Linux refuses the call.
    pub fn features(&self) -> Result<u64, Error> {
        let mut arguments = [Argument::Value(abi::XenolithOp::Features.number()), Argument::Value(0)];
        match self.privcmd.hypercall(abi::HYPERCALL, &mut arguments) {
            Ok(features) => Ok(features),
            Err(Errno::NOSYS) => Ok(0),
            Err(source) => Err(Error::call("ask for the hypervisor's features", source)),
        }
    }

    /// Makes a slot, and the backend the guest's device model; returns the slot's number. For the control domain.
    ///
    /// # Errors
    /// The hypervisor refuses the call, or the description does not fit into it.
    pub fn create(&self, device: &Device) -> Result<u32, Error> {
        let slot = self.call(abi::XenolithOp::CreateSlot, "make a device slot", &encode(device)?)?;
        Ok(slot.number)
    }

    /// Takes a slot away. For the control domain.
    ///
    /// # Errors
    /// The hypervisor refuses the call: `ENOENT` if there is no such slot.
    pub fn destroy(&self, number: u32) -> Result<(), Error> {
        let argument = abi::SlotNumber { number, pad: 0 };
        self.call(abi::XenolithOp::DestroySlot, "take a device slot away", &argument).map(drop)
    }

    /// Reads a slot that this domain made or serves; `None` if there is no such slot.
    ///
    /// # Errors
    /// The hypervisor refuses the call.
    pub fn get(&self, number: u32) -> Result<Option<Slot>, Error> {
        Ok(self.next(number)?.filter(|slot| slot.number == number))
    }

    /// Reads all slots that this domain made or serves, in the order of their numbers.
    ///
    /// # Errors
    /// The hypervisor refuses a call.
    pub fn list(&self) -> Result<Vec<Slot>, Error> {
        in_order(|number| self.next(number))
    }

    /// Says how the serving of a slot goes, in words for people; the message is cut to [`MESSAGE_SIZE`] bytes. For the
    /// domain that serves it.
    ///
    /// # Errors
    /// The hypervisor refuses the call: `ENOENT` if there is no such slot any more.
    pub fn report(&self, number: u32, state: SlotState, message: &str) -> Result<(), Error> {
        let message = cut(message);
        let mut argument = abi::SlotReport {
            number,
            state: state.number(),
            message_len: 0,
            pad: 0,
            message: [0; MESSAGE_SIZE],
        };
        argument.message_len = fill(&mut argument.message, message.as_bytes())?;
        self.call(abi::XenolithOp::ReportSlot, "report on a device slot", &argument).map(drop)
    }

    /// Lets a domain be the device model of a guest. For the control domain.
    ///
    /// # Errors
    /// The hypervisor refuses the call.
    pub fn allow(&self, guest: DomId, backend: DomId) -> Result<(), Error> {
        let argument = abi::DeviceModel { guest, backend, pad: 0 };
        self.call(abi::XenolithOp::AllowDeviceModel, "let a domain be a device model", &argument).map(drop)
    }

    /// Withdraws that permission: the domain's servers for the guest end, and its mappings of the guest's memory go.
    /// For the control domain.
    ///
    /// # Errors
    /// The hypervisor refuses the call.
    pub fn forbid(&self, guest: DomId, backend: DomId) -> Result<(), Error> {
        let argument = abi::DeviceModel { guest, backend, pad: 0 };
        self.call(abi::XenolithOp::ForbidDeviceModel, "forbid a device model", &argument).map(drop)
    }

    /// The first slot whose number is not below `number`.
    fn next(&self, number: u32) -> Result<Option<Slot>, Error> {
        let argument = abi::Slot { number, ..abi::Slot::new_zeroed() };
        match self.call(abi::XenolithOp::NextSlot, "read a device slot", &argument) {
            Ok(slot) => decode(&slot).map(Some),
            Err(error) if error.errno() == Some(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a call; returns the argument as the hypervisor leaves it.
    fn call<T>(&self, op: abi::XenolithOp, action: &'static str, argument: &T) -> Result<T, Error>
    where
        T: IntoBytes + FromBytes + Immutable,
    {
        let mut buffer = Buffer::of(argument)?;
        let mut arguments = [Argument::Value(op.number()), Argument::Buffer(&mut buffer)];
        self.privcmd
            .hypercall(abi::HYPERCALL, &mut arguments)
            .map_err(|source| Error::call(action, source))?;
        buffer.read(0)
    }
}

/// All slots, from a way to read the first that is not below a number.
fn in_order(mut next: impl FnMut(u32) -> Result<Option<Slot>, Error>) -> Result<Vec<Slot>, Error> {
    let mut slots = Vec::new();
    let mut number = Some(0);
    while let Some(from) = number {
        let Some(slot) = next(from)? else { break };
        if slot.number < from {
            return Err(Error::unfit("the hypervisor lists device slots out of order"));
        }
        number = slot.number.checked_add(1);
        slots.push(slot);
    }
    Ok(slots)
}

/// A device as the call has it.
fn encode(device: &Device) -> Result<abi::Slot, Error> {
    let mut slot = abi::Slot::new_zeroed();
    slot.guest = device.guest;
    slot.backend = device.backend;
    slot.transport = device.transport;
    slot.device_id = device.device_id;
    slot.interrupt = device.interrupt;
    slot.base = device.registers.base;
    slot.size = device.registers.size;
    if device.ram.len() > slot.ram.len() {
        return Err(Error::unfit("a device slot has room for two banks of RAM"));
    }
    for (place, bank) in slot.ram.iter_mut().zip(&device.ram) {
        *place = [bank.base, bank.size];
    }
    slot.config_len = fill(&mut slot.config, &device.config)?;
    Ok(slot)
}

/// A slot as the call has it, in our words.
fn decode(slot: &abi::Slot) -> Result<Slot, Error> {
    let config = counted(&slot.config, slot.config_len)?;
    let message = counted(&slot.message, slot.message_len)?;
    let banks = slot.ram.iter().map(|&[base, size]| Bank { base, size });
    Ok(Slot {
        number: slot.number,
        device: Device {
            guest: slot.guest,
            backend: slot.backend,
            transport: slot.transport,
            device_id: slot.device_id,
            interrupt: slot.interrupt,
            registers: Bank { base: slot.base, size: slot.size },
            ram: banks.filter(|bank| bank.size > 0).collect(),
            config: config.to_vec(),
        },
        state: SlotState::from_number(slot.state),
        message: String::from_utf8_lossy(message).into_owned(),
    })
}

/// The first `count` bytes of a field.
fn counted(field: &[u8], count: u32) -> Result<&[u8], Error> {
    let bytes = usize::try_from(count).ok().and_then(|count| field.get(..count));
    bytes.ok_or_else(|| Error::unfit("a device slot whose text is longer than its field"))
}

/// Puts bytes at the beginning of a field; returns how many.
fn fill(field: &mut [u8], bytes: &[u8]) -> Result<u32, Error> {
    let size = field.len();
    let place = field.get_mut(..bytes.len()).ok_or_else(|| {
        Error::unfit(format!("{} bytes do not fit into a device slot's {size}", bytes.len()))
    })?;
    place.copy_from_slice(bytes);
    u32::try_from(bytes.len()).map_err(|_| Error::unfit("more bytes than a device slot can count"))
}

/// As much of a message as fits, in whole characters.
fn cut(message: &str) -> &str {
    message.get(..message.floor_char_boundary(MESSAGE_SIZE)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenolith_abi::Intid;

    fn device() -> Device {
        Device {
            guest: DomId(5),
            backend: DomId(1),
            transport: Transport::VirtioMmio.number(),
            device_id: 2,
            interrupt: Interrupt::Line { intid: Intid(33) }.into(),
            registers: Bank { base: 0x200_0000, size: 0x200 },
            ram: vec![Bank { base: 0x4000_0000, size: 0x1000_0000 }],
            config: b"{}".to_vec(),
        }
    }

    #[test]
    fn a_device_survives_the_call() {
        let mut slot = encode(&device()).unwrap();
        slot.number = 7;
        slot.state = SlotState::Failed.number();
        slot.message_len = fill(&mut slot.message, "no such image".as_bytes()).unwrap();
        let slot = decode(&slot).unwrap();
        assert_eq!(slot.device, device());
        assert_eq!((slot.number, slot.state), (7, Some(SlotState::Failed)));
        assert_eq!(slot.message, "no such image");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let bank = Bank { base: 0, size: 1 };
        assert!(encode(&Device { ram: vec![bank; 3], ..device() }).is_err());
        assert!(encode(&Device { config: vec![0; CONFIG_SIZE], ..device() }).is_ok());
        assert!(encode(&Device { config: vec![0; CONFIG_SIZE + 1], ..device() }).is_err());
    }

    #[test]
    fn lengths_from_outside_are_checked() {
        let mut slot = encode(&device()).unwrap();
        slot.config_len = u32::MAX;
        assert!(decode(&slot).is_err());
        slot.config_len = 0;
        slot.message_len = MESSAGE_SIZE as u32 + 1;
        assert!(decode(&slot).is_err());
        slot.message_len = 2;
        slot.message[..2].copy_from_slice(&[0xff, b'a']);
        slot.state = 99;
        let slot = decode(&slot).unwrap();
        assert_eq!((slot.state, slot.message.as_str()), (None, "\u{fffd}a"));
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "ä".repeat(MESSAGE_SIZE);
        assert_eq!(cut(&long).len(), MESSAGE_SIZE);
        assert_eq!(cut(&format!("a{long}")).len(), MESSAGE_SIZE - 1);
    }

    #[test]
    fn slots_are_listed_in_order_and_the_list_ends() {
        let slot = |number| Slot { number, ..decode(&encode(&device()).unwrap()).unwrap() };
        let numbers = [3, 9, u32::MAX];
        let listed =
            in_order(|from| Ok(numbers.into_iter().find(|&number| number >= from).map(slot))).unwrap();
        assert_eq!(listed.iter().map(|slot| slot.number).collect::<Vec<_>>(), numbers);
        assert!(in_order(|_| Ok(Some(slot(0)))).is_err());
    }
}
