//! What a guest's disk says of its kernels: configurations of boot loaders, and the kernel itself.
#![no_main]

use bootdisk::menu::{Menu, bls, extlinux, grub, grubenv};
use bootdisk::uki;
use bootdisk::unpack::unpack;
use libfuzzer_sys::fuzz_target;

const LIMIT: u64 = 1 << 20;

fuzz_target!(|file: &[u8]| {
    if let Ok((kernel, _)) = unpack(file.to_vec(), LIMIT) {
        assert!(kernel.len() as u64 <= LIMIT || kernel.len() == file.len());
    }
    let _ = uki::read(file, file.len() as u64);
    let text = String::from_utf8_lossy(file);
    let (one, other) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let variables = grubenv(one);
    check(&grub::menu(&text, &variables));
    check(&extlinux::menu(&text, "/boot/extlinux"));
    let files = [("b.conf".into(), text.to_string()), (format!("{one}.conf"), format!("linux k\n{other}"))];
    let image = bls::Unified {
        name: format!("{other}.efi"),
        path: "/x".into(),
        release: text.to_string(),
        options: one.into(),
    };
    check(&bls::menu(&files, &[image], bls::wanted(&text), &variables));
});

fn check(menu: &Menu) {
    for entry in &menu.entries {
        assert!(!entry.linux.is_empty());
        assert!(menu.named(&entry.id).is_some());
    }
}
