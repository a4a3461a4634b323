//! Who may use a node.

use std::fmt;
use std::str::FromStr;

use xenolith_abi::DomId;

/// What a domain may do with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// Read it.
    Read,
    /// Write it.
    Write,
    /// Both.
    Both,
}

impl Access {
    /// Whether it includes reading.
    pub fn reads(self) -> bool {
        matches!(self, Access::Read | Access::Both)
    }

    /// Whether it includes writing.
    pub fn writes(self) -> bool {
        matches!(self, Access::Write | Access::Both)
    }

    fn letter(self) -> char {
        match self {
            Access::None => 'n',
            Access::Read => 'r',
            Access::Write => 'w',
            Access::Both => 'b',
        }
    }

    fn from_letter(letter: char) -> Option<Access> {
        match letter {
            'n' => Some(Access::None),
            'r' => Some(Access::Read),
            'w' => Some(Access::Write),
            'b' => Some(Access::Both),
            _ => None,
        }
    }
}

/// The permissions of a node. Its owner, and the domain that the store belongs to, may do everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// The domain that owns it.
    pub owner: DomId,
    /// What a domain that is not named may do.
    pub others: Access,
    /// What the named domains may do.
    pub named: Vec<(DomId, Access)>,
}

/// A text that is no permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no permission of a node")]
pub struct NoPermission(String);

impl Permissions {
    /// A domain's own, of no use to others.
    pub fn private(owner: DomId) -> Permissions {
        Permissions { owner, others: Access::None, named: Vec::new() }
    }

    /// What a domain may do, other than the one that the store belongs to.
    pub fn of(&self, domain: DomId) -> Access {
        if domain == self.owner {
            return Access::Both;
        }
        let named = self.named.iter().find(|(name, _)| *name == domain);
        named.map_or(self.others, |&(_, access)| access)
    }

    /// The words of a message.
    pub(crate) fn to_words(&self) -> Vec<String> {
        let first = (self.owner, self.others);
        let all = std::iter::once(&first).chain(&self.named);
        all.map(|(domain, access)| format!("{}{}", access.letter(), domain.0)).collect()
    }

    /// Reads the words of a message, of which the first is the owner's.
    ///
    /// # Errors
    /// [`NoPermission`]
    pub(crate) fn from_words<'a>(words: impl Iterator<Item = &'a str>) -> Result<Permissions, NoPermission> {
        let mut words = words.map(word);
        let (owner, others) = words.next().ok_or_else(|| NoPermission(String::new()))??;
        Ok(Permissions { owner, others, named: words.collect::<Result<_, _>>()? })
    }
}

/// A letter and a domain's number.
fn word(text: &str) -> Result<(DomId, Access), NoPermission> {
    let read = || {
        let mut letters = text.chars();
        let access = Access::from_letter(letters.next()?)?;
        let digits = letters.as_str();
        // A sign is no digit.
        let domain = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
        Some((DomId(domain), access))
    };
    read().ok_or_else(|| NoPermission(text.to_owned()))
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_words().join(","))
    }
}

impl FromStr for Permissions {
    type Err = NoPermission;

    fn from_str(text: &str) -> Result<Permissions, NoPermission> {
        Permissions::from_words(text.split(','))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_owner_may_everything_and_others_what_is_said() {
        let permissions: Permissions = "n3,r5,b7".parse().unwrap();
        assert_eq!(permissions.of(DomId(3)), Access::Both);
        assert_eq!(permissions.of(DomId(5)), Access::Read);
        assert_eq!(permissions.of(DomId(4)), Access::None);
        assert!(
            permissions.of(DomId(7)).reads()
                && permissions.of(DomId(7)).writes()
                && !permissions.of(DomId(5)).writes()
        );
        for bad in ["", "n", "x3", "n+3", "n65536", "n3,", "n3,,r1", "3n"] {
            assert!(bad.parse::<Permissions>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn permissions_survive_their_text(
            owner: u16,
            others in 0..4usize,
            named in prop::collection::vec((any::<u16>(), 0..4usize), 0..5),
        ) {
            let access = |at: usize| [Access::None, Access::Read, Access::Write, Access::Both][at];
            let named = named.into_iter().map(|(domain, at)| (DomId(domain), access(at))).collect();
            let permissions = Permissions { owner: DomId(owner), others: access(others), named };
            prop_assert_eq!(permissions.to_string().parse(), Ok(permissions));
        }

        #[test]
        fn no_text_is_too_much(text: String) {
            if let Ok(permissions) = text.parse::<Permissions>() {
                prop_assert!(permissions.to_string().parse() == Ok(permissions));
            }
        }
    }
}
