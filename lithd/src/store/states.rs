//! What is told to the tools, each time as one change that happens wholly or not at all, and only to a device that is
//! there: a key that was written a moment too late would make a device again that the tools have taken away.

use xenstore::{Client, Error, Nodes};

use super::plan::{CLOSED, CLOSING, INIT_WAIT, INITIALISING};

/// The key that bears our mark: it says for people how the serving goes.
pub const MARK: &str = "lithd";

/// Says that the device at `path` is served, if the tools still wait for that.
///
/// # Errors
/// The store refuses, or is lost.
pub fn announce(store: &mut Client, path: &str, text: &str) -> Result<(), Error> {
    change(store, path, |state| (state == INITIALISING).then_some(INIT_WAIT), text)
}

/// Says that the device at `path` is served no more, unless the tools have it end anyway.
///
/// # Errors
/// The store refuses, or is lost.
pub fn abandon(store: &mut Client, path: &str, text: &str) -> Result<(), Error> {
    change(store, path, |state| (state < CLOSING).then_some(CLOSED), text)
}

/// Takes the keys of the device at `path` away, if the tools still wait for its beginning: so they need not wait longer.
///
/// # Errors
/// The store refuses, or is lost.
pub fn refuse(store: &mut Client, path: &str) -> Result<(), Error> {
    store.transaction(|store| match state(store, path)? {
        Some(INITIALISING) => store.remove(path),
        _ => Ok(()),
    })
}

/// Says that the device at `path` has ended. `removes`: the tools run elsewhere, and leave it to its backend's domain to
/// take the keys away.
///
/// # Errors
/// The store refuses, or is lost.
pub fn close(store: &mut Client, path: &str, removes: bool) -> Result<(), Error> {
    store.transaction(|store| {
        let Some(state) = state(store, path)? else { return Ok(()) };
        let is_online = store.find_text(&format!("{path}/online"))?.as_deref() == Some("1");
        if removes && !is_online {
            store.remove(path)
        } else if state == CLOSING {
            store.write(&format!("{path}/state"), CLOSED.to_string().as_bytes())
        } else {
            Ok(())
        }
    })
}

/// Writes the state that follows from the present one, if any does, with a text for people.
fn change(
    store: &mut Client,
    path: &str,
    next: impl Fn(u32) -> Option<u32>,
    text: &str,
) -> Result<(), Error> {
    store.transaction(|store| {
        if let Some(next) = state(store, path)?.and_then(&next) {
            // In one transaction with the state: who sees the device served finds the mark, by which the next lithd
            // knows it.
            store.write(&format!("{path}/{MARK}"), text.as_bytes())?;
            store.write(&format!("{path}/state"), next.to_string().as_bytes())?;
        }
        Ok(())
    })
}

/// The state of a device, 0 for what is none; `None`: there is no such device.
fn state(store: &mut impl Nodes, path: &str) -> Result<Option<u32>, Error> {
    let text = store.find_text(&format!("{path}/state"))?;
    Ok(text.map(|text| number(&text)))
}

/// The number of a state; 0 for what is none.
pub fn number(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}
