//! The console's UART.

mod early;
mod kind;
#[cfg(test)]
mod tests;

use alloc::string::String;

use super::interrupt::Interrupt;
use super::region::Region;
use super::tree::{Place, Tree, text};
use crate::command_line;
use dtoolkit::Node;

pub use early::{EARLY_LENGTH, parse_early};
pub use kind::{UartDevice, UartKind};

/// The machine's console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uart {
    /// The node's full path.
    pub path: String,
    /// Its registers, all that the tree gives it.
    pub registers: Region,
    /// Its interrupt, if it has one at the GIC.
    pub interrupt: Option<Interrupt>,
    /// How it is driven.
    pub device: UartDevice,
}

/// The UART that `name` (a path or an alias, as the `dtuart=` option has it) means, or, without a name, the one that
/// `/chosen` has in `stdout-path`. `None` if there is no such node, or if it is not an enabled UART of a known kind.
pub fn find(tree: &Tree<'_>, name: Option<&str>, gic: Option<u32>) -> Option<Uart> {
    tree.at(name.or_else(|| stdout(tree))?, |place| {
        let (registers, device) = device(place)?;
        let lines = gic.map(|gic| tree.interrupts(place, gic)).unwrap_or_default();
        Some(Uart { path: place.path(), registers, interrupt: lines.first().copied().flatten(), device })
    })
}

/// As [`find`], for who has neither heap nor locks: the console of a machine that cannot be booted.
#[cold]
#[inline(never)]
pub fn early_console(device_tree: &[u8]) -> Option<UartDevice> {
    let tree = Tree::open_without_phandles(device_tree).ok()?;
    let chosen = tree.root().node.child("chosen")?;
    let arguments = text(&chosen, "xen,xen-bootargs").or_else(|| text(&chosen, "bootargs"));
    let named = arguments.and_then(command_line::uart_path);
    tree.at(named.or_else(|| stdout(&tree))?, |place| Some(device(place)?.1))
}

fn stdout<'a>(tree: &Tree<'a>) -> Option<&'a str> {
    let chosen = tree.root().node.child("chosen")?;
    text(&chosen, "stdout-path").or_else(|| text(&chosen, "linux,stdout-path"))
}

/// The UART that a node describes.
#[inline(never)]
fn device(place: &Place<'_, '_>) -> Option<(Region, UartDevice)> {
    let registers = place.regions().next().flatten().filter(|_| place.is_enabled())?;
    Some((registers, kind::of_node(place, registers)?))
}
