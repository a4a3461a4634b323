//! The hypervisor's console: its output so far, and its keys.

use xenolith_abi::Errno;
use xenolith_abi::control::Payload;
use xenolith_abi::sysctl::{DebugKeys, ReadConsole};

use crate::caller::Caller;
use xenolith_domain::console::{RING, console};

/// Bytes copied at a time.
const CHUNK: usize = 256;
/// Keys taken in one call.
const MAX_KEYS: u32 = 128;

/// Copies what the console's ring holds: from the caller's position if the ring still has that, else from the oldest byte.
pub fn read(caller: &Caller<'_>, payload: &mut Payload) -> Result<(), Errno> {
    let mut asked: ReadConsole = payload.get();
    // Never more than the ring holds, whatever is written meanwhile.
    let room = asked.count.min(RING as u32);
    let mut from = (asked.incremental != 0).then_some(asked.index);
    let mut done = 0;
    while done < room {
        let mut bytes = [0; CHUNK];
        let wanted = bytes.len().min((room - done) as usize);
        let (count, position) = console().read_back(from, bytes.get_mut(..wanted).unwrap_or_default());
        let place = Caller::element(asked.buffer, done.into())?;
        caller.write_bytes(place, bytes.get(..count).unwrap_or_default())?;
        done += count as u32;
        from = Some(position);
        if count < wanted {
            break;
        }
    }
    if asked.clear != 0 {
        console().clear();
    }
    asked.index = from.unwrap_or(asked.index);
    asked.count = done;
    payload.set(&asked);
    Ok(())
}

/// Presses debug keys, in order; [`debug_keys`](xenolith_domain::debug_keys) says what they show. Each counts once in a call:
/// many of them would keep this CPU for as long as the console takes to print the same again and again.
pub fn press_keys(caller: &Caller<'_>, payload: &Payload) -> Result<(), Errno> {
    let asked: DebugKeys = payload.get();
    let mut pressed = [false; 1 << u8::BITS];
    for index in 0..asked.nr_keys.min(MAX_KEYS) {
        let key = caller.read_element(asked.keys, index.into())?;
        if let Some(before @ false) = pressed.get_mut(usize::from(key)) {
            *before = true;
            caller.hv.press_debug_key(key);
        }
    }
    Ok(())
}
