//! The early console: a UART that is told to the image itself, for what must be said when the device tree does not say where a
//! UART is.
//!
//! It is text in the image's head, so that the image of a release can be given one without being built again
//! (docs/command-line.md). An image has none as it is built: nothing is written to where no UART was named.

use super::kind::{UartDevice, UartKind};
use crate::command_line::number;
use xenolith_core::types::Pa;

/// Bytes of the text, which zeros fill up.
pub const EARLY_LENGTH: usize = 64;

/// The UARTs' names in the text.
const NAMES: [(&str, UartKind); 7] = [
    ("pl011", UartKind::Pl011),
    ("cadence", UartKind::Cadence),
    ("16550", UartKind::Ns16550),
    ("dw", UartKind::DesignWare),
    ("imx", UartKind::Imx),
    ("lpuart", UartKind::Lpuart),
    ("meson", UartKind::Meson),
];

/// The UART that the image was given: `KIND,ADDRESS`, for a 16550 or DesignWare's followed by `,SHIFT` (as `reg-shift`, 0
/// without) and `,WIDTH` (as `reg-io-width`, 1 without). Numbers are decimal, or hexadecimal behind `0x`. `None`: there is no
/// such text, or it means nothing.
#[cold]
#[inline(never)]
pub fn parse_early(text: &[u8]) -> Option<UartDevice> {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    let mut fields = core::str::from_utf8(text.get(..end)?).ok()?.trim_ascii().split(',');
    let name = fields.next()?;
    let &(_, kind) = NAMES.iter().find(|(known, _)| *known == name)?;
    let base = Pa(number(fields.next()?)?);
    let mut rest = fields.map(|field| number(field).and_then(|number| u8::try_from(number).ok()));
    let [shift, width] = if kind.is_spaced() {
        [rest.next().unwrap_or(Some(0))?, rest.next().unwrap_or(Some(1))?]
    } else {
        [0, 4]
    };
    let device = UartDevice { kind, base, shift, width };
    (rest.next().is_none() && device.is_sound()).then_some(device)
}
