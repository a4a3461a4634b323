//! The domain that serves a device: the key `backend` of every kind.

use std::fmt;

use serde::{Deserialize, Serialize};
use xenolith_abi::DomId;

use super::error::ConfigError;
use super::reader::Table;
use super::{CONTROL_DOMAIN, check_name};

/// The highest number of a domain.
const MAX_DOMAIN: u16 = DomId::FIRST_RESERVED.0 - 1;

/// The domain that serves a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Backend {
    /// By its number; the control domain's is 0.
    Number(DomId),
    /// By its name.
    Name(String),
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Number(number) => write!(f, "domain {}", number.0),
            Backend::Name(name) => write!(f, "guest {name}"),
        }
    }
}

impl Backend {
    /// The key of a device's table. One that does not say is served by the control domain.
    pub(super) fn read(table: &Table<'_>) -> Result<Backend, ConfigError> {
        if table.is_number("backend") {
            let number = table.number("backend", 0, MAX_DOMAIN)?;
            return Ok(Backend::Number(number.map_or(DomId::CONTROL, DomId)));
        }
        let Some(name) = table.text("backend")? else { return Ok(Backend::Number(DomId::CONTROL)) };
        if name == CONTROL_DOMAIN {
            return Ok(Backend::Number(DomId::CONTROL));
        }
        check_name(&name).map_err(|reason| table.bad("backend", format!("a domain's name {reason}")))?;
        Ok(Backend::Name(name))
    }
}
