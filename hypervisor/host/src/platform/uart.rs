//! The console's UART.

use alloc::string::String;

use super::interrupt::Interrupt;
use super::region::Region;
use super::tree::{Tree, text};
use dtoolkit::Node;

const PL011: [&str; 2] = ["arm,pl011", "arm,sbsa-uart"];

/// A PL011 UART, or the subset of one that SBSA describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uart {
    /// The node's full path.
    pub path: String,
    /// Its registers.
    pub registers: Region,
    /// Its interrupt, if it has one at the GIC.
    pub interrupt: Option<Interrupt>,
    /// Whether it is only the SBSA subset: no baud rate, no line control.
    pub sbsa: bool,
}

/// The UART that `name` (a path or an alias, as the `dtuart=` option has it) means, or, without a name, the one that
/// `/chosen` has in `stdout-path`. `None` if there is no such node, or if it is not an enabled PL011.
pub fn find(tree: &Tree<'_>, name: Option<&str>, gic: Option<u32>) -> Option<Uart> {
    let chosen = tree.root().node.child("chosen");
    let stdout = || text(&chosen?, "stdout-path").or_else(|| text(&chosen?, "linux,stdout-path"));
    let path = tree.resolve(name.or_else(stdout)?)?;
    tree.find(|place| {
        if !place.is_compatible(&PL011) || !place.is_enabled() || place.path() != path {
            return None;
        }
        let registers = place.regions().next().flatten()?;
        let lines = gic.map(|gic| tree.interrupts(place, gic)).unwrap_or_default();
        let interrupt = lines.first().copied().flatten();
        Some(Uart { path: place.path(), registers, interrupt, sbsa: !place.is_compatible(&["arm,pl011"]) })
    })
}
