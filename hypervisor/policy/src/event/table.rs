//! The ports of a domain: a table that grows page by page and gives out the lowest free number.
//!
//! Growth can fail and then leaves the table as it was; the table never shrinks, so that a port which was once inside
//! stays inside (Xen's advisory 338). What it can come to take is charged to the domain beforehand.

use alloc::vec::Vec;

use xenolith_abi::Errno;
use xenolith_core::bug;
use xenolith_core::guest_index::GuestIndex;
use xenolith_memory::pieces::{GrowError, Pieces};

use super::port::{Binding, Channel, Port};

/// Ports in a word of the map of those in use.
const WORD: u32 = u64::BITS;

/// How many free ports may turn out to be unusable in one search. A guest makes them so, by keeping the words of
/// closed ports queued, and only its own supply of ports suffers.
const BUSY_PROBES: u32 = 256;

/// The table.
pub(super) struct PortTable {
    /// One bit for each port that is in use. Port 0 counts as used.
    used: Vec<u64>,
    channels: Pieces<Channel>,
    /// Words before this one have no free port.
    first_with_room: usize,
}

impl PortTable {
    /// Pages that the table takes when all ports below `end` are in it.
    pub(super) const fn pages(end: u32) -> u64 {
        Pieces::<Channel>::pages(end as usize)
    }

    /// A table without ports, which can come to have those below `end`. `ENOMEM`: no memory.
    pub(super) fn new(end: u32) -> Result<Self, Errno> {
        let channels = Pieces::try_new(end as usize).ok_or(Errno::ENOMEM)?;
        // A word for each port that fits into the last page, too.
        let words = (end as usize).next_multiple_of(Pieces::<Channel>::STEP) / WORD as usize;
        let mut used = Vec::new();
        used.try_reserve_exact(words).map_err(|_| Errno::ENOMEM)?;
        Ok(PortTable { used, channels, first_with_room: 0 })
    }

    /// The port, whether it is in use or not; nothing when the table does not reach so far.
    #[inline]
    pub(super) fn get(&self, port: Port) -> Option<&Channel> {
        self.channels.get(port.0)
    }

    /// As [`get`](Self::get), to change the port.
    #[inline]
    pub(super) fn get_mut(&mut self, port: Port) -> Option<&mut Channel> {
        self.channels.get_mut(port.0)
    }

    /// Takes the lowest port that is free and not `busy`, below `end`. The port keeps its FIFO queue and is otherwise
    /// as new; the caller binds it.
    ///
    /// `ENOSPC`: no port is free. `ENOMEM`: the table cannot grow.
    pub(super) fn take_lowest(
        &mut self,
        end: u32,
        busy: impl Fn(Port) -> bool,
        binding: Binding,
    ) -> Result<Port, Errno> {
        let port = self.find_lowest(end, busy)?;
        let channel = self.get_mut(port).ok_or(Errno::ENOSPC)?;
        *channel = fresh(channel, binding);
        if let Some(word) = self.word_of(port) {
            *word |= 1 << (port.0 % WORD);
        }
        Ok(port)
    }

    /// Takes this port, for which the table grows. The caller binds it.
    ///
    /// `EINVAL`: port 0. `ENOSPC`: it is not below `end`. `EEXIST`: it is in use. `ENOMEM`: the table cannot grow.
    pub(super) fn take(&mut self, port: Port, end: u32, binding: Binding) -> Result<(), Errno> {
        if port.0 == 0 {
            return Err(Errno::EINVAL);
        }
        if port.0 >= end {
            return Err(Errno::ENOSPC);
        }
        while self.get(port).is_none() {
            self.grow(end)?;
        }
        let bit = 1 << (port.0 % WORD);
        let word = self.word_of(port).ok_or(Errno::ENOSPC)?;
        if *word & bit != 0 {
            return Err(Errno::EEXIST);
        }
        *word |= bit;
        match self.get_mut(port) {
            Some(channel) => *channel = fresh(channel, binding),
            None => bug!("no such port"),
        }
        Ok(())
    }

    fn find_lowest(&mut self, end: u32, busy: impl Fn(Port) -> bool) -> Result<Port, Errno> {
        // Full words are passed once, and not by each search anew: the hint goes back only when a port is released.
        while self.used.get(self.first_with_room) == Some(&u64::MAX) {
            self.first_with_room += 1;
        }
        let mut probes = 0;
        let mut index = self.first_with_room;
        loop {
            if index == self.used.len() {
                self.grow(end)?;
            }
            let base = u32::try_from(index).ok().and_then(|index| index.checked_mul(WORD));
            let (Some(base), Some(used)) = (base, self.used.get(index)) else {
                return Err(Errno::ENOSPC);
            };
            let mut free = !used;
            while free != 0 {
                let port = Port(base + free.trailing_zeros());
                if port.0 >= end || probes == BUSY_PROBES {
                    return Err(Errno::ENOSPC);
                }
                if !busy(port) {
                    return Ok(port);
                }
                probes += 1;
                free &= free - 1;
            }
            index += 1;
        }
    }

    /// Adds a page of ports, if the first of them would be below `end`.
    fn grow(&mut self, end: u32) -> Result<(), Errno> {
        if self.channels.len() >= end as usize {
            return Err(Errno::ENOSPC);
        }
        self.channels.grow(|_| Channel::FREE).map_err(|error| match error {
            GrowError::Full => Errno::ENOSPC,
            GrowError::Memory => Errno::ENOMEM,
        })?;
        // There is room: it was made with the table.
        self.used.resize(self.channels.len() / WORD as usize, 0);
        // Port 0 says "none" in the ABI, and is never given out.
        if let Some(first) = self.used.first_mut() {
            *first |= 1;
        }
        Ok(())
    }

    /// Gives a page of ports back that nobody needs any more, the last first. False when there is none left.
    pub(super) fn shrink(&mut self) -> bool {
        let shrunk = self.channels.shrink();
        self.used.truncate(self.channels.len() / WORD as usize);
        shrunk
    }

    /// Gives a port back.
    pub(super) fn release(&mut self, port: Port) {
        let Some(channel) = self.get_mut(port) else { return bug!("no such port") };
        *channel = fresh(channel, Binding::Free);
        let index = (port.0 / WORD) as usize;
        if let Some(word) = self.word_of(port).filter(|_| port.0 != 0) {
            *word &= !(1 << (port.0 % WORD));
            self.first_with_room = self.first_with_room.min(index);
        }
    }

    /// The first port in use at or after `from`.
    pub(super) fn next_used(&self, from: Port) -> Option<Port> {
        let from = from.0.max(1);
        let mut base = from / WORD * WORD;
        let mut wanted = u64::MAX << (from % WORD);
        for word in self.used.iter().skip((from / WORD) as usize) {
            let used = word & wanted;
            if used != 0 {
                return Some(Port(base + used.trailing_zeros()));
            }
            base += WORD;
            wanted = u64::MAX;
        }
        None
    }

    fn word_of(&mut self, port: Port) -> Option<&mut u64> {
        GuestIndex::from(port.0 / WORD).of_mut(&mut self.used)
    }
}

/// A port as it is given out or taken back: only the FIFO queue on which it last was is kept.
fn fresh(old: &Channel, binding: Binding) -> Channel {
    let mut channel = Channel { binding, ..Channel::FREE };
    channel.fifo.queue = old.fifo.queue;
    channel
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 100_000;

    fn take(table: &mut PortTable, end: u32) -> Result<u32, Errno> {
        table.take_lowest(end, |_| false, Binding::Ipi).map(|port| port.0)
    }

    #[test]
    fn the_lowest_free_port_is_taken_and_never_0() {
        let mut table = PortTable::new(MOST).unwrap();
        for expected in 1..200 {
            assert_eq!(take(&mut table, 1000), Ok(expected));
        }
        for port in [150, 70, 3] {
            table.release(Port(port));
        }
        table.release(Port(0));
        for expected in [3, 70, 150, 200] {
            assert_eq!(take(&mut table, 1000), Ok(expected));
        }
    }

    #[test]
    fn the_limit_holds_inside_a_bucket_and_at_its_edge() {
        for end in [1, 2, 63, 64, 65, 128] {
            let mut table = PortTable::new(MOST).unwrap();
            let taken = core::iter::from_fn(|| take(&mut table, end).ok()).count();
            assert_eq!(taken, end as usize - 1);
            assert_eq!(take(&mut table, end), Err(Errno::ENOSPC));
        }
    }

    #[test]
    fn busy_ports_are_passed_over_within_reason() {
        let mut table = PortTable::new(MOST).unwrap();
        let port = table.take_lowest(1000, |port| port.0 < 100, Binding::Ipi);
        assert_eq!(port, Ok(Port(100)));
        assert_eq!(table.take_lowest(100_000, |_| true, Binding::Ipi), Err(Errno::ENOSPC));
        assert!(table.used.len() < 10);
    }

    #[test]
    fn a_port_is_taken_by_its_number_once() {
        let mut table = PortTable::new(MOST).unwrap();
        let mut take_at = |port| table.take(Port(port), 300, Binding::Ipi);
        assert_eq!(take_at(200), Ok(()));
        assert_eq!(take_at(200), Err(Errno::EEXIST));
        assert_eq!(take_at(2), Ok(()));
        assert_eq!(
            (take_at(0), take_at(300), take_at(u32::MAX)),
            (Err(Errno::EINVAL), Err(Errno::ENOSPC), Err(Errno::ENOSPC))
        );
        assert_eq!([take(&mut table, 300), take(&mut table, 300)], [Ok(1), Ok(3)], "others go around it");
        table.release(Port(200));
        assert_eq!(table.take(Port(200), 300, Binding::Ipi), Ok(()));
    }

    #[test]
    fn ports_in_use_are_found() {
        let mut table = PortTable::new(MOST).unwrap();
        for _ in 1..300 {
            take(&mut table, 1000).unwrap();
        }
        for port in (1..300).filter(|port| port % 63 != 0) {
            table.release(Port(port));
        }
        let after = |port: u32| table.next_used(Port(port)).map(|port| port.0);
        assert_eq!(after(0), Some(63));
        assert_eq!(after(63), Some(63));
        assert_eq!(after(64), Some(126));
        assert_eq!(after(127), Some(189));
        assert_eq!(after(253), None);
        assert_eq!(table.next_used(Port(u32::MAX)), None);
    }

    #[test]
    fn a_table_takes_the_pages_that_were_said_and_no_more() {
        for (end, pages) in [(1, 1), (128, 1), (129, 2), (1024, 8), (131_072, 1024)] {
            assert_eq!(PortTable::pages(end), pages, "{end} ports");
        }
        let mut table = PortTable::new(200).unwrap();
        let room = table.used.capacity();
        assert_eq!(core::iter::from_fn(|| take(&mut table, 200).ok()).count(), 199);
        assert_eq!((table.channels.len(), table.used.len(), table.used.capacity()), (256, 4, room));
        assert_eq!(take(&mut table, MOST), Ok(200), "a page is used to its end");
        assert_eq!(core::iter::from_fn(|| take(&mut table, MOST).ok()).count(), 55);
        assert_eq!(take(&mut table, MOST), Err(Errno::ENOSPC));
    }
}
