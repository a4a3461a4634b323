//! The table of layers.
//!
//! ```toml
//! [[layer]]
//! name = "policy"
//! members = ["xenolith::event", "xenolith-sched"]
//! ```
//! The lowest layer comes first. A member is a package, or a package's module, or a file's module within that
//! (`xenolith::domain::build`): of several that fit, the longest says where a file belongs. What stands in the root of a
//! package whose modules are members belongs to the highest of their layers.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Layers, lowest first, and what must stay free of any architecture.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    #[serde(rename = "layer")]
    layers: Vec<Layer>,
    /// A file and those of its folder may name each other: they are a type and its parts.
    #[serde(default)]
    pub circles_in_rooms: bool,
    /// Packages that know no architecture, and need `core` and `alloc` only.
    #[serde(default)]
    pub neutral: Vec<String>,
    /// Files that name no architecture.
    pub neutral_words: Option<NeutralWords>,
}

/// What no identifier of some files may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeutralWords {
    /// The packages or modules that the rule is for.
    pub members: Vec<String>,
    /// Modules of those that are an architecture's part, with all that lies within them.
    pub except: Vec<String>,
    /// The words, in lower case.
    pub words: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    name: String,
    members: Vec<String>,
}

/// Where a layer stands: greater is higher.
pub type Rank = usize;

impl Table {
    /// Reads the table.
    ///
    /// # Errors
    /// It is not TOML of that form, or names a member twice.
    pub fn parse(text: &str) -> Result<Table> {
        let table: Table = toml::from_str(text).context("the table of layers")?;
        let mut members: Vec<&String> = table.layers.iter().flat_map(|layer| &layer.members).collect();
        members.sort();
        for pair in members.windows(2) {
            ensure!(pair[0] != pair[1], "the table of layers names {} twice", pair[0]);
        }
        Ok(table)
    }

    /// The name of a layer.
    pub fn name(&self, rank: Rank) -> &str {
        &self.layers[rank].name
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().flat_map(|layer| &layer.members).map(String::as_str)
    }

    /// The layer of a module, by its path from its package's name; `None` if the table has no place for it.
    pub fn rank(&self, path: &str) -> Option<Rank> {
        let ranked = self
            .layers
            .iter()
            .enumerate()
            .flat_map(|(rank, layer)| layer.members.iter().map(move |member| (member.as_str(), rank)));
        let longest =
            ranked.filter(|(member, _)| is_within(path, member)).max_by_key(|(member, _)| member.len());
        longest.map(|(_, rank)| rank).or_else(|| Some(self.range(path)?.1))
    }

    /// The lowest and the highest layer that a package has a part in.
    pub fn range(&self, package: &str) -> Option<(Rank, Rank)> {
        let has_part = |layer: &Layer| layer.members.iter().any(|member| is_within(member, package));
        let mut ranks =
            self.layers.iter().enumerate().filter(|(_, layer)| has_part(layer)).map(|(rank, _)| rank);
        let lowest = ranks.next()?;
        Some((lowest, ranks.next_back().unwrap_or(lowest)))
    }
}

/// Whether a module is another, or lies within it.
pub fn is_within(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
