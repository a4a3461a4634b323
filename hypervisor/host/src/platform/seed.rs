//! Random bytes for the kernels of domains, made from those that the boot loader left (`rng-seed` and `kaslr-seed` of
//! `/chosen`).
//!
//! A Linux without any is slow for minutes, since its random numbers are not ready, and predictable: without `kaslr-seed` it
//! is where it was linked to. Each domain gets bytes of its own: what one knows tells it nothing about another's, so the boot
//! loader's bytes themselves go to none.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};

use xenolith_core::types::DomId;

/// Bytes that a domain gets: twice what Linux keys its generator with.
pub const LENGTH: usize = 64;
/// Bytes of a key.
const KEY: usize = 32;

/// The source of the domains' random bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Seed {
    key: Option<[u8; KEY]>,
    /// Whether `rng-seed` is in the key. The 64 bits of `kaslr-seed` alone are no seed of a generator, which Linux would take
    /// for a full one.
    has_rng_seed: bool,
}

impl Seed {
    /// From what the boot loader left: of any length, all of it counts. None, or nothing but zeros, which is what is left of a
    /// seed that somebody has used: no domain gets any.
    pub fn new(rng_seed: Option<&[u8]>, kaslr_seed: Option<&[u8]>) -> Seed {
        let [rng_seed, kaslr_seed] = [rng_seed, kaslr_seed]
            .map(|bytes| bytes.unwrap_or_default())
            .map(|bytes| if bytes.iter().all(|&byte| byte == 0) { &[] } else { bytes });
        let mut key = [0; KEY];
        for (index, byte) in rng_seed.iter().chain(kaslr_seed).enumerate() {
            if let Some(place) = key.get_mut(index % KEY) {
                *place ^= byte;
            }
        }
        let has_rng_seed = !rng_seed.is_empty();
        Seed { key: (has_rng_seed || !kaslr_seed.is_empty()).then_some(key), has_rng_seed }
    }

    /// The `rng-seed` of a domain, always the same.
    pub fn of(&self, domain: DomId) -> Option<[u8; LENGTH]> {
        self.stream(*b"see", domain).filter(|_| self.has_rng_seed)
    }

    /// The `kaslr-seed` of a domain, always the same.
    pub fn kaslr(&self, domain: DomId) -> Option<u64> {
        self.stream(*b"pla", domain).map(u64::from_le_bytes)
    }

    /// The bytes for one use of a domain.
    fn stream<const N: usize>(&self, [a, b, c]: [u8; 3], domain: DomId) -> Option<[u8; N]> {
        let [low, high] = domain.0.to_le_bytes();
        let nonce = [b'd', b'o', b'm', b'a', b'i', b'n', b' ', a, b, c, low, high];
        let mut bytes = [0; N];
        // The cipher's stream is far longer than this.
        ChaCha20::new(&self.key?.into(), &nonce.into()).try_apply_keystream(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// Its bytes are nobody's to read, in a log neither.
impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if self.key.is_some() { "Seed(..)" } else { "Seed(none)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_domain_has_bytes_of_its_own() {
        let seed = Seed::new(Some(&[7; 32]), None);
        let bytes = [0, 1, 2, 257].map(|id| seed.of(DomId(id)).unwrap());
        let places = [0, 1, 2, 257].map(|id| seed.kaslr(DomId(id)).unwrap());
        for (index, one) in bytes.iter().enumerate() {
            assert!(!bytes[index + 1..].contains(one));
            assert!(!one.windows(32).any(|part| part == [7; 32]), "the boot loader's own bytes");
            assert!(!places[index + 1..].contains(&places[index]));
            let place = places[index].to_le_bytes();
            assert!(!one.windows(8).any(|part| part == place), "the place of the kernel, in other bytes");
        }
        assert_eq!((seed.of(DomId(1)), seed.kaslr(DomId(1))), (Some(bytes[1]), Some(places[1])));
    }

    #[test]
    fn all_of_what_the_boot_loader_left_counts() {
        let of = |bytes: &[u8]| Seed::new(Some(bytes), None).of(DomId(1)).unwrap();
        let mut long = [3; 70];
        let first = of(&long);
        long[69] = 4;
        assert_ne!(of(&long), first);
        assert_ne!(of(&[1]), of(&[2]));
        let both = |kaslr: u8| Seed::new(Some(&[5; 32]), Some(&[kaslr; 8]));
        assert_ne!(both(1).of(DomId(1)), both(2).of(DomId(1)));
        assert_ne!(both(1).kaslr(DomId(1)), both(2).kaslr(DomId(1)));
    }

    #[test]
    fn nothing_comes_from_nothing() {
        for found in [None, Some(&[][..]), Some(&[0; 8])] {
            let seed = Seed::new(found, found);
            assert_eq!((seed.of(DomId(1)), seed.kaslr(DomId(1))), (None, None));
        }
        assert_eq!(alloc::format!("{:?}", Seed::new(Some(&[9; 32]), None)), "Seed(..)");
    }

    #[test]
    fn a_place_for_a_kernel_is_no_seed_of_a_generator() {
        let seed = Seed::new(None, Some(&[9; 8]));
        assert_eq!(seed.of(DomId(1)), None);
        assert!(seed.kaslr(DomId(1)).is_some_and(|place| place != u64::from_ne_bytes([9; 8])));
    }
}
