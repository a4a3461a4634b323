//! An instruction that accesses a device, and how far it has come.
//!
//! It moves one register or two, each by a transfer of its own that somebody else answers; meanwhile the instruction waits
//! here, and nothing of it is done again when the answer comes.

use xenolith_core::types::{Ipa, PAGE_SIZE};

use crate::instruction::DecodedAccess;
use crate::regs::{ByteOrder, GuestRegs, Length};
use crate::trap::DataAbort;
use crate::trap::mmio::LoadStore;

/// The transfer of one register.
#[derive(Clone, Copy, Debug)]
pub struct MmioAccess {
    /// Where the device has it.
    pub at: Ipa,
    /// Which register, and how much of it.
    pub access: LoadStore,
}

impl MmioAccess {
    /// What the device gets, if it is a store. The order of bytes is asked for only then.
    #[inline]
    pub fn stored(
        &self,
        regs: &GuestRegs,
        write: bool,
        order: impl FnOnce(&GuestRegs) -> ByteOrder,
    ) -> Option<u64> {
        write.then(|| self.access.store_data(regs, order(regs)))
    }
}

/// An instruction that accesses a device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceAccess {
    /// The fault by which it came.
    pub abort: DataAbort,
    /// It stores.
    pub write: bool,
    length: Length,
    moves: [Option<MmioAccess>; 2],
    done: usize,
    transfer: Option<DecodedAccess>,
}

impl DeviceAccess {
    /// An instruction that the syndrome of its abort describes.
    pub fn described(abort: &DataAbort, only: MmioAccess, length: Length) -> Self {
        DeviceAccess {
            abort: *abort,
            write: abort.write,
            length,
            moves: [Some(only), None],
            done: 0,
            transfer: None,
        }
    }

    /// An instruction that had to be decoded, whose abort came at `ipa`; `sp` is the stack pointer that it uses. `None`: it
    /// does not explain the abort, or crosses a page.
    pub fn decoded(
        abort: &DataAbort,
        ipa: Ipa,
        length: Length,
        transfer: DecodedAccess,
        regs: &GuestRegs,
        sp: u64,
    ) -> Option<Self> {
        let far = abort.fault.gva?;
        let base = transfer.base_address(regs, sp);
        let first = transfer.address(base);
        let bytes = u64::from(transfer.first.size.bytes());
        let all = if transfer.second.is_some() { 2 * bytes } else { bytes };
        // One page, so that one translation holds for all of it.
        if !transfer.explains(abort.write, far.0, base) || first % PAGE_SIZE + all > PAGE_SIZE {
            return None;
        }
        let at = Ipa(ipa.frame().base().0 + first % PAGE_SIZE);
        let second = transfer.second.map(|access| MmioAccess { at: Ipa(at.0 + bytes), access });
        Some(DeviceAccess {
            abort: *abort,
            write: abort.write,
            length,
            moves: [Some(MmioAccess { at, access: transfer.first }), second],
            done: 0,
            transfer: Some(transfer),
        })
    }

    /// The transfer that is next; `None` when all are done.
    #[inline]
    pub fn current(&self) -> Option<&MmioAccess> {
        self.moves.get(self.done)?.as_ref()
    }

    /// Whether the syndrome did not say all, so that the instruction was decoded.
    pub fn is_decoded(&self) -> bool {
        self.transfer.is_some()
    }

    /// Ends the current transfer. A load gets `value`.
    pub fn complete(&mut self, regs: &mut GuestRegs, value: u64, order: ByteOrder) {
        if let Some(current) = self.current().filter(|_| !self.write) {
            current.access.complete_load(regs, value, order);
        }
        self.done += 1;
    }

    /// Ends the instruction: base register and program counter. Returns what its stack pointer, which was `sp`, is then.
    pub fn finish(&self, regs: &mut GuestRegs, sp: u64) -> u64 {
        let mut after = sp;
        if let Some(transfer) = &self.transfer {
            transfer.write_back(regs, &mut after);
        }
        regs.advance(self.length);
        after
    }
}
