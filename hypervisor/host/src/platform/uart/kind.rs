//! Which driver a UART needs, and how its registers lie in memory.

use crate::platform::region::Region;
use crate::platform::tree::Place;
use xenolith_core::types::Pa;

/// Which driver a UART needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UartKind {
    /// Arm's PL011, or the subset of one that SBSA describes: no baud rate, no line control.
    Pl011,
    /// Cadence's, which AMD's Zynq has.
    Cadence,
    /// A 16550 or a relative.
    Ns16550,
    /// Synopsys DesignWare's 16550.
    DesignWare,
    /// That of NXP's i.MX 6, 7 and 8M.
    Imx,
    /// NXP's LPUART.
    Lpuart,
    /// Amlogic's.
    Meson,
}

/// A UART as its driver must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UartDevice {
    /// Which driver it needs.
    pub kind: UartKind,
    /// Where its first register is.
    pub base: Pa,
    /// For kinds whose registers have numbers: log2 of the bytes from one to the next. Otherwise 0.
    pub shift: u8,
    /// Bytes of an access to a register: 1 or 4.
    pub width: u8,
}

impl UartKind {
    /// Whether registers have numbers, and the tree says how far they are apart.
    pub(super) fn is_spaced(self) -> bool {
        matches!(self, UartKind::Ns16550 | UartKind::DesignWare)
    }

    /// The end of the last register that the driver uses: its number plus one, or an offset.
    fn end(self) -> u64 {
        match self {
            UartKind::Pl011 => 0x48,
            UartKind::Cadence => 0x34,
            UartKind::Ns16550 => 8,
            UartKind::DesignWare => 0x20,
            UartKind::Imx => 0xb8,
            UartKind::Lpuart => 0x20,
            UartKind::Meson => 0x14,
        }
    }
}

impl UartDevice {
    /// The bytes from the first register to the end of the last that the driver uses.
    pub fn size(&self) -> u64 {
        self.kind.end() << self.shift
    }

    /// Whether an access fits a register, and the registers an address space.
    pub(super) fn is_sound(&self) -> bool {
        let fits = match self.width {
            1 => true,
            4 => !self.kind.is_spaced() || self.shift >= 2,
            _ => false,
        };
        fits && self.shift <= MAX_SHIFT
            && self.base.0.is_multiple_of(self.width.into())
            && self.base.0 != 0
            && self.base.0.checked_add(self.size()).is_some()
    }
}

/// The widest space between registers that is believed: a page.
const MAX_SHIFT: u8 = 12;

/// What `compatible` says.
struct Known {
    name: &'static str,
    kind: UartKind,
    /// Bytes from the start of `reg` to the first register that the driver knows.
    offset: u8,
    /// Without `reg-shift` and `reg-io-width`, registers are words. (With those that are of a kind whose registers have
    /// numbers and are not named here, they are bytes side by side.)
    words: bool,
}

const fn known(name: &'static str, kind: UartKind) -> Known {
    Known { name, kind, offset: 0, words: false }
}

/// A 16550 whose binding has words for registers, and no property that says so.
const fn of_words(name: &'static str) -> Known {
    Known { name, kind: UartKind::Ns16550, offset: 0, words: true }
}

/// An LPUART that has four words of identification before its registers.
const fn identified(name: &'static str) -> Known {
    Known { name, kind: UartKind::Lpuart, offset: 0x10, words: false }
}

/// The UARTs that the hypervisor has a driver for, by what the tree calls them. The first that fits counts.
const KNOWN: [Known; 25] = [
    known("arm,pl011", UartKind::Pl011),
    known("arm,sbsa-uart", UartKind::Pl011),
    known("cdns,uart-r1p8", UartKind::Cadence),
    known("cdns,uart-r1p12", UartKind::Cadence),
    known("xlnx,xuartps", UartKind::Cadence),
    known("xlnx,zynqmp-uart", UartKind::Cadence),
    of_words("brcm,bcm2835-aux-uart"),
    of_words("mediatek,mt6577-uart"),
    of_words("ti,am654-uart"),
    of_words("nuvoton,npcm750-uart"),
    known("snps,dw-apb-uart", UartKind::DesignWare),
    known("nvidia,tegra20-uart", UartKind::Ns16550),
    known("ns8250", UartKind::Ns16550),
    known("ns16450", UartKind::Ns16550),
    known("ns16550", UartKind::Ns16550),
    known("ns16550a", UartKind::Ns16550),
    known("ns16750", UartKind::Ns16550),
    known("ns16850", UartKind::Ns16550),
    known("fsl,imx21-uart", UartKind::Imx),
    known("fsl,imx6q-uart", UartKind::Imx),
    identified("fsl,imx7ulp-lpuart"),
    identified("fsl,imx8qxp-lpuart"),
    known("fsl,ls1028a-lpuart", UartKind::Lpuart),
    known("amlogic,meson-gx-uart", UartKind::Meson),
    known("amlogic,meson-s4-uart", UartKind::Meson),
];

/// The UART of a node with these registers: `None` if there is no driver for it, or its properties make no sense.
pub fn of_node(place: &Place<'_, '_>, registers: Region) -> Option<UartDevice> {
    let known = KNOWN.iter().find(|known| place.is_compatible(&[known.name]))?;
    let spaced = |property, words, bytes| {
        let number = place.number(property).unwrap_or(if known.words { words } else { bytes });
        u8::try_from(number).ok()
    };
    let (offset, shift, width) = if known.kind.is_spaced() {
        let offset = place.number("reg-offset").map_or(0, u64::from);
        (offset, spaced("reg-shift", 2, 0)?, spaced("reg-io-width", 4, 1)?)
    } else {
        (known.offset.into(), 0, 4)
    };
    let base = Pa(registers.start().0.checked_add(offset)?);
    let device = |kind| {
        let device = UartDevice { kind, base, shift, width };
        let inside = |device: &UartDevice| {
            device.is_sound() && Region::new(base, device.size()).is_some_and(|used| registers.contains(used))
        };
        Some(device).filter(inside)
    };
    // A node may leave out what DesignWare's has beside the 16550's registers.
    let plain = || device(UartKind::Ns16550).filter(|_| known.kind == UartKind::DesignWare);
    device(known.kind).or_else(plain)
}
