//! What `lith create` and the monitor say to each other while the guest is made: lines of JSON through pipes.

use std::io::Write;

use serde::{Deserialize, Serialize};

use super::command::line;
use crate::config::GuestConfig;
use xenolith_abi::DomId;

/// The guest that the monitor is to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The guest.
    pub config: GuestConfig,
    /// Whether it stays paused.
    pub paused: bool,
}

/// A step of making the guest, or its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Report {
    /// A step begins.
    Step(String),
    /// The guest is there.
    Ready(DomId),
    /// It is not, and why.
    Failed(String),
}

/// Sends a report. Nobody may listen any more, which changes nothing.
pub fn send(report: &Report) {
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(&line(report)).and_then(|()| output.flush());
}
