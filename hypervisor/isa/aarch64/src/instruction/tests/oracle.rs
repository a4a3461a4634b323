//! Our decoder beside one that was made of Arm's own description of the instruction set.
//!
//! Its disassembly is taken apart again: mnemonic, registers, base, offset and index mode have to be those that our decoder
//! finds, and what it names as one of the instructions that we claim has to be decoded, if it is predictable.

use disarm64::decoder_load_store;
use proptest::prelude::*;

use super::*;

/// What a line of disassembly says of a load or store.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    mnemonic: String,
    registers: Vec<String>,
    base: String,
    offset: i16,
    index: Index,
}

/// Takes apart `ldp x1, x3, [x2, #16]!`. `None`: the address is no base with an immediate offset.
fn parse(text: &str) -> Option<Line> {
    let (mnemonic, operands) = text.split_once(char::is_whitespace)?;
    let (registers, address) = operands.split_once('[')?;
    let (inside, after) = address.split_once(']')?;
    let (base, offset) = match inside.split_once(',') {
        Some((base, offset)) => (base, Some(offset)),
        None => (inside, None),
    };
    let number = |text: &str| text.trim().strip_prefix('#')?.parse().ok();
    let (index, offset) = match after.trim() {
        "" => (Index::Offset, offset.map_or(Some(0), number)?),
        "!" => (Index::Pre, offset.map_or(Some(0), number)?),
        after => (Index::Post, number(after.strip_prefix(',')?)?),
    };
    let registers = registers.split(',').map(str::trim).filter(|name| !name.is_empty());
    Some(Line {
        mnemonic: mnemonic.to_owned(),
        registers: registers.map(str::to_owned).collect(),
        base: base.trim().to_owned(),
        offset,
        index,
    })
}

fn register(access: LoadStore) -> String {
    let width = if access.sixty_four { 'x' } else { 'w' };
    match access.register {
        31 => format!("{width}zr"),
        number => format!("{width}{number}"),
    }
}

/// The line that stands for what we decoded. `no_allocate`: the hint of LDNP and STNP, which moves nothing else.
fn line(transfer: &DecodedAccess, no_allocate: bool) -> Line {
    let first = transfer.first;
    let verb = if transfer.write { "st" } else { "ld" };
    let kind = match (transfer.second.is_some(), transfer.index) {
        (true, Index::Offset) if no_allocate => "np",
        (true, _) => "p",
        (false, Index::Offset) => "ur",
        (false, _) => "r",
    };
    let sign = if first.sign_extend { "s" } else { "" };
    let size = match first.size {
        Size::Byte => "b",
        Size::Half => "h",
        Size::Word if first.sign_extend => "w",
        Size::Word | Size::Double => "",
    };
    let registers = [Some(first), transfer.second].into_iter().flatten();
    Line {
        mnemonic: format!("{verb}{kind}{sign}{size}"),
        registers: registers.map(register).collect(),
        base: if transfer.base == 31 { "sp".to_owned() } else { format!("x{}", transfer.base) },
        offset: transfer.offset,
        index: transfer.index,
    }
}

/// Whether a line is of the instructions that [`decode`] claims: general registers, a pair or an index or `UR`.
fn is_ours(line: &Line) -> bool {
    let general = line.registers.iter().all(|name| name.starts_with(['w', 'x']));
    let (verb, rest) = line.mnemonic.split_at_checked(2).unwrap_or_default();
    let single = ["r", "rb", "rh", "rsb", "rsh", "rsw"];
    let unscaled = ["ur", "urb", "urh", "ursb", "ursh", "ursw"];
    let pair = ["p", "psw", "np"];
    ["ld", "st"].contains(&verb)
        && general
        && (single.contains(&rest) && line.index != Index::Offset
            || unscaled.contains(&rest)
            || pair.contains(&rest))
}

/// The architecture leaves open what it does: it moves its base and writes it back, or loads one register twice.
fn is_unpredictable(line: &Line) -> bool {
    let numbers: Vec<&str> = line.registers.iter().map(|name| &name[1..]).collect();
    let base = line.base.strip_prefix('x');
    let moves_base = line.index != Index::Offset && base.is_some_and(|base| numbers.contains(&base));
    let twice = line.mnemonic.starts_with("ld") && numbers.len() == 2 && numbers[0] == numbers[1];
    moves_base || twice
}

fn compare(word: u32) {
    let text = decoder_load_store::decode(word).map(|opcode| opcode.to_string());
    let theirs = text.as_deref().and_then(parse);
    match decode(word) {
        Some(transfer) => {
            let ours = line(&transfer, word >> 23 & 0b111 == 0);
            assert_eq!(Some(ours), theirs, "{word:#010x}: {text:?}");
        }
        None => {
            let missed = theirs.filter(|line| is_ours(line) && !is_unpredictable(line));
            assert_eq!(missed, None, "{word:#010x}: {text:?}");
        }
    }
}

#[test]
fn each_opcode_is_what_the_oracle_says() {
    // All bits that say which instruction it is, with registers that differ, are equal, or mean something else.
    for high in 0..0x400_u32 {
        for middle in 0..1 << 2 {
            for [first, second, base] in
                [[1, 3, 2], [1, 1, 2], [2, 3, 2], [1, 2, 2], [31, 30, 31], [0, 31, 31]]
            {
                for offset in [0, 1, 0xff, 0x100, 0x155, 0x1ff] {
                    // A pair has its second register where a single one has the low bits of its offset.
                    compare(high << 22 | offset << 12 | middle << 10 | base << 5 | first);
                    compare(high << 22 | (offset & 0x7f) << 15 | second << 10 | base << 5 | first);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_word_is_what_the_oracle_says(word: u32) {
        compare(word);
        compare(word & !0x3f20_0000 | 0x3800_0000);
        compare(word & !0x3e00_0000 | 0x2800_0000);
    }
}
