//! The transactions of a connection: each is a copy of the tree that takes the tree's place, unless that has changed meanwhile.

use std::collections::{BTreeMap, HashSet};

use rustix::io::Errno;

use super::tree::Tree;

/// A change, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Change {
    /// The node.
    pub(super) path: String,
    /// The node was removed.
    pub(super) removed: bool,
}

/// An open transaction.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    /// The nodes as it sees them.
    pub(super) tree: Tree,
    /// Changes to tell of when it is committed, each once.
    changes: Vec<Change>,
    /// The same, to find one among many.
    noted: HashSet<Change>,
    /// The generation of the tree that it was copied from.
    generation: u64,
}

impl Transaction {
    /// Whether one more change can be noted, if at most so many may be. What a transaction writes and removes again leaves no
    /// node that would count, and yet is told of.
    pub(super) fn has_room(&self, most: usize) -> bool {
        self.changes.len() < most
    }

    /// Notes a change, once.
    pub(super) fn note(&mut self, change: Change) {
        if self.noted.insert(change.clone()) {
            self.changes.push(change);
        }
    }
}

/// All open transactions of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Transactions {
    open: BTreeMap<u32, Transaction>,
    last: u32,
}

impl Transactions {
    /// Begins a transaction, if fewer than `most` are open; returns its number.
    pub(super) fn start(&mut self, tree: &Tree, generation: u64, most: usize) -> Result<u32, Errno> {
        if self.open.len() >= most {
            return Err(Errno::NOSPC);
        }
        let free = |&number: &u32| number != 0 && !self.open.contains_key(&number);
        let numbers =
            std::iter::successors(Some(self.last.wrapping_add(1)), |last| Some(last.wrapping_add(1)));
        // Of two more numbers than can be open, one is neither open nor 0, which means none.
        let number = numbers.take(most.saturating_add(2)).find(free).ok_or(Errno::NOSPC)?;
        self.last = number;
        let transaction =
            Transaction { tree: tree.clone(), changes: Vec::new(), noted: HashSet::new(), generation };
        self.open.insert(number, transaction);
        Ok(number)
    }

    /// The transaction with a number.
    pub(super) fn get(&mut self, number: u32) -> Result<&mut Transaction, Errno> {
        self.open.get_mut(&number).ok_or(Errno::NOENT)
    }

    /// Ends a transaction. Returns the tree with its changes, and the changes, if it is committed and made any.
    pub(super) fn end(
        &mut self,
        number: u32,
        commit: bool,
        generation: u64,
    ) -> Result<Option<(Tree, Vec<Change>)>, Errno> {
        // Gone in any case, as in Xen: also one that is refused is not open any more.
        let transaction = self.open.remove(&number).ok_or(Errno::NOENT)?;
        if !commit {
            return Ok(None);
        }
        // Any change since counts, of a node that the transaction has looked at or of another: so what it has read need
        // not be kept, and who comes too late tries again.
        if transaction.generation != generation {
            return Err(Errno::AGAIN);
        }
        // One that only read leaves the generation as it is, and so lets others come through.
        let did_something = !transaction.changes.is_empty();
        Ok(did_something.then_some((transaction.tree, transaction.changes)))
    }

    /// Drops all.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }
}
