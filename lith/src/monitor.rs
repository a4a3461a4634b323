//! The process that looks after one guest, from its making to its end.
//!
//! `lith create` leaves it behind. It holds the backend's ends of the guest's console and store, serves `lith console`
//! and the other commands through a socket, and acts when the guest ends. Each guest has its own, so that one guest's
//! trouble is no other's. It asks for its domain's state again and again, because the virtual interrupt that tells of a
//! domain's end can be bound only once, and there are as many monitors as guests.

mod attached;
mod client;
mod command;
mod devices;
mod ending;
mod hub;
mod life;
mod process;
mod report;
mod run;

pub use command::{Answer, Command, line};
pub use ending::{End, State};
pub use process::main;
pub use report::{Order, Report};
