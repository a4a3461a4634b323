//! The console's focus: the domain that has the input, which is the control domain or one with an emulated UART. Three presses
//! of the switch key in a row (Ctrl-A unless the command line says otherwise) give it to the next of them.

use arrayvec::ArrayVec;

use xenolith_core::types::DomId;

/// Domains besides the control domain that can have the input.
const MAX_DOMAINS: usize = 64;
/// Presses of the switch key in a row that give the input to the next domain.
const PRESSES: u8 = 3;

/// What follows from a byte of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// The domain gets the byte.
    Byte(DomId, u8),
    /// The domain has the input from now on.
    Switched(DomId),
}

/// At most so many [`Typed`] follow from one byte.
pub const MAX_TYPED: usize = PRESSES as usize;

/// Which domain has the input, and which can have it.
#[derive(Debug)]
pub struct Focus {
    /// The switch key's control character; `None`: there is none.
    key: Option<u8>,
    /// Presses of it in a row. Their bytes are kept back until another key comes, for whose domain they were, or the last
    /// press, which consumes them.
    pressed: u8,
    /// The domains that can have the input besides the control domain.
    domains: ArrayVec<DomId, MAX_DOMAINS>,
    /// The domain that has it.
    now: DomId,
    /// The domain that has it where nobody has chosen another: the control domain, or the first of the others on a machine
    /// without one.
    home: DomId,
}

impl Default for Focus {
    fn default() -> Self {
        Focus::new()
    }
}

impl Focus {
    /// The control domain has the input, nobody else wants it, and there is no switch key. All of it is zero, so that the
    /// console need not be in the image's file.
    pub const fn new() -> Self {
        Focus {
            key: None,
            pressed: 0,
            domains: ArrayVec::new_const(),
            now: DomId::CONTROL,
            home: DomId::CONTROL,
        }
    }

    /// Chooses the switch key by its control character; none: the input stays where it is.
    pub fn set_key(&mut self, key: Option<u8>) {
        self.key = key;
    }

    /// The switch key.
    pub fn key(&self) -> Option<u8> {
        self.key
    }

    /// Another domain can have the input. False when there are too many.
    pub fn add(&mut self, domain: DomId) -> bool {
        self.domains.contains(&domain) || self.domains.try_push(domain).is_ok()
    }

    /// A domain is gone. If it had the input, the control domain gets it, or the first of the others if there is
    /// none.
    pub fn remove(&mut self, domain: DomId) {
        self.domains.retain(|other| *other != domain);
        if self.home == domain {
            self.home = self.domains.first().copied().unwrap_or(DomId::CONTROL);
        }
        if self.now == domain {
            self.now = self.home;
        }
    }

    /// There is no control domain: the first of the others has the input.
    pub fn go_home(&mut self) {
        self.home = self.domains.first().copied().unwrap_or(DomId::CONTROL);
        self.now = self.home;
    }

    /// Who has the input.
    pub fn now(&self) -> DomId {
        self.now
    }

    /// Takes a byte of input; returns what follows from it, in order.
    pub fn take(&mut self, byte: u8) -> ArrayVec<Typed, MAX_TYPED> {
        let mut typed = ArrayVec::new();
        if self.domains.is_empty() || self.key != Some(byte) {
            // The key's own bytes were meant for the domain after all.
            let held = core::mem::take(&mut self.pressed);
            let key = self.key.unwrap_or_default();
            typed.extend((0..held).map(|_| Typed::Byte(self.now, key)));
            typed.push(Typed::Byte(self.now, byte));
            return typed;
        }
        self.pressed = self.pressed.saturating_add(1);
        if self.pressed == PRESSES {
            self.pressed = 0;
            self.now = self.next();
            typed.push(Typed::Switched(self.now));
        }
        typed
    }

    /// The control domain, if there is one, then the others in their order, then the control domain again.
    fn next(&self) -> DomId {
        let at = self.domains.iter().position(|domain| *domain == self.now);
        let behind = at.map_or(0, |at| at.saturating_add(1));
        self.domains.get(behind).copied().unwrap_or(self.home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn focus(domains: &[u16]) -> Focus {
        let mut focus = Focus::new();
        focus.set_key(Some(1));
        assert!(domains.iter().all(|&id| focus.add(DomId(id))));
        focus
    }

    fn type_all(focus: &mut Focus, bytes: &[u8]) -> Vec<Typed> {
        bytes.iter().flat_map(|&byte| focus.take(byte)).collect()
    }

    #[test]
    fn three_presses_pass_the_input_round() {
        let mut focus = focus(&[1, 4]);
        let switched = type_all(&mut focus, &[1; 9]);
        assert_eq!(switched, [1, 4, 0].map(|id| Typed::Switched(DomId(id))));
        assert_eq!(type_all(&mut focus, b"\x01\x01\x01x")[1], Typed::Byte(DomId(1), b'x'));
        focus.remove(DomId(1));
        assert_eq!((focus.now(), type_all(&mut focus, b"y")), (DomId(0), vec![Typed::Byte(DomId(0), b'y')]));
    }

    #[test]
    fn fewer_presses_reach_the_domain() {
        let mut focus = focus(&[1]);
        let bytes: Vec<Typed> = b"a\x01\x01b".iter().map(|&byte| Typed::Byte(DomId(0), byte)).collect();
        assert_eq!(type_all(&mut focus, b"a\x01\x01b"), bytes);
    }

    #[test]
    fn another_key_or_none_can_be_chosen() {
        let mut focus = focus(&[1]);
        focus.set_key(Some(0xf));
        assert_eq!(type_all(&mut focus, &[1; 3]).len(), 3);
        assert_eq!(type_all(&mut focus, &[0xf; 3]), [Typed::Switched(DomId(1))]);
        focus.set_key(None);
        assert_eq!(type_all(&mut focus, &[0xf; 3]).len(), 3);
    }

    proptest! {
        #[test]
        fn without_others_the_control_domain_gets_everything(bytes in prop::collection::vec(0u8..4, 0..50)) {
            let expected: Vec<Typed> = bytes.iter().map(|&byte| Typed::Byte(DomId(0), byte)).collect();
            prop_assert_eq!(type_all(&mut focus(&[]), &bytes), expected);
        }

        #[test]
        fn nothing_typed_is_lost_but_the_switch_itself(bytes in prop::collection::vec(0u8..4, 0..80)) {
            let mut focus = focus(&[1, 2]);
            let typed = type_all(&mut focus, &bytes);
            let given = typed.iter().filter(|typed| matches!(typed, Typed::Byte(..))).count();
            let switches = typed.len() - given;
            prop_assert_eq!(given + 3 * switches + usize::from(focus.pressed), bytes.len());
        }
    }

    #[test]
    fn without_a_control_domain_the_first_of_the_others_has_the_input() {
        let mut focus = Focus::new();
        focus.set_key(Some(1));
        focus.add(DomId(1));
        focus.add(DomId(2));
        focus.go_home();
        assert_eq!(focus.now(), DomId(1));
        let mut switch = || {
            (0..PRESSES).for_each(|_| drop(focus.take(1)));
            focus.now()
        };
        assert_eq!([switch(), switch(), switch()], [DomId(2), DomId(1), DomId(2)]);
        focus.remove(DomId(1));
        assert_eq!(focus.now(), DomId(2));
        focus.remove(DomId(2));
        assert_eq!(focus.now(), DomId::CONTROL);
    }
}
