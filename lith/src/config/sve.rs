//! SVE of a guest's CPUs: as the machine has it, none, or with vectors of a length.

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::reader::Table;

/// The most bits that there are.
const MOST: u16 = 2048;
/// Lengths are multiples of this, and told to the hypervisor in it.
const GRANULE: u16 = 128;

/// What a guest's file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sve {
    /// With the longest vectors that the machine has, if it has any.
    #[default]
    IfThere,
    /// `false`: none. `true`: the longest that the machine has, which must have some.
    Wanted(bool),
    /// Vectors of so many bits.
    Bits(u16),
}

impl Sve {
    pub(super) fn read(table: &Table<'_>) -> Result<Sve, ConfigError> {
        if let Ok(wanted) = table.bool("sve") {
            return Ok(wanted.map_or(Sve::IfThere, Sve::Wanted));
        }
        let bits = table.number("sve", GRANULE, MOST)?;
        match bits {
            Some(bits) if !bits.is_multiple_of(GRANULE) => Err(table.bad("sve", "must be a multiple of 128")),
            bits => Ok(bits.map_or(Sve::IfThere, Sve::Bits)),
        }
    }

    /// What `createdomain` is asked for, in units of 128 bits, on a machine that has at most `longest`.
    ///
    /// # Errors
    ///
    /// What the machine does not have, as a sentence.
    pub fn granules(self, longest: u8) -> Result<u8, String> {
        let has = match longest {
            0 => "no SVE".to_owned(),
            longest => format!("SVE of {} bits at most", u16::from(longest) * GRANULE),
        };
        match self {
            Sve::IfThere => Ok(longest),
            Sve::Wanted(false) => Ok(0),
            Sve::Wanted(true) if longest == 0 => Err(format!("`sve` is true, and this machine has {has}")),
            Sve::Wanted(true) => Ok(longest),
            Sve::Bits(bits) => match u8::try_from(bits / GRANULE) {
                Ok(granules) if granules <= longest => Ok(granules),
                _ => Err(format!("`sve` is {bits}, and this machine has {has}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GuestConfig;
    use std::path::Path;

    fn parsed(sve: &str) -> Result<Sve, String> {
        let text = format!("kernel = \"/k\"\nmemory = \"64M\"\n{sve}");
        let config = GuestConfig::parse(Path::new("/web.toml"), &text);
        config.map(|config| config.sve).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_a_switch_or_a_length() {
        assert_eq!(parsed(""), Ok(Sve::IfThere));
        assert_eq!(
            (parsed("sve = false"), parsed("sve = true")),
            (Ok(Sve::Wanted(false)), Ok(Sve::Wanted(true)))
        );
        assert_eq!(parsed("sve = 256"), Ok(Sve::Bits(256)));
        for (bad, words) in
            [("sve = 200", "multiple of 128"), ("sve = 4096", "2048"), ("sve = \"long\"", "sve: ")]
        {
            assert!(parsed(bad).unwrap_err().contains(words), "{bad}: {:?}", parsed(bad));
        }
    }

    #[test]
    fn the_machine_must_have_what_is_asked_for() {
        let granules = |sve: Sve| [0, 4].map(|longest| sve.granules(longest));
        assert_eq!(granules(Sve::IfThere), [Ok(0), Ok(4)]);
        assert_eq!(granules(Sve::Wanted(false)), [Ok(0), Ok(0)]);
        assert_eq!(
            granules(Sve::Wanted(true)),
            [Err("`sve` is true, and this machine has no SVE".into()), Ok(4)]
        );
        assert_eq!(granules(Sve::Bits(256))[1], Ok(2));
        let error = Sve::Bits(1024).granules(4).unwrap_err();
        assert_eq!(error, "`sve` is 1024, and this machine has SVE of 512 bits at most");
    }

    #[test]
    fn it_is_kept_in_a_record() {
        for sve in [Sve::IfThere, Sve::Wanted(false), Sve::Bits(384)] {
            let text = serde_json::to_string(&sve).unwrap();
            assert_eq!(serde_json::from_str::<Sve>(&text).unwrap(), sve, "{text}");
        }
    }
}
