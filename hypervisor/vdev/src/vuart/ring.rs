//! The page by which a UART's bytes go to a program in another domain, Xen's `xenconsoled`, and come from there.
//!
//! The guest and that domain can both write the page. Our own positions are our own, and those in the page copies; of the
//! others' positions one that cannot be makes its ring look empty, or full.

use xenolith_abi::console::ring::{IN, IN_READ, IN_SIZE, IN_WRITTEN, OUT, OUT_READ, OUT_SIZE, OUT_WRITTEN};

use xenolith_memory::page::{Page, SharedFrame};

/// The page. `F` keeps it allocated.
#[derive(Debug)]
pub struct Ring<F> {
    frame: F,
    /// How much of what was typed the guest has read.
    read: u32,
    /// How much the guest has written.
    written: u32,
    /// Something has happened that the other end is to hear of.
    news: bool,
}

impl<F: SharedFrame> Ring<F> {
    /// Goes on where the page says that we are.
    pub fn new(frame: F) -> Self {
        let page = frame.page();
        Ring { read: position(page, IN_READ), written: position(page, OUT_WRITTEN), frame, news: false }
    }

    /// Bytes that were typed and that the guest has not read.
    pub fn waiting(&self) -> u32 {
        let waiting = position(self.frame.page(), IN_WRITTEN).wrapping_sub(self.read);
        if waiting > IN_SIZE { 0 } else { waiting }
    }

    /// The oldest of them.
    pub fn take(&mut self) -> Option<u8> {
        let waiting = self.waiting();
        if waiting == 0 {
            return None;
        }
        let page = self.frame.page();
        let byte = page.byte(IN + (self.read % IN_SIZE) as usize)?.load();
        self.read = self.read.wrapping_add(1);
        page.word32(IN_READ)?.store(self.read);
        // Whoever waits for room hears of it when there is much.
        self.news |= waiting == 1;
        Some(byte)
    }

    /// Bytes that the guest can still write.
    pub fn room(&self) -> u32 {
        OUT_SIZE.saturating_sub(self.written.wrapping_sub(position(self.frame.page(), OUT_READ)))
    }

    /// A byte that the guest writes. What finds no room is dropped.
    pub fn push(&mut self, byte: u8) {
        let page = self.frame.page();
        let place = page.byte(OUT + (self.written % OUT_SIZE) as usize);
        let (Some(place), Some(position)) = (place.filter(|_| self.room() > 0), page.word32(OUT_WRITTEN))
        else {
            return;
        };
        place.store(byte);
        self.written = self.written.wrapping_add(1);
        position.store(self.written);
        self.news = true;
    }

    /// Whether the other end is to be notified, once.
    pub fn take_news(&mut self) -> bool {
        core::mem::take(&mut self.news)
    }

    /// The page back.
    pub fn into_frame(self) -> F {
        self.frame
    }
}

/// A position in the page.
fn position(page: Page, offset: usize) -> u32 {
    page.word32(offset).map_or(0, |word| word.load())
}
