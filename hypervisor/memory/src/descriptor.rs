//! How a CPU writes down what a slot of a stage-2 table holds: the one thing about tables that differs between
//! architectures whose tables have 512 slots of 64 bits.
//!
//! The format is made of constants, so that walking a table needs no trust in whoever implements it: a word that is read
//! twice means the same thing twice.

use crate::map_kind::MapKind;

/// A format of 64-bit descriptors. It is a type's and not a value's: each walk is compiled for its format.
///
/// A word whose low 12 bits are zero holds nothing, in every format: so are table pages that nobody uses linked to one
/// another.
pub trait Descriptor {
    /// Where a frame's address stands. It stands there as it is, bit for bit.
    const ADDRESS: u64;
    /// A word with none of these bits holds nothing.
    const VALID: u64;
    /// The bits that tell a table from a leaf, above the last level.
    const TABLE_MASK: u64;
    /// All that a word for a table has beside the address.
    const TABLE: u64;
    /// What a leaf above the last level has beside address and attributes.
    const BLOCK: u64;
    /// What a leaf of the last level has beside address and attributes.
    const PAGE: u64;

    /// The bits for a mapping of this kind: type of memory, rights, and what [`Self::kind`] needs.
    fn attributes(kind: MapKind) -> u64;

    /// The kind that a leaf was made for. A word that [`Self::attributes`] has no part in counts as a strict device, which
    /// nobody touches or frees.
    fn kind(word: u64) -> MapKind;
}
