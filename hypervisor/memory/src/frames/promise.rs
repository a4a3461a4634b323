//! Frames that are kept for what was promised: whoever has a promise gets its frames one by one, whatever others have taken
//! meanwhile.
//!
//! Books alone: which frames are free is the allocator's knowledge.

/// What was promised, and what has been taken of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promises {
    promised: u64,
    taken: u64,
}

/// There are not so many frames left to promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// How many there are.
    pub left: u64,
}

impl Promises {
    /// Frames that must stay free for those to whom they were promised.
    pub fn kept(self) -> u64 {
        self.promised.saturating_sub(self.taken)
    }

    /// Of so many free frames those that nobody was promised.
    pub fn left(self, free: u64) -> u64 {
        free.saturating_sub(self.kept())
    }

    /// Promises so many of the `free` frames.
    pub fn promise(&mut self, pages: u64, free: u64) -> Result<(), Short> {
        let left = self.left(free);
        if pages > left {
            return Err(Short { left });
        }
        self.promised = self.promised.saturating_add(pages);
        Ok(())
    }

    /// A promise ends, and what was taken for it has been given back. False if there was none of this size.
    pub fn end(&mut self, pages: u64) -> bool {
        let Some(promised) = self.promised.checked_sub(pages).filter(|&left| left >= self.taken) else {
            return false;
        };
        self.promised = promised;
        true
    }

    /// A frame is taken. False when none is promised any more.
    pub fn take(&mut self) -> bool {
        let some = self.kept() > 0;
        self.taken = self.taken.saturating_add(some.into());
        some
    }

    /// A frame comes back, and is kept again. False when none was taken.
    pub fn give_back(&mut self) -> bool {
        let some = self.taken > 0;
        self.taken = self.taken.saturating_sub(some.into());
        some
    }

    /// A frame is taken for good: it will come back as anybody's. False when none is promised any more.
    pub fn spend(&mut self) -> bool {
        let some = self.kept() > 0;
        self.promised = self.promised.saturating_sub(some.into());
        some
    }
}

#[cfg(any(test, kani))]
mod proofs {
    use super::*;

    xenolith_core::proofs! {
        // No more is promised than is free, whatever numbers are named.
        fn a_promise_is_kept_or_refused(promised: u64, taken: u64, pages: u64, free: u64) {
            let mut promises = Promises { promised, taken };
            let before = promises;
            match promises.promise(pages, free) {
                Ok(()) => {
                    assert!(pages <= before.left(free));
                    assert!(promises.kept() <= before.kept().saturating_add(pages));
                }
                Err(short) => assert!(short.left < pages && promises == before),
            }
        }

        fn what_is_taken_comes_back(promised: u64, taken: u64) {
            let mut promises = Promises { promised, taken };
            let before = promises;
            assert_eq!(promises.take(), before.kept() > 0);
            if before.kept() > 0 {
                assert!(promises.kept() == before.kept() - 1 && promises.give_back());
            }
            assert_eq!(promises, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What domains and others do to a machine's frames.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A domain is made with a promise.
        Create(u64),
        /// One of the domains takes a frame of its promise.
        Take(usize),
        /// One of them takes one for good.
        Spend(usize),
        /// One of them gives one back.
        GiveBack(usize),
        /// One of them ends, and gives back all that it has taken.
        Destroy(usize),
        /// Somebody without a promise takes frames.
        Other(u64),
        /// And gives some back.
        OtherBack(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u64..40).prop_map(Step::Create),
            any::<usize>().prop_map(Step::Take),
            any::<usize>().prop_map(Step::Take),
            any::<usize>().prop_map(Step::Spend),
            any::<usize>().prop_map(Step::GiveBack),
            any::<usize>().prop_map(Step::Destroy),
            (0_u64..40).prop_map(Step::Other),
            (0_u64..40).prop_map(Step::OtherBack),
        ]
    }

    proptest! {
        #[test]
        fn the_books_are_exact_and_a_promise_is_kept(steps in prop::collection::vec(step(), 0..200)) {
            const ALL: u64 = 100;
            let mut promises = Promises::default();
            // (promised, taken) of each domain, and what others have.
            let (mut domains, mut others) = (Vec::<(u64, u64)>::new(), 0);
            for step in steps {
                let taken: u64 = domains.iter().map(|domain| domain.1).sum();
                let free = ALL - taken - others;
                let count = domains.len().max(1);
                match step {
                    Step::Create(pages) => match promises.promise(pages, free) {
                        Ok(()) => domains.push((pages, 0)),
                        Err(short) => prop_assert!(short.left < pages && short.left == promises.left(free)),
                    },
                    Step::Take(which) => if let Some(domain) = domains.get_mut(which % count).filter(|domain| domain.1 < domain.0) {
                        // Whoever has a promise finds a frame, always.
                        prop_assert!(promises.take() && free > 0);
                        domain.1 += 1;
                    },
                    Step::Spend(which) => if let Some(domain) = domains.get_mut(which % count).filter(|domain| domain.1 < domain.0) {
                        prop_assert!(promises.spend() && free > 0);
                        domain.0 -= 1;
                        others += 1;
                    },
                    Step::GiveBack(which) => if let Some(domain) = domains.get_mut(which % count).filter(|domain| domain.1 > 0) {
                        prop_assert!(promises.give_back());
                        domain.1 -= 1;
                    },
                    Step::Destroy(which) => if !domains.is_empty() {
                        let (promised, taken) = domains.swap_remove(which % count);
                        for _ in 0..taken {
                            prop_assert!(promises.give_back());
                        }
                        prop_assert!(promises.end(promised));
                    },
                    Step::Other(pages) => if pages <= promises.left(free) {
                        others += pages;
                    },
                    Step::OtherBack(pages) => others -= pages.min(others),
                }
                let (promised, taken) = domains.iter().fold((0, 0), |sum, domain| (sum.0 + domain.0, sum.1 + domain.1));
                prop_assert_eq!(promises, Promises { promised, taken });
                prop_assert_eq!(promises.kept(), promised - taken);
                prop_assert!(promised + others <= ALL, "more was promised than there is");
            }
            for (promised, taken) in domains {
                (0..taken).for_each(|_| assert!(promises.give_back()));
                prop_assert!(promises.end(promised));
            }
            prop_assert_eq!(promises, Promises::default());
        }
    }

    #[test]
    fn what_was_never_promised_is_neither_taken_nor_ended() {
        let mut promises = Promises::default();
        assert!(!promises.take() && !promises.spend() && !promises.give_back() && !promises.end(1));
        promises.promise(2, 5).unwrap();
        assert!(promises.take() && promises.take() && !promises.take());
        assert!(!promises.end(2), "its frames are not back");
        assert_eq!(promises.promise(4, 3), Err(Short { left: 3 }));
    }
}
