//! A store of one guest: what stock Linux expects at the other end of its xenstore ring, and no more.
//!
//! It belongs to the guest's monitor and is seen by nobody else. Its purpose is `control/shutdown`, by which a guest is
//! asked to end. The guest may do to it what it likes: every number and every length is bounded, and a guest that breaks
//! the protocol loses its store and nothing else.

mod path;
mod ring;
mod store;
#[cfg(test)]
mod tests;
mod transaction;
mod tree;
mod watch;

pub use ring::{Connection, Served};
pub use store::Store;
