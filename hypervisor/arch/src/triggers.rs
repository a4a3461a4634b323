//! How shared interrupts are triggered: the one kind of an interrupt controller's registers in which several interrupts share a
//! word that is written as a whole. The interrupts may be of different domains, each of which changes its own under its own lock.

use xenolith_core::sync::Mutex;

/// The words of triggers of a distributor.
pub trait TriggerWords {
    /// The word with this number (IHI 0069, `GICD_ICFGR<n>`: 16 interrupts, two bits each, of which the upper says "edge").
    fn read(&self, n: u32) -> u32;

    /// Writes it.
    fn write(&self, n: u32, word: u32);
}

/// Whose turn it is to change a word.
#[derive(Debug, Default)]
pub struct Triggers(Mutex<Turn>);

/// The holder of this changes words.
#[derive(Debug, Default)]
struct Turn;

impl Triggers {
    /// Nobody changes a word.
    pub const fn new() -> Self {
        Triggers(Mutex::new(Turn))
    }

    /// Says whether the interrupt with this number is edge-triggered, and nothing of others. The caller has disabled it: to change
    /// the trigger of one that is enabled is UNPREDICTABLE (IHI 0069, GICD_ICFGR).
    pub fn set(&self, words: &impl TriggerWords, intid: u32, edge: bool) {
        let (n, bit) = place(intid);
        let _turn = self.0.lock();
        let others = words.read(n) & !bit;
        words.write(n, if edge { others | bit } else { others });
    }
}

/// Whether an interrupt is edge-triggered.
pub fn is_edge(words: &impl TriggerWords, intid: u32) -> bool {
    let (n, bit) = place(intid);
    words.read(n) & bit != 0
}

/// The word that an interrupt is in, and its bit.
fn place(intid: u32) -> (u32, u32) {
    (intid / 16, 2 << (intid % 16 * 2))
}

#[cfg(test)]
mod interleavings;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    /// Words that are slow, so that others come between a read and a write.
    #[derive(Default)]
    struct Slow([AtomicU32; 4]);

    impl TriggerWords for Slow {
        fn read(&self, n: u32) -> u32 {
            let word = self.0[n as usize].load(Ordering::Relaxed);
            thread::yield_now();
            word
        }

        fn write(&self, n: u32, word: u32) {
            self.0[n as usize].store(word, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_interrupt_has_its_bit() {
        let (triggers, words) = (Triggers::new(), Slow::default());
        triggers.set(&words, 33, true);
        assert_eq!(words.0.each_ref().map(|word| word.load(Ordering::Relaxed)), [0, 0, 0b1000, 0]);
        assert!(is_edge(&words, 33) && !is_edge(&words, 32));
        triggers.set(&words, 33, false);
        assert!(!is_edge(&words, 33));
    }

    #[test]
    fn neighbours_in_a_word_do_not_undo_each_other() {
        const ROUNDS: u32 = 2_000;
        let (triggers, words) = (Triggers::new(), Slow::default());
        thread::scope(|scope| {
            for intid in 32..36 {
                let (triggers, words) = (&triggers, &words);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let edge = round % 3 == 0;
                        triggers.set(words, intid, edge);
                        assert_eq!(is_edge(words, intid), edge, "interrupt {intid}, round {round}");
                    }
                });
            }
        });
    }
}
