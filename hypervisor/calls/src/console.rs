//! `console_io`: the control domain's console is the machine's; other domains may add lines if they are allowed to.

use core::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use xenolith_abi::console::ConsoleOp;
use xenolith_abi::{Errno, GuestPtr};

use xenolith_core::bug;
use xenolith_domain::console::console;

use crate::caller::{Answer, Arguments, Caller, Reply, value};

/// Bytes taken at a time.
const CHUNK: usize = 128;

/// Arguments: what to do; bytes; where. `ENOSYS`: no such operation. `EPERM`: the caller is not the control domain; a
/// domain that may log may write.
///
/// - `write`: none besides. A continuation has the rest of the bytes.
/// - `read`: the number of bytes that were waiting, up to 128. `E2BIG`: room for more than an `i32` counts.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [op, count, buffer, ..] = arguments;
    if !caller.domain().is_control && !caller.domain().may_log.load(Ordering::Relaxed) {
        return Err(Errno::EPERM);
    }
    let buffer = GuestPtr::new(buffer);
    match u32::try_from(op).ok().and_then(ConsoleOp::from_number) {
        Some(ConsoleOp::Write) => write(caller, op, count, buffer),
        Some(ConsoleOp::Read) => {
            caller.require_control()?;
            read(caller, count, buffer)
        }
        None => Err(Errno::ENOSYS),
    }
}

fn write(caller: &mut Caller<'_>, op: u64, count: u64, buffer: GuestPtr<u8>) -> Answer {
    let mut done = 0;
    while done < count {
        // Nothing is dropped of who can wait: it comes back until there is room.
        let domain = &caller.vcpu.domain;
        if console().is_crowded() || !domain.is_control && domain.console_share.is_full(console()) {
            let place = Caller::element(buffer, done)?;
            return Ok(Reply::Continue([op, count - done, place.address(), 0, 0]));
        }
        let mut bytes = [0; CHUNK];
        let length = (count - done).min(CHUNK as u64);
        let (bytes, _) = bytes.split_at_mut_checked(length as usize).ok_or(Errno::EINVAL)?;
        let place = Caller::element(buffer, done)?;
        caller.read_bytes(place, bytes)?;
        if domain.is_control {
            console().write_control(bytes);
            domain.watch_output(caller.vcpu.vcpu(), caller.local, caller.regs, bytes);
        } else {
            let bytes = harmless(bytes);
            if domain.takes_console(bytes.len()) {
                console().write_for(domain.id, &bytes);
            }
        }
        caller.hv.serve_console_here();
        done += length;
        if done < count && caller.should_pause() {
            return Ok(Reply::Continue([op, count - done, place.address().wrapping_add(length), 0, 0]));
        }
    }
    value(0_u64)
}

/// Text of a domain whose terminal this is not: without bytes that a terminal would act on.
fn harmless(bytes: &[u8]) -> ArrayVec<u8, { 2 * CHUNK }> {
    let mut text = ArrayVec::new();
    for &byte in bytes {
        let piece: &[u8] = match byte {
            b'\n' => b"\r\n",
            b'\t' | b' '..=b'~' => &[byte],
            _ => &[],
        };
        if text.try_extend_from_slice(piece).is_err() {
            bug!("a byte has become more than two");
        }
    }
    text
}

fn read(caller: &Caller<'_>, count: u64, buffer: GuestPtr<u8>) -> Answer {
    if i32::try_from(count).is_err() {
        return Err(Errno::E2BIG);
    }
    let mut bytes = [0; CHUNK];
    let wanted = count.min(CHUNK as u64) as usize;
    let (wanted, _) = bytes.split_at_mut_checked(wanted).ok_or(Errno::EINVAL)?;
    let got = console().read(wanted);
    caller.write_bytes(buffer, got)?;
    value(got.len() as u64)
}
