//! Device models of a guest: one that behaves, those that do not answer or do worse, and a domain that is none.

mod echo;
pub mod held;
mod hostile;
mod stranger;

use std::sync::Arc;
use xenolith_abi::DomId;

use anyhow::Result;
use backend::xen::Privcmd;
use backend::xen::dm::DeviceModel;

pub use echo::run as echo;
pub use hostile::{run as hostile, run_served as hostile_backend};
pub use stranger::run as stranger;

/// Where the kernel of `system-tests/bare` looks for its device: the memory, which ends in the middle of a doubleword,
/// and the page of facts.
const MEMORY: u64 = 0x0a00_0000;
/// Bytes of the memory.
const MEMORY_SIZE: u64 = 0xfe4;
/// Facts about the last access to the memory.
const FACTS: u64 = 0x0a00_1000;
/// Bytes of the facts, and of what is behind them.
const FACTS_SIZE: u64 = 0x200;
/// Where the guest looks whether it is enough.
const OVER: u64 = FACTS + 0x100;
/// Ioreq servers that a guest may have.
const SERVERS: u16 = 16;

fn model(guest: DomId) -> Result<DeviceModel> {
    Ok(DeviceModel::new(Arc::new(Privcmd::open()?), guest))
}

/// Ends all of this domain's ioreq servers for a guest; returns how many there were.
fn destroy_all(model: &DeviceModel) -> usize {
    (0..SERVERS).filter(|&id| model.destroy_server(id).is_ok()).count()
}
