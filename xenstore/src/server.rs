//! The other side of the protocol: a store, whose clients may do to it what they like.
//!
//! Principle: every number and every length that a client chooses is bounded, and a client that breaks the protocol loses
//! its connection and nothing else. A [`Store`] decides and moves no bytes; a [`GuestStore`] is what stock Linux expects at
//! the other end of its xenstore ring, and a [`RingConnection`] carries its messages through that ring.

mod guest;
mod limits;
mod ring;
mod store;
#[cfg(test)]
mod tests;
mod transaction;
mod tree;
mod watch;

pub use guest::GuestStore;
pub use limits::Limits;
pub use ring::{RingConnection, Served};
pub use store::{ConnectionId, Delivery, Store};
