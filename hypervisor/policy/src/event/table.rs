//! The ports of a domain: a table that grows bucket by bucket and gives out the lowest free number.
//!
//! Growth can fail and then leaves the table as it was; the table never shrinks, so that a port which was once inside
//! stays inside (Xen's advisory 338).

use alloc::boxed::Box;
use alloc::vec::Vec;

use xenolith_abi::Errno;
use xenolith_core::bug;

use xenolith_hw::index_nospec;

use super::port::{Binding, Channel, Port};

/// Ports in a bucket.
const BUCKET: u32 = u64::BITS;

/// How many free ports may turn out to be unusable in one search. A guest makes them so, by keeping the words of
/// closed ports queued, and only its own supply of ports suffers.
const BUSY_PROBES: u32 = 256;

struct Bucket {
    /// One bit for each port that is in use. Port 0 counts as used.
    used: u64,
    channels: Box<[Channel]>,
}

/// The table.
#[derive(Default)]
pub(super) struct PortTable {
    buckets: Vec<Bucket>,
    /// Buckets before this one have no free port.
    first_with_room: usize,
}

/// The index, if it is below `len`. What is returned also depends on the comparison by data, not only by a branch,
/// so that a mispredicted branch cannot lead to an access outside (Spectre, variant 1).
pub(super) fn checked_index_nospec(index: u32, len: usize) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    (index < len).then(|| index_nospec(index, len))
}

impl PortTable {
    /// The port, whether it is in use or not; nothing when the table does not reach so far.
    #[inline]
    pub(super) fn get(&self, port: Port) -> Option<&Channel> {
        let bucket = self.buckets.get(checked_index_nospec(port.0 / BUCKET, self.buckets.len())?)?;
        bucket.channels.get(checked_index_nospec(port.0 % BUCKET, bucket.channels.len())?)
    }

    /// As [`get`](Self::get), to change the port.
    #[inline]
    pub(super) fn get_mut(&mut self, port: Port) -> Option<&mut Channel> {
        let len = self.buckets.len();
        let bucket = self.buckets.get_mut(checked_index_nospec(port.0 / BUCKET, len)?)?;
        let len = bucket.channels.len();
        bucket.channels.get_mut(checked_index_nospec(port.0 % BUCKET, len)?)
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
        if let Some(bucket) = self.bucket_of(port) {
            bucket.used |= 1 << (port.0 % BUCKET);
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
        let bit = 1 << (port.0 % BUCKET);
        let bucket = self.bucket_of(port).ok_or(Errno::ENOSPC)?;
        if bucket.used & bit != 0 {
            return Err(Errno::EEXIST);
        }
        bucket.used |= bit;
        match self.get_mut(port) {
            Some(channel) => *channel = fresh(channel, binding),
            None => bug!("no such port"),
        }
        Ok(())
    }

    fn find_lowest(&mut self, end: u32, busy: impl Fn(Port) -> bool) -> Result<Port, Errno> {
        // Full buckets are passed once, and not by each search anew: the hint goes back only when a port is released.
        while self.buckets.get(self.first_with_room).is_some_and(|bucket| bucket.used == u64::MAX) {
            self.first_with_room += 1;
        }
        let mut probes = 0;
        let mut index = self.first_with_room;
        loop {
            if index == self.buckets.len() {
                self.grow(end)?;
            }
            let base = u32::try_from(index).ok().and_then(|index| index.checked_mul(BUCKET));
            let (Some(base), Some(bucket)) = (base, self.buckets.get(index)) else {
                return Err(Errno::ENOSPC);
            };
            let mut free = !bucket.used;
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

    /// Adds a bucket, if its first port would be below `end`.
    fn grow(&mut self, end: u32) -> Result<(), Errno> {
        let first = u32::try_from(self.buckets.len()).ok().and_then(|len| len.checked_mul(BUCKET));
        if first.is_none_or(|first| first >= end) {
            return Err(Errno::ENOSPC);
        }
        let mut channels = Vec::new();
        channels.try_reserve_exact(BUCKET as usize).map_err(|_| Errno::ENOMEM)?;
        channels.resize(BUCKET as usize, Channel::FREE);
        self.buckets.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        // Port 0 says "none" in the ABI, and is never given out.
        let used = u64::from(self.buckets.is_empty());
        self.buckets.push(Bucket { used, channels: channels.into_boxed_slice() });
        Ok(())
    }

    /// Gives a port back.
    pub(super) fn release(&mut self, port: Port) {
        let Some(channel) = self.get_mut(port) else { return bug!("no such port") };
        *channel = fresh(channel, Binding::Free);
        let index = (port.0 / BUCKET) as usize;
        if let Some(bucket) = self.bucket_of(port).filter(|_| port.0 != 0) {
            bucket.used &= !(1 << (port.0 % BUCKET));
            self.first_with_room = self.first_with_room.min(index);
        }
    }

    /// The first port in use at or after `from`.
    pub(super) fn next_used(&self, from: Port) -> Option<Port> {
        let from = from.0.max(1);
        let mut base = from / BUCKET * BUCKET;
        let mut wanted = u64::MAX << (from % BUCKET);
        for bucket in self.buckets.iter().skip((from / BUCKET) as usize) {
            let used = bucket.used & wanted;
            if used != 0 {
                return Some(Port(base + used.trailing_zeros()));
            }
            base += BUCKET;
            wanted = u64::MAX;
        }
        None
    }

    fn bucket_of(&mut self, port: Port) -> Option<&mut Bucket> {
        self.buckets.get_mut((port.0 / BUCKET) as usize)
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

    fn take(table: &mut PortTable, end: u32) -> Result<u32, Errno> {
        table.take_lowest(end, |_| false, Binding::Ipi).map(|port| port.0)
    }

    #[test]
    fn the_lowest_free_port_is_taken_and_never_0() {
        let mut table = PortTable::default();
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
            let mut table = PortTable::default();
            let taken = core::iter::from_fn(|| take(&mut table, end).ok()).count();
            assert_eq!(taken, end as usize - 1);
            assert_eq!(take(&mut table, end), Err(Errno::ENOSPC));
        }
    }

    #[test]
    fn busy_ports_are_passed_over_within_reason() {
        let mut table = PortTable::default();
        let port = table.take_lowest(1000, |port| port.0 < 100, Binding::Ipi);
        assert_eq!(port, Ok(Port(100)));
        assert_eq!(table.take_lowest(100_000, |_| true, Binding::Ipi), Err(Errno::ENOSPC));
        assert!(table.buckets.len() < 10);
    }

    #[test]
    fn a_port_is_taken_by_its_number_once() {
        let mut table = PortTable::default();
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
        let mut table = PortTable::default();
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
    fn an_index_is_checked() {
        assert_eq!(checked_index_nospec(3, 4), Some(3));
        assert_eq!(checked_index_nospec(4, 4), None);
        assert_eq!(checked_index_nospec(u32::MAX, 0), None);
    }
}
