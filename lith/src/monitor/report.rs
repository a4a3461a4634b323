//! What `lith create` and the monitor say to each other while the guest is made: lines of JSON through pipes.

use std::io::Write;

use serde::{Deserialize, Serialize};

use super::command::line;
use crate::config::GuestConfig;
use xenolith_abi::DomId;

/// What the monitor is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Make a guest and look after it.
    Create {
        /// The guest.
        config: Box<GuestConfig>,
        /// Whether it stays paused.
        paused: bool,
    },
    /// Look after a guest whose monitor has ended.
    Attach {
        /// Its name.
        name: String,
    },
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
