//! What descriptors say, for all kinds of mappings and all addresses.

use super::*;

/// The kind with one of these numbers, whatever number is given.
fn kind(number: u8) -> MapKind {
    MapKind::ALL[usize::from(number) % MapKind::ALL.len()]
}

xenolith_core::proofs! {
    // A leaf names its frame, its kind and its rights; none of them changes another.
    fn a_leaf_says_what_it_was_made_for(number: u8, address: u64, block: bool) {
        let (kind, address) = (kind(number), address & Stage2Descriptor::ADDRESS);
        let form = if block { Stage2Descriptor::BLOCK } else { Stage2Descriptor::PAGE };
        let attributes = Stage2Descriptor::attributes(kind);
        let word = address | attributes | form;
        assert_eq!(word & Stage2Descriptor::ADDRESS, address);
        assert_eq!(word & Stage2Descriptor::TABLE_MASK, form);
        assert_eq!(Stage2Descriptor::kind(word), kind);
        assert_eq!(word & WRITE != 0, kind.writable());
        assert_eq!(word & NEVER_EXECUTE == 0, kind.executable());
    }

    // What no leaf says is a device that nobody takes for memory.
    fn any_word_is_of_a_kind(word: u64) {
        let kind = Stage2Descriptor::kind(word);
        assert!(kind == MapKind::StrictDevice || kind.number() == word >> KIND_SHIFT & KIND_MASK);
    }

    fn tables_and_vmid_share_a_register(root: u64, vmid: u16) {
        let root = Pa(root & Stage2Descriptor::ADDRESS).frame();
        let Vttbr(value) = Vttbr::new(AddressSpace { root, vmid: Vmid(vmid) });
        assert_eq!(value & Stage2Descriptor::ADDRESS, root.base().0);
        assert_eq!(value >> 48, u64::from(vmid));
    }
}
