//! The table of function names that the hypervisor's back-trace reads.
//!
//! All numbers are 32-bit, little-endian. First the magic and the number of entries; then the entries, each the
//! function's distance from the image's start and its name's from the table's start, in ascending order of the first;
//! then the names, each closed by a zero byte.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSymbol, SymbolKind};

use super::names::{readable, without_arguments};

/// `XSYM`, the first number of the table.
const MAGIC: u32 = 0x4d59_5358;
const HEAD: usize = 8;
const ENTRY: usize = 8;
/// Names are cut no shorter than this.
const SHORTEST_CUT: usize = 24;

/// Functions by their distance from the image's start.
pub type Functions = BTreeMap<u32, String>;

/// The functions of an ELF file whose image starts at `base`.
///
/// Of several names of one address, the first in the alphabet is taken, so that equal builds give equal tables.
pub fn functions(elf: &ElfFile64<'_, LittleEndian>, base: u64) -> Functions {
    let mut functions = Functions::new();
    for symbol in elf.symbols() {
        let offset = symbol.address().checked_sub(base).and_then(|offset| u32::try_from(offset).ok());
        let (Some(offset), Ok(name)) = (offset, symbol.name()) else { continue };
        if symbol.kind() != SymbolKind::Text
            || symbol.is_undefined()
            || name.is_empty()
            || name.starts_with('$')
        {
            continue;
        }
        let name = readable(name);
        let known = functions.entry(offset).or_insert_with(|| name.clone());
        if name < *known {
            *known = name;
        }
    }
    functions
}

/// The table, at most `room` bytes long; the longest names are shortened first where that is needed.
///
/// # Errors
/// Even short names do not fit.
pub fn table(mut functions: Functions, room: usize) -> Result<Vec<u8>> {
    shorten(&mut functions, room)?;
    let mut names_at = HEAD + ENTRY * functions.len();
    let mut table = Vec::with_capacity(room);
    let count = u32::try_from(functions.len()).context("too many functions")?;
    table.extend(MAGIC.to_le_bytes());
    table.extend(count.to_le_bytes());
    for (offset, name) in &functions {
        table.extend(offset.to_le_bytes());
        table.extend(u32::try_from(names_at)?.to_le_bytes());
        names_at += name.len() + 1;
    }
    for name in functions.values() {
        table.extend(name.bytes());
        table.push(0);
    }
    Ok(table)
}

fn size_of(functions: &Functions) -> usize {
    HEAD + functions.values().map(|name| ENTRY + name.len() + 1).sum::<usize>()
}

/// Drops generic arguments, then cuts names, from the longest name down, until the table fits.
fn shorten(functions: &mut Functions, room: usize) -> Result<()> {
    let mut size = size_of(functions);
    for shorter in [without_arguments, cut] {
        if size <= room {
            return Ok(());
        }
        let mut names: Vec<&mut String> = functions.values_mut().collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        for name in names {
            if size <= room {
                return Ok(());
            }
            let short = shorter(name);
            size -= name.len() - short.len();
            *name = short;
        }
    }
    if size > room {
        bail!(
            "the table of symbols needs {size} bytes and the image reserves {room}: \
             raise __symbols_size in hypervisor/image/image.ld"
        );
    }
    Ok(())
}

/// The end of a name, which says most.
fn cut(name: &str) -> String {
    let from = name.len().saturating_sub(SHORTEST_CUT);
    let from = (from..name.len()).find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    name.get(from..).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a table as the hypervisor does.
    fn read(table: &[u8]) -> Vec<(u32, String)> {
        let number = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap());
        assert_eq!(number(0), MAGIC);
        let entry = |index: usize| {
            let name = number(HEAD + ENTRY * index + 4) as usize;
            let end = name + table[name..].iter().position(|byte| *byte == 0).unwrap();
            (number(HEAD + ENTRY * index), String::from_utf8(table[name..end].to_vec()).unwrap())
        };
        (0..number(4) as usize).map(entry).collect()
    }

    #[test]
    fn long_names_lose_their_arguments_before_short_ones() {
        let functions =
            Functions::from([(0, "a::f<b>".to_owned()), (16, "a::g<some::Long<Type>>".to_owned())]);
        let room = size_of(&functions) - 1;
        let read = read(&table(functions, room).unwrap());
        assert_eq!(read, [(0, "a::f<b>".to_owned()), (16, "a::g".to_owned())]);
    }

    #[test]
    fn a_table_that_cannot_fit_names_the_constant() {
        let error = table(Functions::from([(0, "f".to_owned())]), 10).unwrap_err().to_string();
        assert!(error.contains("__symbols_size"), "{error}");
    }

    proptest! {
        #[test]
        fn a_table_fits_is_sorted_and_keeps_every_function(
            functions in prop::collection::btree_map(any::<u32>(), "[a-z:<>é]{1,60}", 0..40),
            room in 8_usize..4000,
        ) {
            let whole = size_of(&functions);
            let Ok(table) = table(functions.clone(), room) else { return Ok(()) };
            prop_assert!(table.len() <= room);
            let read = read(&table);
            prop_assert!(read.iter().map(|(offset, _)| offset).eq(functions.keys()));
            if whole <= room {
                prop_assert!(read.iter().map(|(_, name)| name).eq(functions.values()));
            }
        }
    }
}
