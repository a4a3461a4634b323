//! Where the machine's memory has gone, told once at boot.

use core::fmt;

use super::frames::Frames;
use xenolith_core::types::PAGE_SHIFT;

/// The machine's RAM by who has it, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    total: u64,
    domains: u64,
    image: u64,
    promised: u64,
    free: u64,
}

impl Account {
    /// Draws it up. `domains`: pages of RAM that domains own; `image`: pages of the image's text and data.
    pub fn new(frames: &Frames, domains: u64, image: u64) -> Self {
        let (free, promised) = (frames.available_frames(), frames.promised_frames());
        Account { total: frames.total(), domains, image, promised, free }
    }

    /// What the hypervisor keeps beside its text and data: all that is nobody else's.
    pub fn own(&self) -> u64 {
        let others = [self.domains, self.image, self.promised, self.free];
        self.total.saturating_sub(others.iter().sum())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |pages: u64| pages.saturating_mul(1 << (PAGE_SHIFT - 10));
        write!(
            f,
            "memory: {} KiB; domains: {} KiB, text and data: {} KiB, kept beside it: {} KiB, \
             promised to domains: {} KiB, free: {} KiB",
            kib(self.total),
            kib(self.domains),
            kib(self.image),
            kib(self.own()),
            kib(self.promised),
            kib(self.free)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nobody_else_s_is_ours() {
        let account = Account { total: 1000, domains: 500, image: 100, promised: 30, free: 320 };
        assert_eq!(account.own(), 50);
        let text = "memory: 4000 KiB; domains: 2000 KiB, text and data: 400 KiB, kept beside it: 200 KiB, \
                    promised to domains: 120 KiB, free: 1280 KiB";
        assert_eq!(account.to_string(), text);
    }
}
