//! The process that reads a guest's disk, as `lith` starts it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use bootdisk::process::{Order, read};
use virtio::config::DiskConfig;

const LIMIT: u64 = 8 << 20;

/// An image of so many bytes.
fn kernel(bytes: usize) -> Vec<u8> {
    let mut image = vec![0x11; bytes];
    image[8..16].fill(0);
    image[16..24].copy_from_slice(&0x20_0000u64.to_le_bytes());
    image[24..32].copy_from_slice(&0xau64.to_le_bytes());
    image[0x38..0x3c].copy_from_slice(b"ARM\x64");
    image
}

/// Makes an ext4 of what is in `root`.
fn ext4(root: &Path, image: &Path) {
    let search = format!("{}:/sbin:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut make = Command::new("mke2fs");
    make.env("PATH", search).args(["-q", "-F", "-t", "ext4", "-d"]).arg(root).arg(image).arg("16M");
    let made = make.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn take(image: &Path) -> Result<bootdisk::process::BootFiles, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lith"));
    command.arg("read-boot-disk").env_clear();
    let disk = DiskConfig::new(image.to_str().unwrap(), None);
    read(command, &Order { disk, entry: None, limit: LIMIT }).map_err(|error| format!("{error:#}"))
}

#[test]
fn what_a_guests_upgrade_brings_is_what_is_started_next() {
    let folder = tempfile::tempdir().unwrap();
    let [root, image] = ["root", "image"].map(|name| folder.path().join(name));
    let text = "default new\nlabel old\n linux /old\nlabel new\n linux ../new\n initrd ../odd,../even\n append root=LABEL=x ro\n";
    fs::create_dir_all(root.join("boot/extlinux")).unwrap();
    fs::write(root.join("boot/extlinux/extlinux.conf"), text).unwrap();
    for (name, bytes) in [
        ("old", kernel(300_000)),
        ("boot/new", kernel(400_000)),
        ("boot/odd", vec![7; 5]),
        ("boot/even", vec![8; 8]),
    ] {
        fs::write(root.join(name), bytes).unwrap();
    }
    ext4(&root, &image);
    let found = take(&image).unwrap();
    assert!(found.kernel == kernel(400_000));
    assert_eq!(found.options, "root=LABEL=x ro");
    // Linux finds the second at a multiple of four.
    assert_eq!(found.ramdisk.unwrap(), [[7, 7, 7, 7, 7, 0, 0, 0], [8; 8]].concat());
    assert!(
        found.source.contains("`new` of /boot/extlinux/extlinux.conf on the disk: /boot/new, /boot/odd"),
        "{}",
        found.source
    );

    fs::write(root.join("boot/extlinux/extlinux.conf"), "label old\n linux /old\n").unwrap();
    ext4(&root, &image);
    let found = take(&image).unwrap();
    assert!(found.kernel == kernel(300_000) && found.ramdisk.is_none());
}

#[test]
fn a_kernel_is_taken_out_of_an_image_with_what_belongs_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let [root, image, out] = ["root", "image", "out"].map(|name| folder.path().join(name));
    fs::create_dir_all(root.join("boot")).unwrap();
    fs::write(root.join("vmlinuz"), kernel(100_000)).unwrap();
    fs::write(root.join("initrd.img"), b"ramdisk!").unwrap();
    let lith = || {
        ext4(&root, &image);
        let mut lith = Command::new(env!("CARGO_BIN_EXE_lith"));
        lith.arg("extract-kernel").arg("image").arg("out").current_dir(folder.path()).output().unwrap()
    };
    let said = lith();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "`/vmlinuz` of the disk: /vmlinuz, /initrd.img\n");
    assert!(fs::read(out.join("kernel")).unwrap() == kernel(100_000));
    assert_eq!(fs::read(out.join("ramdisk")).unwrap(), b"ramdisk!");
    assert!(fs::read_to_string(out.join("cmdline")).unwrap().starts_with("root=UUID="));
    fs::remove_file(root.join("initrd.img")).unwrap();
    assert!(lith().status.success());
    assert_eq!(
        (out.join("ramdisk").exists(), fs::read_to_string(out.join("cmdline")).unwrap().as_str()),
        (false, "root=/dev/vda ro\n")
    );
    fs::remove_file(root.join("vmlinuz")).unwrap();
    let said = lith();
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("there is no kernel"));
}

#[test]
fn what_cannot_be_started_is_an_error_that_names_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let [root, image] = ["root", "image"].map(|name| folder.path().join(name));
    fs::create_dir_all(root.join("boot")).unwrap();
    let says = || {
        ext4(&root, &image);
        let error = take(&image).unwrap_err();
        assert!(error.starts_with(image.to_str().unwrap()), "{error}");
        error
    };
    assert!(says().contains("there is no kernel"));
    symlink("vmlinuz", root.join("vmlinuz")).unwrap();
    assert!(says().contains("there is no kernel"));
    fs::remove_file(root.join("vmlinuz")).unwrap();
    fs::write(root.join("vmlinuz"), b"no kernel at all").unwrap();
    assert!(says().contains("kernel /vmlinuz: it has 16 bytes"));
    fs::File::create(root.join("vmlinuz")).unwrap().set_len(1 << 40).unwrap();
    assert!(says().contains("/vmlinuz has 1099511627776 bytes, more than the 8388608"));
    fs::write(root.join("vmlinuz"), [0x1f, 0x8b, 8, 0, 0]).unwrap();
    assert!(says().contains("does not unpack with gzip"));
    assert!(take(&folder.path().join("none")).unwrap_err().contains("No such file"));
    fs::write(&image, b"QFI\xfb\0\0\0\x03 and nothing else").unwrap();
    assert!(take(&image).unwrap_err().contains("qcow2"));
}

#[test]
fn an_image_in_use_is_waited_for_and_then_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let [root, image] = ["root", "image"].map(|name| folder.path().join(name));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("vmlinuz"), kernel(100_000)).unwrap();
    ext4(&root, &image);
    let backend = fs::File::options().write(true).open(&image).unwrap();
    backend.lock().unwrap();
    let release = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(backend);
    });
    assert_eq!(take(&image).map(|found| found.kernel == kernel(100_000)), Ok(true));
    release.join().unwrap();
    let backend = fs::File::options().write(true).open(&image).unwrap();
    backend.lock().unwrap();
    assert!(take(&image).unwrap_err().contains("in use by another program"));
}

/// What is no answer, from a process that a hostile image has taken over.
#[test]
fn an_answer_is_not_believed_either() {
    let order = || Order { disk: DiskConfig::new("/image", None), entry: None, limit: 4096 };
    let says = |script: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        format!("{:#}", read(command, &order()).unwrap_err())
    };
    assert!(says("kill -SEGV $$").contains("has ended") && says("exit 101").contains("damaged"));
    assert!(says("yes").contains("damaged"));
    let found = |kernel: &str, options: &str| {
        format!(
            "echo '{{\"Found\":{{\"kernel\":{kernel},\"ramdisk\":null,\"options\":\"{options}\",\"source\":\"x\"}}}}'; head -c 5000 /dev/zero"
        )
    };
    assert!(says(&found("5000", "")).contains("more than the 4096"));
    assert!(says(&found("4000", "")).contains("no arm64 Image"));
    assert!(says(&found("4000", "a\\\\nb")).contains("control characters"));
    assert!(says(&found("4000", "a\\\\u0000b")).contains("control characters"));
    assert!(!says("printf '{\"Failed\":\"a\\\\u001b[2Jb\"}\\n'").contains('\x1b'));
}
