//! How far a hypercall continuation has come.

/// How far an operation has come that is called again until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// More is to be done.
    Again,
    /// All is done.
    Done,
}
