//! How far a long call has come.

/// How far a call has come that is made again until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// More is to be done.
    Again,
    /// All is done.
    Done,
}
