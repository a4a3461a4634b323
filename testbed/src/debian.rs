//! Debian packages for the machine under test, fetched without touching the host's own.

mod root;
mod sources;

pub use root::PrivateApt;
pub use sources::Release;
