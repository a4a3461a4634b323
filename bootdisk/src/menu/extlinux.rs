//! `extlinux.conf`, as U-Boot's distro boot reads it.

use super::{Entry, Menu, joined};

/// Reads the file; relative paths begin at `folder`, which it is in.
pub fn menu(text: &str, folder: &str) -> Menu {
    let mut entries: Vec<Entry> = Vec::new();
    let mut default = None;
    for line in text.lines().map(str::trim) {
        let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        let path = |path: &str| match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{folder}/{path}"),
        };
        match (key.to_ascii_lowercase().as_str(), entries.last_mut()) {
            ("default", _) => default = Some(value),
            ("label", _) => {
                entries.push(Entry { id: value.to_owned(), title: value.to_owned(), ..Entry::default() });
            }
            ("menu", Some(entry)) => {
                if let Some((word, title)) = value.split_once(char::is_whitespace)
                    && word.eq_ignore_ascii_case("label")
                {
                    entry.title = title.trim().replace('^', "");
                }
            }
            ("linux" | "kernel", Some(entry)) => entry.linux = path(value),
            ("initrd", Some(entry)) => {
                entry.initrd =
                    value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(path).collect();
            }
            ("append", Some(entry)) => {
                let (initrd, options): (Vec<&str>, Vec<&str>) =
                    value.split_whitespace().partition(|word| word.starts_with("initrd="));
                entry.options = joined(options);
                let named = initrd.iter().filter_map(|word| word.strip_prefix("initrd="));
                entry.initrd.extend(named.flat_map(|names| names.split(',')).map(path));
            }
            _ => {}
        }
    }
    // One that starts something else than Linux, or boots from a disk, names no kernel.
    entries.retain(|entry| !entry.linux.is_empty());
    let position = |name: &str| entries.iter().position(|entry| entry.id == name);
    let default = default.and_then(position).unwrap_or(0);
    Menu::new(entries, default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As Debian's `u-boot-menu` writes it, and as Alpine does.
    const TEXT: &str = "## /boot/extlinux/extlinux.conf\ndefault l0r\nmenu title U-Boot menu\nprompt 1\ntimeout 50\n\n\
        label l0\n\tmenu label Debian GNU/Linux 12 6.1.0-41-arm64\n\tlinux /boot/vmlinuz-6.1.0-41-arm64\n\
        \tinitrd /boot/initrd.img-6.1.0-41-arm64\n\tfdtdir /usr/lib/linux-image/\n\n\tappend root=UUID=1234 ro quiet\n\n\
        LABEL l0r\n  MENU LABEL ^Rescue\n  KERNEL ../vmlinuz-virt\n  INITRD ../a,../b\n  APPEND  single  initrd=../c\n\n\
        LABEL local\n  LOCALBOOT 0\n";

    #[test]
    fn entries_are_read_and_the_default_comes_first() {
        let menu = menu(TEXT, "/boot/extlinux");
        let titles: Vec<&str> = menu.entries.iter().map(|entry| entry.title.as_str()).collect();
        assert_eq!(titles, ["Rescue", "Debian GNU/Linux 12 6.1.0-41-arm64"]);
        let [rescue, debian] = menu.entries.as_slice() else { panic!("{menu:?}") };
        assert_eq!(debian.linux, "/boot/vmlinuz-6.1.0-41-arm64");
        assert_eq!(debian.initrd, ["/boot/initrd.img-6.1.0-41-arm64"]);
        assert_eq!(debian.options, "root=UUID=1234 ro quiet");
        assert_eq!(rescue.linux, "/boot/extlinux/../vmlinuz-virt");
        assert_eq!(rescue.initrd, ["/boot/extlinux/../a", "/boot/extlinux/../b", "/boot/extlinux/../c"]);
        assert_eq!(rescue.options, "single");
    }

    proptest! {
        #[test]
        fn any_text_is_a_menu(lines in prop::collection::vec("(label|linux|append|initrd|default|menu label)? ?\\PC{0,20}", 0..12)) {
            let _ = menu(&lines.join("\n"), "/x");
        }
    }
}
