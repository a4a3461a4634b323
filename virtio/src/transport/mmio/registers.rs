//! The register map of virtio-mmio, version 2 (4.2.2): one table says offset, name and direction.

/// Where the device's configuration space begins.
pub const CONFIG: u64 = 0x100;
/// Bytes of the whole window.
pub const WINDOW: u64 = 0x200;

/// Who may access a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The driver reads it; writes are ignored.
    Read,
    /// The driver writes it; it reads as zero.
    Write,
    /// The driver reads and writes it.
    Both,
}

macro_rules! registers {
    ($($offset:literal $name:ident $access:ident $doc:literal;)*) => {
        /// A register.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Register { $(#[doc = $doc] $name,)* }

        /// Every register: offset, which it is, and who may access it.
        pub const TABLE: &[(u64, Register, Direction)] = &[$(($offset, Register::$name, Direction::$access),)*];
    };
}

registers! {
    0x000 Magic Read "\"virt\".";
    0x004 Version Read "2.";
    0x008 DeviceId Read "The kind of device.";
    0x00c VendorId Read "Who made it.";
    0x010 DeviceFeatures Read "The selected 32 features that the device offers.";
    0x014 DeviceFeaturesSel Write "Selects them.";
    0x020 DriverFeatures Write "The selected 32 features that the driver wants.";
    0x024 DriverFeaturesSel Write "Selects them.";
    0x030 QueueSel Write "Selects the queue that the next seven names are about.";
    0x034 QueueSizeMax Read "Its most entries; zero: there is no such queue.";
    0x038 QueueSize Write "Its entries.";
    0x044 QueueReady Both "Whether it may be used.";
    0x050 QueueNotify Write "The number of a queue that has something new.";
    0x060 InterruptStatus Read "Why the interrupt came: bit 0 buffers, bit 1 configuration.";
    0x064 InterruptAck Write "Bits that were handled.";
    0x070 Status Both "The device status; zero resets.";
    0x080 QueueDescLow Write "Descriptor table, low half.";
    0x084 QueueDescHigh Write "High half.";
    0x090 QueueDriverLow Write "Available ring, low half.";
    0x094 QueueDriverHigh Write "High half.";
    0x0a0 QueueDeviceLow Write "Used ring, low half.";
    0x0a4 QueueDeviceHigh Write "High half.";
    0x0ac ShmSel Write "Selects a shared memory region; there are none.";
    0x0b0 ShmLenLow Read "Its length: all ones, no such region.";
    0x0b4 ShmLenHigh Read "High half.";
    0x0b8 ShmBaseLow Read "Its base: all ones.";
    0x0bc ShmBaseHigh Read "High half.";
    0x0c0 QueueReset Both "Resets the selected queue, with a feature that is not offered.";
    0x0fc ConfigGeneration Read "Changes with the configuration space.";
}

/// Words before the configuration space.
const WORDS: usize = 64;

/// The table by word, so that a look-up is an index.
static BY_WORD: [Option<(Register, Direction)>; WORDS] = {
    let mut map = [None; WORDS];
    let mut at = 0;
    while at < TABLE.len() {
        let (offset, register, access) = TABLE[at];
        map[offset as usize / 4] = Some((register, access));
        at += 1;
    }
    map
};

/// The register at an offset. `None`: there is none, or the access is not an aligned word (4.2.2.2).
pub fn find(offset: u64, size: u64) -> Option<(Register, Direction)> {
    if size != 4 || !offset.is_multiple_of(4) {
        return None;
    }
    *BY_WORD.get(usize::try_from(offset / 4).ok()?)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ordered_and_found() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].0 < pair[1].0);
        }
        for &(offset, register, access) in TABLE {
            assert!(offset < CONFIG);
            assert_eq!(find(offset, 4), Some((register, access)));
            assert_eq!(find(offset, 2), None);
            assert_eq!(find(offset + 1, 4), None);
        }
        assert_eq!(find(0x18, 4), None);
        assert_eq!(find(CONFIG, 4), None);
        assert_eq!(find(u64::MAX - 3, 4), None);
    }
}
