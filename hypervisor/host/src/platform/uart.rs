//! The console's UART.

use alloc::string::String;

use super::interrupt::Interrupt;
use super::region::Region;
use super::tree::{Tree, text};
use dtoolkit::Node;

/// The UARTs that the hypervisor has a driver for, by what the tree calls them.
const KNOWN: [(&str, UartKind); 6] = [
    ("arm,pl011", UartKind::Pl011),
    ("arm,sbsa-uart", UartKind::Pl011),
    ("cdns,uart-r1p8", UartKind::Cadence),
    ("cdns,uart-r1p12", UartKind::Cadence),
    ("xlnx,xuartps", UartKind::Cadence),
    ("xlnx,zynqmp-uart", UartKind::Cadence),
];

/// Which driver a UART needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UartKind {
    /// Arm's PL011, or the subset of one that SBSA describes: no baud rate, no line control.
    Pl011,
    /// Cadence's, which AMD's Zynq has.
    Cadence,
}

/// The machine's console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uart {
    /// The node's full path.
    pub path: String,
    /// Its registers.
    pub registers: Region,
    /// Its interrupt, if it has one at the GIC.
    pub interrupt: Option<Interrupt>,
    /// Which driver it needs.
    pub kind: UartKind,
}

/// The UART that `name` (a path or an alias, as the `dtuart=` option has it) means, or, without a name, the one that
/// `/chosen` has in `stdout-path`. `None` if there is no such node, or if it is not an enabled UART of a known kind.
pub fn find(tree: &Tree<'_>, name: Option<&str>, gic: Option<u32>) -> Option<Uart> {
    let chosen = tree.root().node.child("chosen");
    let stdout = || text(&chosen?, "stdout-path").or_else(|| text(&chosen?, "linux,stdout-path"));
    let path = tree.resolve(name.or_else(stdout)?)?;
    tree.find(|place| {
        let known = KNOWN.iter().find(|(name, _)| place.is_compatible(&[name]));
        let &(_, kind) = known.filter(|_| place.is_enabled() && place.path() == path)?;
        let registers = place.regions().next().flatten()?;
        let lines = gic.map(|gic| tree.interrupts(place, gic)).unwrap_or_default();
        let interrupt = lines.first().copied().flatten();
        Some(Uart { path: place.path(), registers, interrupt, kind })
    })
}
