//! What a guest says to its private xenstore, message by message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xenstore::DomId;
use xenstore::server::GuestStore;

fuzz_target!(|bytes: &[u8]| {
    let mut store = GuestStore::new(DomId(5), [("domid", "5"), ("control/shutdown", "")]);
    store.feed(bytes);
});
