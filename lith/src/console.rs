//! The backend's end of a guest's console (Xen, `public/io/console.h`): two rings in one page.
//!
//! What the backend has read and written is counted here and not in the page, which the guest can change. The guest's
//! counts are believed as far as they fit the ring.

#[cfg(test)]
mod tests;

use xenstore::page::{SharedPage, read_ring, write_ring};

/// The ring to the guest: offset and bytes.
const IN: (usize, u32) = (0, 1024);
/// The ring from the guest.
const OUT: (usize, u32) = (1024, 2048);
const IN_CONS: usize = 3072;
const IN_PROD: usize = 3076;
const OUT_CONS: usize = 3080;
const OUT_PROD: usize = 3084;

/// The state of both rings.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConsoleRing {
    out_cons: u32,
    in_prod: u32,
}

impl ConsoleRing {
    /// The rings of a guest that another process has served: where that was stands in the page, for the guest. One that has
    /// written something else there has only itself to blame for what it reads and prints.
    pub fn resume(page: &dyn SharedPage) -> ConsoleRing {
        ConsoleRing { out_cons: page.load(OUT_CONS), in_prod: page.load(IN_PROD) }
    }

    /// Takes what the guest has written, at most one ring full, and adds it to `output`. Returns whether the guest is to
    /// be told that there is room again.
    pub fn drain(&mut self, page: &dyn SharedPage, output: &mut Vec<u8>) -> bool {
        let produced = page.load(OUT_PROD);
        let count = produced.wrapping_sub(self.out_cons);
        if count == 0 {
            return false;
        }
        // A count that no ring can hold says nothing about which bytes are meant: none are.
        if count <= OUT.1 {
            let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
            read_ring(page, OUT, self.out_cons, &mut bytes);
            output.append(&mut bytes);
        }
        self.out_cons = produced;
        page.store(OUT_CONS, produced);
        true
    }

    /// Gives the guest as much of `input` as there is room for; returns the number of bytes. Unless that
    /// is 0, the guest is to be told.
    pub fn feed(&mut self, page: &dyn SharedPage, input: &[u8]) -> usize {
        let waiting = self.in_prod.wrapping_sub(page.load(IN_CONS));
        let room = usize::try_from(IN.1.saturating_sub(waiting)).unwrap_or(0);
        let (now, _) = input.split_at(input.len().min(room));
        if now.is_empty() {
            return 0;
        }
        write_ring(page, IN, self.in_prod, now);
        self.in_prod = self.in_prod.wrapping_add(u32::try_from(now.len()).unwrap_or(0));
        page.store(IN_PROD, self.in_prod);
        now.len()
    }
}
