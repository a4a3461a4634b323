//! The ranges of one space: which server, if any, has an address.
//!
//! All servers' ranges stand in one ordered list and never overlap, so that a look-up is one binary search, however
//! many servers and ranges there are. Neighbouring ranges of one server are one range.

use alloc::vec::Vec;

use xenolith_abi::Errno;

use super::ServerId;

/// Ranges that one server may have, in all spaces together.
pub const RANGES_PER_SERVER: u16 = 1024;

/// One range, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
    server: ServerId,
}

/// The list. Calls take `held`, the count of ranges that the server has in all spaces, and keep it right.
#[derive(Clone, Default)]
pub(super) struct Ranges(Vec<Range>);

impl Ranges {
    /// The server in one of whose ranges all of `first..=last` lies.
    pub(super) fn find(&self, first: u64, last: u64) -> Option<ServerId> {
        self.find_with(first, last, || ())
    }

    /// As [`find`](Self::find), calling `step` for each range looked at.
    fn find_with(&self, first: u64, last: u64, step: impl FnMut()) -> Option<ServerId> {
        let range = self.0.get(self.after(first, step).checked_sub(1)?)?;
        (first <= last && last <= range.last).then_some(range.server)
    }

    /// The index of the first range that begins beyond `address`.
    fn after(&self, address: u64, mut step: impl FnMut()) -> usize {
        self.0.partition_point(|range| {
            step();
            range.first <= address
        })
    }

    /// Gives a range to a server.
    ///
    /// `EINVAL`: it ends before it begins. `EEXIST`: some server has a part of it. `ENOMEM`: the server has
    /// [`RANGES_PER_SERVER`] ranges, or there is no memory.
    pub(super) fn map(
        &mut self,
        server: ServerId,
        first: u64,
        last: u64,
        held: &mut u16,
    ) -> Result<(), Errno> {
        if last < first {
            return Err(Errno::EINVAL);
        }
        let at = self.after(first, || ());
        let before = at.checked_sub(1).and_then(|index| self.0.get(index)).copied();
        let behind = self.0.get(at).copied();
        if before.is_some_and(|range| range.last >= first) || behind.is_some_and(|range| range.first <= last)
        {
            return Err(Errno::EEXIST);
        }
        let joins_before =
            before.is_some_and(|range| range.server == server && range.last.checked_add(1) == Some(first));
        let joins_behind =
            behind.is_some_and(|range| range.server == server && last.checked_add(1) == Some(range.first));
        match (joins_before, joins_behind) {
            (false, false) => self.insert(at, Range { first, last, server }, held)?,
            (false, true) => self.change(at, |range| range.first = first),
            (true, false) => self.change(at - 1, |range| range.last = last),
            (true, true) => {
                let joined = self.remove(at, held);
                self.change(at - 1, |range| range.last = joined.map_or(last, |range| range.last));
            }
        }
        Ok(())
    }

    /// Takes a range from a server.
    ///
    /// `EINVAL`: it ends before it begins. `ENOENT`: it does not lie in one range of this server. `ENOMEM`: taking out
    /// its middle makes one range too many, or there is no memory.
    pub(super) fn unmap(
        &mut self,
        server: ServerId,
        first: u64,
        last: u64,
        held: &mut u16,
    ) -> Result<(), Errno> {
        if last < first {
            return Err(Errno::EINVAL);
        }
        let at = self.after(first, || ()).checked_sub(1).ok_or(Errno::ENOENT)?;
        let range = *self.0.get(at).ok_or(Errno::ENOENT)?;
        if range.server != server || last > range.last {
            return Err(Errno::ENOENT);
        }
        match (range.first == first, range.last == last) {
            (true, true) => drop(self.remove(at, held)),
            (true, false) => self.change(at, |range| range.first = last + 1),
            (false, true) => self.change(at, |range| range.last = first - 1),
            (false, false) => {
                self.insert(at + 1, Range { first: last + 1, ..range }, held)?;
                self.change(at, |range| range.last = first - 1);
            }
        }
        Ok(())
    }

    /// Takes all ranges from a server.
    pub(super) fn remove_server(&mut self, server: ServerId) {
        self.0.retain(|range| range.server != server);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }

    fn insert(&mut self, at: usize, range: Range, held: &mut u16) -> Result<(), Errno> {
        if *held >= RANGES_PER_SERVER || at > self.0.len() {
            return Err(Errno::ENOMEM);
        }
        self.0.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.0.insert(at, range);
        *held += 1;
        Ok(())
    }

    fn remove(&mut self, at: usize, held: &mut u16) -> Option<Range> {
        if at >= self.0.len() {
            return None;
        }
        *held = held.saturating_sub(1);
        Some(self.0.remove(at))
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Range)) {
        if let Some(range) = self.0.get_mut(at) {
            change(range);
        }
    }
}

#[cfg(test)]
mod tests;
