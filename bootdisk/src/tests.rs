//! Whole disks: what is found on them, and what is not.

pub mod images;

use gpt::disk::LogicalBlockSize;
use proptest::prelude::*;

use crate::area::Area;
use crate::find::find;
use images::Node::{File, Hole, Link};
use images::{MIB, UUID, ext4, fat, gpt, mbr, uki};

/// What is found: what named it, the kernel, the ramdisks, the command line.
#[derive(Debug, PartialEq, Eq)]
struct Boot {
    source: String,
    kernel: (String, Vec<u8>),
    ramdisks: Vec<(String, Vec<u8>)>,
    options: String,
}

const LIMIT: u64 = 1 << 20;

fn boot_entry(disk: &[u8], entry: Option<&str>) -> Result<Boot, String> {
    let boot = || -> anyhow::Result<Boot> {
        let found = find(&Area::whole(disk.to_vec()), entry)?;
        let read = |mut part: crate::find::Part<'_>| -> anyhow::Result<(String, Vec<u8>)> {
            let mut bytes = Vec::new();
            part.file.copy(&mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            Ok((part.path, bytes))
        };
        let kernel = read(found.kernel(LIMIT)?)?;
        let ramdisks = found.ramdisks(LIMIT)?.into_iter().map(read).collect::<anyhow::Result<_>>()?;
        Ok(Boot { kernel, ramdisks, options: found.options().to_owned(), source: found.source })
    };
    boot().map_err(|error| format!("{error:#}"))
}

fn boot(disk: &[u8]) -> Result<Boot, String> {
    boot_entry(disk, None)
}

fn file(path: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    (path.into(), bytes.into())
}

const GRUB: &str = "set default=\"0\"\nmenuentry 'Debian' --id debian {\n\
    search --no-floppy --fs-uuid --set=root 7f2a9d3e-0c1b-4a5d-9e8f-112233445566\n\
    linux /boot/vmlinuz-6.1 root=UUID=7f2a9d3e ro quiet\ninitrd /boot/initrd.img-6.1\n}\n\
    submenu 'More' --id more {\nmenuentry 'Older' --id older {\nlinux /boot/vmlinuz-5.10 root=UUID=7f2a9d3e\n}\n}\n";

/// A root of Debian's.
fn debian() -> Vec<u8> {
    ext4(
        8,
        &[
            ("/boot/grub/grub.cfg", File(GRUB.as_bytes())),
            ("/boot/vmlinuz-6.1", File(b"kernel 6.1")),
            ("/boot/vmlinuz-5.10", File(b"kernel 5.10")),
            ("/boot/initrd.img-6.1", File(&[7; 100_000])),
            ("/vmlinuz", Link("boot/vmlinuz-5.10")),
        ],
    )
}

#[test]
fn a_disk_of_debian_starts_what_grub_would() {
    let (disk, _) = gpt(
        LogicalBlockSize::Lb512,
        &[&debian(), &fat(2, &[("/EFI/debian/grub.cfg", File(b"configfile x"))])],
    );
    let expected = Boot {
        source: "`Debian` of /boot/grub/grub.cfg on partition 1".into(),
        kernel: file("/boot/vmlinuz-6.1", b"kernel 6.1"),
        ramdisks: vec![file("/boot/initrd.img-6.1", &[7; 100_000])],
        options: "root=UUID=7f2a9d3e ro quiet".into(),
    };
    assert_eq!(boot(&disk), Ok(expected));
    // The file system alone, without partitions.
    assert_eq!(boot(&debian()).unwrap().source, "`Debian` of /boot/grub/grub.cfg on the disk");
    assert_eq!(boot_entry(&disk, Some("older")).unwrap().kernel, file("/boot/vmlinuz-5.10", b"kernel 5.10"));
    assert_eq!(boot_entry(&disk, Some("/vmlinuz")).unwrap().kernel.1, b"kernel 5.10");
    let error = boot_entry(&disk, Some("gone")).unwrap_err();
    assert!(error.contains("called `gone`; there are: debian, older, /vmlinuz"), "{error}");
}

#[test]
fn a_disk_of_fedora_starts_its_newest_entry_or_the_saved_one() {
    let entry = |version: &str| {
        format!(
            "title Fedora {version}\nversion {version}\nlinux /vmlinuz-{version}\ninitrd /initramfs-{version}.img $tuned\noptions root=UUID=x rootflags=subvol=root $tuned_params\n"
        )
    };
    let (old, new) = (entry("6.9"), entry("6.10"));
    let nodes = |saved: &'static [u8]| {
        [
            ("/loader/entries/m-6.9.conf", File(old.as_bytes())),
            ("/loader/entries/m-6.10.conf", File(new.as_bytes())),
            ("/grub2/grub.cfg", File(b"blscfg\n")),
            ("/grub2/grubenv", File(saved)),
            ("/vmlinuz-6.9", File(b"old")),
            ("/vmlinuz-6.10", File(b"new")),
            ("/initramfs-6.9.img", File(b"i")),
            ("/initramfs-6.10.img", File(b"i")),
        ]
    };
    let mut btrfs = vec![0; MIB];
    btrfs[0x1_0040..0x1_0048].copy_from_slice(b"_BHRfS_M");
    // Sectors of 4 KiB, as disks have that say so.
    for (saved, kernel) in [(&b"saved_entry=m-6.9\n"[..], &b"old"[..]), (b"# nothing\n", b"new")] {
        for sector in [LogicalBlockSize::Lb512, LogicalBlockSize::Lb4096] {
            let (disk, _) = gpt(sector, &[&fat(2, &[]), &ext4(8, &nodes(saved)), &btrfs]);
            let found = boot(&disk).unwrap();
            assert_eq!((found.kernel.1.as_slice(), found.ramdisks.len()), (kernel, 1));
            assert_eq!(found.options, "root=UUID=x rootflags=subvol=root");
            assert!(found.source.contains("/loader/entries on partition 2"), "{}", found.source);
        }
    }
}

#[test]
fn a_disk_of_systemd_starts_its_newest_unified_image() {
    let release = b"PRETTY_NAME=\"Debian 13\"\nID=debian\nVERSION_ID=13\n";
    let image = |kernel: &[u8], ramdisk: &[u8]| {
        uki(&[
            (".osrel", release),
            (".cmdline", b"root=LABEL=root ro\n\0"),
            (".initrd", ramdisk),
            (".linux", kernel),
        ])
    };
    let (old, new) = (image(b"kernel 6.9", b"ramdisk 6.9"), image(&[6; 70_000], &[7; 90_000]));
    let boot_loader = uki(&[(".text", b"systemd-boot")]);
    let nodes = |loader: &'static [u8]| {
        [
            ("/EFI/BOOT/BOOTAA64.EFI", File(&boot_loader)),
            ("/EFI/Linux/debian-6.9.efi", File(&old)),
            ("/EFI/Linux/debian-6.10.efi", File(&new)),
            ("/EFI/Linux/loader.efi", File(&boot_loader)),
            ("/loader/loader.conf", File(loader)),
        ]
    };
    let (disk, _) =
        gpt(LogicalBlockSize::Lb512, &[&fat(4, &nodes(b"timeout 3\n")), &ext4(8, &[("/init", File(b"x"))])]);
    let expected = Boot {
        source: "`Debian 13` of /EFI/Linux on partition 1".into(),
        kernel: file("/EFI/Linux/debian-6.10.efi", &[6; 70_000]),
        ramdisks: vec![file("/EFI/Linux/debian-6.10.efi", &[7; 90_000])],
        options: "root=LABEL=root ro".into(),
    };
    assert_eq!(boot(&disk), Ok(expected));
    let older = Boot {
        kernel: file("/EFI/Linux/debian-6.9.efi", b"kernel 6.9"),
        ramdisks: vec![file("/EFI/Linux/debian-6.9.efi", b"ramdisk 6.9")],
        ..boot(&disk).unwrap()
    };
    assert_eq!(boot_entry(&disk, Some("debian-6.9")).as_ref(), Ok(&older));
    let chosen = fat(4, &nodes(b"default debian-6.9*.efi\n"));
    assert_eq!(boot(&chosen).unwrap().kernel, older.kernel);
    // A partition of ext4 may have them too.
    assert_eq!(boot(&ext4(8, &nodes(b""))).unwrap().kernel.1, [6; 70_000]);
}

#[test]
fn a_damaged_unified_image_is_refused_with_the_reason() {
    let whole = uki(&[(".cmdline", b"quiet"), (".initrd", &[7; 3000]), (".linux", &[8; 5000])]);
    let mut far = whole.clone();
    let header = far.windows(6).position(|bytes| bytes == b".linux").unwrap();
    far[header + 20..header + 24].copy_from_slice(&u32::MAX.to_le_bytes());
    let large = uki(&[(".linux", &[8; 2 * MIB])]);
    for (image, words) in [
        (&whole[..5000], "/EFI/Linux/a.efi: its section .linux is 5000 bytes from byte"),
        (&whole[..100], "/EFI/Linux/a.efi: it is no EFI program"),
        (&far, "from byte 4294967295 on, and the file has"),
        (&large, "a part of it has 2097152 bytes, more than the 1048576"),
    ] {
        let error = boot(&fat(8, &[("/EFI/Linux/a.efi", File(image))])).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    // Others are there: the damaged one is not in their way.
    let disk = fat(
        8,
        &[
            ("/EFI/Linux/a.efi", File(&far)),
            ("/loader/entries/b.conf", File(b"sort-key b\nlinux /k\n")),
            ("/k", File(b"k")),
        ],
    );
    assert_eq!(boot(&disk).unwrap().kernel.1, b"k");
}

#[test]
fn extlinux_is_read_on_a_logical_partition_with_fat() {
    let text = "DEFAULT virt\nLABEL virt\n LINUX ../Vmlinuz-Virt\n INITRD /first.img,/second.img\n APPEND root=LABEL=root modules=ext4\n";
    let nodes = [
        ("/extlinux/extlinux.conf", File(text.as_bytes())),
        ("/vmlinuz-virt", File(b"kernel")),
        ("/first.img", File(b"one")),
        ("/second.img", File(b"two")),
    ];
    let found = boot(&mbr(&fat(4, &nodes))).unwrap();
    assert_eq!(found.kernel.1, b"kernel");
    assert_eq!(found.ramdisks, [file("/first.img", b"one"), file("/second.img", b"two")]);
    assert_eq!(found.options, "root=LABEL=root modules=ext4");
    assert!(found.source.contains("on partition 6"), "{}", found.source);
}

#[test]
fn links_are_taken_where_no_boot_loader_is_and_the_root_is_where_they_are() {
    let kernel = [("/boot/vmlinuz-6.1", File(b"kernel")), ("/vmlinuz", Link("/boot/vmlinuz-6.1"))];
    let ramdisk = [("/boot/initrd.img-6.1", File(b"ramdisk")), ("/initrd.img", Link("boot/initrd.img-6.1"))];
    let with = ext4(8, &[kernel, ramdisk].concat());
    let found = boot(&with).unwrap();
    assert_eq!((found.options, found.ramdisks.len()), (format!("root=UUID={UUID} ro"), 1));
    // Without a ramdisk nobody knows file systems by their UUIDs.
    let without = ext4(8, &kernel);
    assert_eq!(boot(&without).unwrap().options, "root=/dev/vda ro");
    let (disk, uuids) = gpt(LogicalBlockSize::Lb512, &[&vec![0; MIB], &without]);
    assert_eq!(boot(&disk).unwrap().options, format!("root=PARTUUID={} ro", uuids[1]));
    assert_eq!(boot(&mbr(&without)).unwrap().options, "root=PARTUUID=deadbeef-06 ro");
}

#[test]
fn a_kernel_may_be_on_another_file_system_than_what_names_it() {
    let text = "search --fs-uuid --set=root CAFE-0042\nmenuentry x {\nlinux ($root)/Image quiet\n}\n";
    let (root, boot_part) =
        (ext4(8, &[("/boot/grub/grub.cfg", File(text.as_bytes()))]), fat(2, &[("/image", File(b"on FAT"))]));
    let (disk, _) = gpt(LogicalBlockSize::Lb512, &[&root, &boot_part]);
    assert_eq!(boot(&disk).unwrap().kernel, file("/Image", b"on FAT"));
}

#[test]
fn a_disk_without_a_kernel_says_what_was_looked_at() {
    let mut luks = vec![0; MIB];
    luks[..6].copy_from_slice(b"LUKS\xba\xbe");
    let (disk, _) = gpt(LogicalBlockSize::Lb512, &[&ext4(8, &[("/etc/fstab", File(b""))]), &luks]);
    let error = boot(&disk).unwrap_err();
    assert!(error.contains("no kernel") && error.contains("on partition 1"), "{error}");
    assert!(error.contains("partition 2 has a LUKS volume, which is not read here"), "{error}");
    for nothing in [vec![0; MIB], vec![0; 100], Vec::new()] {
        assert!(boot(&nothing).unwrap_err().contains("no ext4 and no FAT"));
    }
    let text = "menuentry 'Gone\x1b[2J' {\nlinux /gone\n}\n";
    let error = boot(&ext4(8, &[("/boot/grub/grub.cfg", File(text.as_bytes()))])).unwrap_err();
    assert!(error.contains("names /gone, which is not on the disk") && !error.contains('\x1b'), "{error}");
}

#[test]
fn hostile_disks_are_refused_with_the_reason() {
    let circle = ext4(8, &[("/vmlinuz", Link("/boot/vmlinuz")), ("/boot/vmlinuz", Link("../vmlinuz"))]);
    assert!(boot(&circle).is_err());
    let entry = "menuentry x {\nlinux /vmlinuz\n}\n";
    let circle = ext4(8, &[("/boot/grub/grub.cfg", File(entry.as_bytes())), ("/vmlinuz", Link("vmlinuz"))]);
    let error = boot(&circle).unwrap_err();
    assert!(error.contains("/vmlinuz") && error.contains("symbolic links"), "{error}");
    // Holes cost nothing on the disk, and would cost the machine its memory.
    let huge = ext4(8, &[("/boot/grub/grub.cfg", File(entry.as_bytes())), ("/vmlinuz", Hole(1 << 40))]);
    let error = boot(&huge).unwrap_err();
    assert!(error.contains("/vmlinuz has 1099511627776 bytes, more than the 1048576"), "{error}");
    let huge = ext4(8, &[("/boot/grub/grub.cfg", Hole(1 << 40))]);
    let error = boot(&huge).unwrap_err();
    assert!(error.contains("/boot/grub/grub.cfg has 1099511627776 bytes"), "{error}");
    let ramdisks = "menuentry x {\nlinux /k\ninitrd /r /r /r\n}\n";
    let many = ext4(
        8,
        &[("/boot/grub/grub.cfg", File(ramdisks.as_bytes())), ("/k", File(b"k")), ("/r", Hole(500_000))],
    );
    assert!(
        boot(&many).unwrap_err().contains("more than the 48576"),
        "together they have more than there is room for"
    );
}

#[test]
fn an_image_that_is_cut_off_is_an_error() {
    let (disk, _) = gpt(LogicalBlockSize::Lb512, &[&debian()]);
    let whole = boot(&disk).unwrap();
    for cut in (0..disk.len()).step_by(97_001) {
        match boot(&disk[..cut]) {
            Ok(found) => assert_eq!(found, whole, "{cut}"),
            Err(error) => assert!(!error.is_empty()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is wrong with an image is an error, or shows only in what a file holds. Where a crate has a fault the process
    /// that reads the image ends, so that a panic is no failure here.
    #[test]
    fn a_damaged_image_ends(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), is_fat in any::<bool>()) {
        let nodes = [("/extlinux/extlinux.conf", File(b"label x\nlinux /k\ninitrd /i\n")), ("/k", File(&[1; 5000])), ("/i", File(&[2; 50]))];
        let mut disk = if is_fat { fat(2, &nodes) } else { ext4(4, &nodes) };
        // Where the tables are.
        let most = disk.len().min(128 << 10);
        for (at, value) in changes {
            disk[at.index(most)] = value;
        }
        let _ = std::panic::catch_unwind(|| boot(&disk));
    }
}
