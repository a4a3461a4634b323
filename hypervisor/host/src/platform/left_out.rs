//! What the machine's tree describes and the machine does without: what the reader does not take costs a line in the log that
//! names its node, and not the boot.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Parts that are kept by name. The others are counted.
const MAX_NAMED: usize = 64;

/// A part of the tree that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The node's path; `None` is the header's memory reservation block.
    pub node: Option<String>,
    /// What is wrong, and what is not used: words that follow the node's.
    pub problem: &'static str,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "device tree node {node}: {}", self.problem),
            None => write!(f, "the device tree's memory reservation block: {}", self.problem),
        }
    }
}

/// All parts of a tree that are not used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOuts {
    named: Vec<LeftOut>,
    /// How many there are besides.
    pub more: usize,
}

impl LeftOuts {
    /// Notes one.
    pub fn note(&mut self, node: impl Into<Option<String>>, problem: &'static str) {
        if self.named.len() < MAX_NAMED {
            self.named.push(LeftOut { node: node.into(), problem });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// The first ones, in the order in which they were found.
    pub fn named(&self) -> &[LeftOut] {
        &self.named
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_first_ones_are_named_and_the_others_counted() {
        let mut parts = LeftOuts::default();
        for index in 0..70 {
            parts.note(alloc::format!("/n{index}"), "is odd");
        }
        assert_eq!((parts.named().len(), parts.more), (MAX_NAMED, 6));
        assert_eq!(parts.named()[63].to_string(), "device tree node /n63: is odd");
    }
}
