//! Both sides of xenstore, the tree of names and values through which Xen's tools and backends find each other: its
//! messages ([`wire`]), a [`Client`], and a store ([`server`]).
//!
//! Principle: what comes from the other side is an allegation like anything else that another domain may have written. A
//! message that breaks the protocol ends the connection with an error; a value that makes no sense is the caller's to
//! judge. Nothing that the other side says makes a client or a store wait for ever, grow without bound or stop.
//!
//! ```no_run
//! use xenstore::{Client, Event, Nodes};
//!
//! # fn main() -> Result<(), xenstore::Error> {
//! let mut store = Client::open()?;
//! store.watch("/local/domain/0/backend/virtio_disk", "disks")?;
//! // All or nothing, and again if somebody else came between:
//! store.transaction(|store| {
//!     if store.read_text("/local/domain/0/backend/virtio_disk/1/51712/state")? == "1" {
//!         store.write("/local/domain/0/backend/virtio_disk/1/51712/state", b"2")?;
//!     }
//!     Ok(())
//! })?;
//! // Whenever `store.fd()` is readable:
//! while let Some(event) = store.event()? {
//!     match event {
//!         Event::Changed { path, .. } => println!("{path}"),
//!         Event::Missed => println!("look at everything"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod client;
mod error;
mod link;
#[cfg(any(test, feature = "mock"))]
pub mod mock;
mod nodes;
pub mod page;
mod path;
mod permission;
pub mod server;
pub mod wire;

pub use client::{Client, Event, Transaction};
pub use error::Error;
pub use nodes::Nodes;
pub use path::{MAX_PATH, home};
pub use permission::{Access, Permissions};
pub use xenolith_abi::DomId;
