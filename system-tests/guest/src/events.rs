//! Event channels through Linux's `evtchn` device: a channel of this domain with itself, both ways; virtual
//! interrupts; and what is refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use xenolith_abi::DomId;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::report::Report;
use crate::xen::{DOM0, bind_interdomain, bind_unbound_port, bind_virq, notify, open, unbind};

/// Notifications of a channel in one test.
const NOTIFICATIONS: u32 = 4_000;
/// Channels that are open at once in one test.
const MANY: usize = 200;

/// Seconds after which an event that has not come never will: the other end may be a domain that still boots.
const PATIENCE: i64 = 100;

/// Of the trace buffers: nothing else in the domain binds it.
const VIRQ_TBUF: u32 = 4;

/// Runs all tests of event channels.
pub fn run(report: &mut Report) {
    report.test("a channel carries notifications both ways, none lost", both_ways);
    report.test("notifications that were not seen merge into one", merge);
    report.test("many channels, each its own", many);
    report.test("ports come back after closing", ports_return);
    report.test("closing one end silences the other", close_one_end);
    report.test("ports that do not exist are refused", bad_ports);
    report.test("a domain that does not exist is refused", bad_domain);
    report.test("a channel cannot be bound twice", bound_twice);
    report.test("a virtual interrupt binds once", virq);
    report.test("a virtual interrupt that does not exist is refused", bad_virq);
}

/// Waits for one event and returns its port. The port then stays silent until [`rearm`].
pub fn next(evtchn: &mut File) -> Result<u32> {
    ensure!(waits(evtchn, PATIENCE)?, "no event came");
    let mut port = [0; 4];
    evtchn.read_exact(&mut port)?;
    Ok(u32::from_ne_bytes(port))
}

/// Whether an event waits, or comes within `seconds`.
fn waits(evtchn: &File, seconds: i64) -> Result<bool> {
    let mut fds = [PollFd::new(evtchn, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 }))? > 0)
}

/// Lets a port speak again.
pub fn rearm(evtchn: &mut File, port: u32) -> Result<()> {
    Ok(evtchn.write_all(&port.to_ne_bytes())?)
}

/// A channel of this domain with itself: the end that was offered, and the end that was bound to it. The
/// notification that binding itself makes has been taken.
fn channel(evtchn: &mut File) -> Result<(u32, u32)> {
    let offered = bind_unbound_port(evtchn, DOM0).context("offering a port")?;
    let bound = bind_interdomain(evtchn, DOM0, offered).context("binding to it")?;
    ensure!(offered != bound, "both ends are port {bound}");
    ensure!(next(evtchn)? == bound, "the first event is for the end that was bound");
    rearm(evtchn, bound)?;
    Ok((offered, bound))
}

fn both_ways() -> Result<()> {
    let mut evtchn = open("evtchn")?;
    let (one, other) = channel(&mut evtchn)?;
    for count in 0..NOTIFICATIONS {
        let (from, to) = if count % 2 == 0 { (one, other) } else { (other, one) };
        notify(&evtchn, from)?;
        let port = next(&mut evtchn)?;
        ensure!(port == to, "notification {count} came on port {port} and not on {to}");
        rearm(&mut evtchn, port)?;
    }
    ensure!(!waits(&evtchn, 0)?, "more events than notifications");
    Ok(())
}

fn merge() -> Result<()> {
    let mut evtchn = open("evtchn")?;
    let (one, other) = channel(&mut evtchn)?;
    for _ in 0..100 {
        notify(&evtchn, one)?;
    }
    ensure!(next(&mut evtchn)? == other);
    ensure!(!waits(&evtchn, 0)?, "a port that is not rearmed spoke twice");
    rearm(&mut evtchn, other)?;
    // Those behind the first may have merged into one more, which another CPU may still be about to take.
    if waits(&evtchn, 1)? {
        ensure!(next(&mut evtchn)? == other);
        rearm(&mut evtchn, other)?;
    }
    ensure!(!waits(&evtchn, 1)?, "more events than one for what was merged");
    Ok(())
}

fn many() -> Result<()> {
    let mut evtchn = open("evtchn")?;
    let mut expected = BTreeMap::new();
    let mut ends = Vec::new();
    for _ in 0..MANY {
        let (one, other) = channel(&mut evtchn)?;
        ends.push(one);
        expected.insert(other, 0_u32);
    }
    for &end in &ends {
        notify(&evtchn, end)?;
    }
    for _ in &ends {
        let port = next(&mut evtchn)?;
        *expected.get_mut(&port).context("an event on a foreign port")? += 1;
    }
    ensure!(expected.values().all(|&count| count == 1), "events per port: {expected:?}");
    Ok(())
}

fn ports_return() -> Result<()> {
    let evtchn = open("evtchn")?;
    let mut highest = 0;
    for _ in 0..2000 {
        let port = bind_unbound_port(&evtchn, DOM0)?;
        highest = highest.max(port);
        unbind(&evtchn, port)?;
    }
    ensure!(highest < 1000, "port {highest} after one port at a time");
    Ok(())
}

fn close_one_end() -> Result<()> {
    let mut evtchn = open("evtchn")?;
    let (one, other) = channel(&mut evtchn)?;
    unbind(&evtchn, other)?;
    ensure!(!waits(&evtchn, 0)?, "closing made an event");
    notify(&evtchn, one).context("notifying nobody is no error")?;
    ensure!(!waits(&evtchn, 0)?);
    let again = bind_interdomain(&evtchn, DOM0, one).context("binding to the end that is left")?;
    ensure!(next(&mut evtchn)? == again);
    Ok(())
}

fn bad_ports() -> Result<()> {
    let evtchn = open("evtchn")?;
    for port in [0, 3000, 4095, 4096, 131_071, 131_072, u32::MAX] {
        let notified = notify(&evtchn, port);
        ensure!(notified.is_err(), "notified port {port}, which is not of this file");
        let bound = bind_interdomain(&evtchn, DOM0, port);
        ensure!(bound.is_err(), "bound to port {port}, which nobody offers");
    }
    Ok(())
}

fn bad_domain() -> Result<()> {
    let evtchn = open("evtchn")?;
    let error = bind_interdomain(&evtchn, DomId(0x1234), 1);
    ensure!(error == Err(Errno::SRCH), "{error:?}");
    Ok(())
}

fn bound_twice() -> Result<()> {
    let mut evtchn = open("evtchn")?;
    let (one, other) = channel(&mut evtchn)?;
    for end in [one, other] {
        let error = bind_interdomain(&evtchn, DOM0, end);
        ensure!(error == Err(Errno::INVAL), "port {end}: {error:?}");
    }
    Ok(())
}

fn virq() -> Result<()> {
    let evtchn = open("evtchn")?;
    let port = bind_virq(&evtchn, VIRQ_TBUF)?;
    let error = bind_virq(&evtchn, VIRQ_TBUF);
    ensure!(error == Err(Errno::EXIST), "bound a second time: {error:?}");
    unbind(&evtchn, port)?;
    let port = bind_virq(&evtchn, VIRQ_TBUF).context("after closing")?;
    unbind(&evtchn, port)?;
    Ok(())
}

fn bad_virq() -> Result<()> {
    let evtchn = open("evtchn")?;
    for virq in [24, 1000, u32::MAX] {
        let error = bind_virq(&evtchn, virq);
        ensure!(error == Err(Errno::INVAL), "virtual interrupt {virq}: {error:?}");
    }
    Ok(())
}
