//! Random bytes for the kernels of domains, made from those that the boot loader left (`rng-seed` of `/chosen`).
//!
//! A Linux without any is slow for minutes, since its random numbers are not ready, and predictable. Each domain gets bytes
//! of its own: what one knows tells it nothing about another's, so the boot loader's bytes themselves go to none.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};

use xenolith_core::types::DomId;

/// Bytes that a domain gets: twice what Linux keys its generator with.
pub const LENGTH: usize = 64;
/// Bytes of a key.
const KEY: usize = 32;

/// The source of the domains' random bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Seed(Option<[u8; KEY]>);

impl Seed {
    /// From what the boot loader left: of any length, all of it counts. None, or nothing in it: no domain gets any.
    pub fn new(found: Option<&[u8]>) -> Seed {
        Seed(found.filter(|bytes| !bytes.is_empty()).map(|bytes| {
            let mut key = [0; KEY];
            for (index, byte) in bytes.iter().enumerate() {
                if let Some(place) = key.get_mut(index % KEY) {
                    *place ^= byte;
                }
            }
            key
        }))
    }

    /// The bytes for a domain, always the same.
    pub fn of(&self, domain: DomId) -> Option<[u8; LENGTH]> {
        let key = self.0?;
        let [low, high] = domain.0.to_le_bytes();
        let nonce = [b'd', b'o', b'm', b'a', b'i', b'n', b' ', b's', b'e', b'e', low, high];
        let mut bytes = [0; LENGTH];
        // The cipher's stream is far longer than this.
        ChaCha20::new(&key.into(), &nonce.into()).try_apply_keystream(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// Its bytes are nobody's to read, in a log neither.
impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if self.0.is_some() { "Seed(..)" } else { "Seed(none)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_domain_has_bytes_of_its_own() {
        let seed = Seed::new(Some(&[7; 32]));
        let bytes = [0, 1, 2, 257].map(|id| seed.of(DomId(id)).unwrap());
        for (index, one) in bytes.iter().enumerate() {
            assert!(!bytes[index + 1..].contains(one));
            assert!(!one.windows(32).any(|part| part == [7; 32]), "the boot loader's own bytes");
        }
        assert_eq!(seed.of(DomId(1)), Some(bytes[1]));
    }

    #[test]
    fn all_of_what_the_boot_loader_left_counts() {
        let of = |bytes: &[u8]| Seed::new(Some(bytes)).of(DomId(1)).unwrap();
        let mut long = [3; 70];
        let first = of(&long);
        long[69] = 4;
        assert_ne!(of(&long), first);
        assert_ne!(of(&[1]), of(&[2]));
    }

    #[test]
    fn nothing_comes_from_nothing() {
        assert_eq!(Seed::new(None).of(DomId(1)), None);
        assert_eq!(Seed::new(Some(&[])).of(DomId(1)), None);
        assert_eq!(alloc::format!("{:?}", Seed::new(Some(&[9; 32]))), "Seed(..)");
    }
}
