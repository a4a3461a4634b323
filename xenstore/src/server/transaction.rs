//! Transactions: a copy of the tree that takes the tree's place, unless that has changed meanwhile.

use std::collections::BTreeMap;

use super::store::Refusal;
use super::tree::Tree;

/// Open transactions, at most. Each has a copy of the tree.
const MAX_OPEN: usize = 8;

/// A change, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The node.
    pub path: String,
    /// Whether it was removed.
    pub removed: bool,
}

/// An open transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The nodes as it sees them.
    pub tree: Tree,
    /// What it did.
    changes: Vec<Change>,
    /// The generation of the tree that it was copied from.
    generation: u64,
}

impl Transaction {
    /// Notes a change, once.
    pub fn note(&mut self, change: Change) {
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }
}

/// All open transactions.
#[derive(Clone, Debug, Default)]
pub struct Transactions {
    open: BTreeMap<u32, Transaction>,
    last: u32,
}

impl Transactions {
    /// Begins one; returns its number.
    pub fn start(&mut self, tree: &Tree, generation: u64) -> Result<u32, Refusal> {
        if self.open.len() >= MAX_OPEN {
            return Err(Refusal::NoSpace);
        }
        let free = |&number: &u32| number != 0 && !self.open.contains_key(&number);
        let numbers =
            std::iter::successors(Some(self.last.wrapping_add(1)), |last| Some(last.wrapping_add(1)));
        let number = numbers.take(MAX_OPEN.saturating_add(2)).find(free).ok_or(Refusal::NoSpace)?;
        self.last = number;
        let transaction = Transaction { tree: tree.clone(), changes: Vec::new(), generation };
        self.open.insert(number, transaction);
        Ok(number)
    }

    /// The transaction with a number.
    pub fn get(&mut self, number: u32) -> Result<&mut Transaction, Refusal> {
        self.open.get_mut(&number).ok_or(Refusal::NoEntry)
    }

    /// Ends one. Returns its changes if it is to count and did anything, with the tree that holds them.
    pub fn end(
        &mut self,
        number: u32,
        commit: bool,
        generation: u64,
    ) -> Result<Option<(Tree, Vec<Change>)>, Refusal> {
        let transaction = self.open.remove(&number).ok_or(Refusal::NoEntry)?;
        if !commit {
            return Ok(None);
        }
        if transaction.generation != generation {
            return Err(Refusal::Again);
        }
        let did_something = !transaction.changes.is_empty();
        Ok(did_something.then_some((transaction.tree, transaction.changes)))
    }

    /// Drops all.
    pub fn clear(&mut self) {
        self.open.clear();
    }
}
