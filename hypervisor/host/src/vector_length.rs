//! How long the vectors of SVE are to be that a domain has, as Xen's options and device tree say it.

/// The most bits, by the architecture.
const MOST_BITS: u32 = 2048;
/// Lengths are multiples of this.
const GRANULE_BITS: u32 = 128;

/// A length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorLength {
    /// The longest that the machine has.
    Longest,
    /// So many granules of 128 bits, from 1 to 16.
    Granules(u8),
}

impl VectorLength {
    /// Of so many bits. `None`: there are no such vectors.
    pub fn of_bits(bits: u32) -> Option<VectorLength> {
        let is_length = (GRANULE_BITS..=MOST_BITS).contains(&bits) && bits.is_multiple_of(GRANULE_BITS);
        let granules = u8::try_from(bits / GRANULE_BITS).ok()?;
        is_length.then_some(VectorLength::Granules(granules))
    }

    /// In granules, where the machine has at most `longest` (0: it has no SVE). `None`: it has none that are so long.
    pub fn granules(self, longest: u8) -> Option<u8> {
        let granules = match self {
            VectorLength::Longest => longest,
            VectorLength::Granules(granules) => granules,
        };
        (1..=longest).contains(&granules).then_some(granules)
    }
}

#[cfg(test)]
mod tests {
    use super::VectorLength::{self, *};

    #[test]
    fn lengths_are_multiples_of_128_bits() {
        let of_bits = VectorLength::of_bits;
        assert_eq!((of_bits(128), of_bits(2048)), (Some(Granules(1)), Some(Granules(16))));
        for bits in [0, 1, 64, 192, 2049, 2176, u32::MAX] {
            assert_eq!(of_bits(bits), None, "{bits}");
        }
    }

    #[test]
    fn no_more_than_the_machine_has() {
        assert_eq!((Longest.granules(4), Longest.granules(0)), (Some(4), None));
        assert_eq!(
            (Granules(4).granules(4), Granules(5).granules(4), Granules(1).granules(0)),
            (Some(4), None, None)
        );
    }
}
