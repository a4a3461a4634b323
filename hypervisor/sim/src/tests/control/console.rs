//! The console's ring, and keys.

use xenolith_abi::sysctl::{DebugKeys, ReadConsole};

use super::*;
use xenolith_domain::console::{RING, console};

/// Reads the console as `xl dmesg` does, a few bytes at a time, until there is no more.
fn read_all(machine: &mut Machine, tools: &Toolstack, clear: u8) -> Vec<u8> {
    let buffer = tools.buffer(machine);
    let (mut all, mut index, mut incremental) = (Vec::new(), 0, 0);
    loop {
        let mut call = ReadConsole {
            clear,
            incremental,
            index,
            buffer: buffer.into(),
            count: 1000,
            ..ReadConsole::default()
        };
        assert_eq!(tools.sysctl(machine, SysctlOp::ReadConsole, &mut call), 0);
        let bytes: [u8; 1000] = machine.peek(&tools.guest.domain, buffer);
        all.extend_from_slice(&bytes[..call.count as usize]);
        if call.count < 1000 {
            return all;
        }
        (index, incremental) = (call.index, 1);
    }
}

#[test]
fn the_output_is_read_back() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    console().write(b"first\n");
    assert!(read_all(&mut machine, &tools, 0).ends_with(b"first\n"));
    console().write(&[b'x'; 3000]);
    let all = read_all(&mut machine, &tools, 0);
    assert!(all.ends_with(&[b'x'; 3000]) && all.len() >= 3006);
    console().write(&[b'y'; RING]);
    assert_eq!(read_all(&mut machine, &tools, 0), vec![b'y'; RING], "the oldest is gone");
    let mut call = ReadConsole { incremental: 1, index: 1, count: 0, ..ReadConsole::default() };
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::ReadConsole, &mut call), 0);
    assert_eq!(call.count, 0);
}

#[test]
fn what_was_cleared_is_not_shown_again() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_20);
    console().write(b"old");
    let buffer = tools.buffer(&machine);
    let mut call = ReadConsole { clear: 1, buffer: buffer.into(), count: 4096, ..ReadConsole::default() };
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::ReadConsole, &mut call), 0);
    assert!(call.count >= 3);
    assert_eq!(read_all(&mut machine, &tools, 0), b"");
    console().write(b"new");
    assert_eq!(read_all(&mut machine, &tools, 0), b"new");
}

#[test]
fn new_output_is_announced() {
    use xenolith_abi::event::BindVirq;
    use xenolith_policy::event::Port;
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    let mut bind = BindVirq { virq: 8, ..BindVirq::default() };
    assert_eq!(tools.guest.call(&mut machine, Hypercall::EventChannelOp, 1, &mut bind), 0);
    let pending = || tools.guest.domain.events.lock().poll(VcpuId(0), &[Port(bind.port.0)]);
    assert_eq!(pending(), Ok(false));
    console().write(b"something\n");
    machine.hv.kick(xenolith_policy::sched::CpuMask::ALL.and(xenolith_policy::sched::CpuMask::below(2)));
    machine.settle();
    assert_eq!(pending(), Ok(true));
}

#[test]
fn keys_show_things() {
    xenolith_domain::console::init_log();
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    let buffer = tools.buffer(&machine);
    let port = tools.guest.domain.events.lock().alloc_unbound(DomId(0)).unwrap();
    machine.poke(&tools.guest.domain, buffer, b"hqregidE?");
    let mut call = DebugKeys { keys: buffer.into(), nr_keys: 9, ..DebugKeys::default() };
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::DebugKeys, &mut call), 0);
    let shown = read_all(&mut machine, &tools, 0);
    let shown = String::from_utf8_lossy(&shown);
    let port = format!("d0 port {}: offered to d0", port.0);
    for line in [
        "key q: domains",
        "d0: 64 of at most 64 pages",
        "d0 v0: Running",
        &port,
        "0 in use; maps 0 of others",
    ] {
        assert!(shown.contains(line), "{line} is not in: {shown}");
    }
}

#[test]
fn a_key_counts_once_in_a_call() {
    xenolith_domain::console::init_log();
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    let buffer = tools.buffer(&machine);
    machine.poke(&tools.guest.domain, buffer, &[b'q'; 64]);
    let mut call = DebugKeys { keys: buffer.into(), nr_keys: 64, ..DebugKeys::default() };
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::DebugKeys, &mut call), 0);
    let shown = read_all(&mut machine, &tools, 0);
    assert_eq!(String::from_utf8_lossy(&shown).matches("pages, ").count(), 1);
}
