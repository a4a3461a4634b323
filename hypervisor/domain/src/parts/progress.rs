//! How far a hypercall continuation has come.

/// Whether an operation is done that works in portions, so that its caller can make a hypercall continuation of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// More is to be done.
    Again,
    /// All is done.
    Done,
}
