//! What a mapping is to the domain that has it.

/// What a guest frame stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapKind {
    /// The domain's own RAM.
    Ram,
    /// The domain's own RAM, which it may only read and execute.
    RamReadOnly,
    /// Another domain's RAM, mapped by privilege.
    Foreign,
    /// Another domain's RAM, mapped by privilege, which that domain itself may only read.
    ForeignReadOnly,
    /// Another domain's RAM, mapped by a grant.
    Grant,
    /// Another domain's RAM, mapped by a grant for reading only.
    GrantReadOnly,
    /// Device registers or memory of a device, where the guest's own stage 1 chooses the memory type.
    Device,
    /// Device registers that must never be accessed as memory, whatever stage 1 says.
    StrictDevice,
    /// A page that the hypervisor made for the domain: shared info, a grant table frame, an ioreq page.
    Shared,
    /// Such a page that the domain may only read.
    SharedReadOnly,
    /// RAM that is another's or nobody's, and that the domain has in common with others from its start.
    StaticShm,
}

impl MapKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [MapKind; 11] = [
        MapKind::Ram,
        MapKind::RamReadOnly,
        MapKind::Foreign,
        MapKind::ForeignReadOnly,
        MapKind::Grant,
        MapKind::GrantReadOnly,
        MapKind::Device,
        MapKind::StrictDevice,
        MapKind::Shared,
        MapKind::SharedReadOnly,
        MapKind::StaticShm,
    ];

    /// Whether the guest may write.
    pub const fn writable(self) -> bool {
        !matches!(
            self,
            MapKind::RamReadOnly
                | MapKind::ForeignReadOnly
                | MapKind::GrantReadOnly
                | MapKind::SharedReadOnly
        )
    }

    /// Whether the guest may execute: only its own RAM.
    pub const fn executable(self) -> bool {
        self.is_ram()
    }

    /// Whether it is the domain's own RAM.
    pub const fn is_ram(self) -> bool {
        matches!(self, MapKind::Ram | MapKind::RamReadOnly)
    }

    /// Whether it is a device, and not a frame that anyone counts references of.
    pub const fn is_device(self) -> bool {
        matches!(self, MapKind::Device | MapKind::StrictDevice)
    }

    /// A number for descriptors to keep: from 1, so that a word without any is told apart.
    pub const fn number(self) -> u64 {
        self as u64 + 1
    }

    /// The kind with this number. Written out, because each walk of a table ends here: numbers that follow one another
    /// cost a subtraction, a look into [`Self::ALL`] a load.
    pub const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => MapKind::Ram,
            2 => MapKind::RamReadOnly,
            3 => MapKind::Foreign,
            4 => MapKind::ForeignReadOnly,
            5 => MapKind::Grant,
            6 => MapKind::GrantReadOnly,
            7 => MapKind::Device,
            8 => MapKind::StrictDevice,
            9 => MapKind::Shared,
            10 => MapKind::SharedReadOnly,
            11 => MapKind::StaticShm,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_number() {
        for (kind, number) in MapKind::ALL.into_iter().zip(1..) {
            assert_eq!((kind.number(), MapKind::from_number(number)), (number, Some(kind)));
        }
        for number in [0, 12, u64::MAX] {
            assert_eq!(MapKind::from_number(number), None);
        }
    }
}
