//! Ending. The functions do not return: they unwind with an [`Ending`], which a test catches.

use std::panic;

/// How the machine ended; the payload of the unwinding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was powered off.
    PowerOff,
    /// It was reset.
    Reset,
    /// It was halted.
    Halt,
    /// It waits for an interrupt that nothing will raise.
    Asleep,
}

/// Unwinds. This is no panic: the panic hook is not called, and nothing is printed.
pub(super) fn end(ending: Ending) -> ! {
    panic::resume_unwind(Box::new(ending))
}

/// Powers the machine off.
pub fn power_off() -> ! {
    end(Ending::PowerOff)
}

/// Resets the machine.
pub fn reset() -> ! {
    end(Ending::Reset)
}

/// Stops this CPU for ever.
pub fn halt() -> ! {
    end(Ending::Halt)
}
