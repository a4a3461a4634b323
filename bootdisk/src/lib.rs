//! A guest's own kernel: what its boot loader would start, taken from its disk.
//!
//! Layers, of which each uses those before it: [`area`], a range of a disk; [`partitions`]; [`filesystem`], ext2 to ext4
//! and FAT; [`uki`], unified kernel images; [`menu`], what the configurations of boot loaders say; [`find()`], which entry is
//! started and what it takes; [`unpack`], the forms of kernels; [`process`], all of that in a process of its own.
//!
//! Principle: a disk is the word of its guest. Whatever is read from it is bounded, and is read by a process that has
//! nothing but the open image: what a damaged or hostile image can do to the crates that read it ends with that process.

#![forbid(unsafe_code)]

pub mod area;
pub mod filesystem;
pub mod find;
pub mod menu;
pub mod partitions;
pub mod process;
pub mod uki;
pub mod unpack;

#[cfg(test)]
mod tests;

pub use find::find;

/// A text for people, without what a terminal would take for commands, and not longer than a line or two.
pub fn printable(text: &str) -> String {
    const MOST: usize = 200;
    text.chars().take(MOST).map(|char| if char.is_control() { '?' } else { char }).collect()
}
