//! Entries of the Boot Loader Specification, one file each: `loader/entries/NAME.conf` (type 1), and unified kernel images,
//! `EFI/Linux/NAME.efi` (type 2).

use std::cmp::Ordering;

use super::{Entry, Menu, Variables, joined};

/// A file, with what its place among others depends on.
struct Parsed {
    entry: Entry,
    /// Its tries are used up.
    is_bad: bool,
    sort_key: Option<String>,
    machine: String,
    version: String,
}

/// A unified kernel image, and what it says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unified {
    /// Its file's name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// The system's `os-release`, as it is in the image.
    pub release: String,
    /// The kernel's command line.
    pub options: String,
}

/// Puts the files of a file system together. `files` are names and texts, `wanted` is what `loader.conf` says under `default`,
/// and `variables` is what GRUB has kept, whose `saved_entry` counts where `loader.conf` says nothing.
pub fn menu(
    files: &[(String, String)],
    images: &[Unified],
    wanted: Option<&str>,
    variables: &Variables,
) -> Menu {
    let entries = files.iter().filter_map(|(name, text)| parse(name, text, variables));
    let mut parsed: Vec<Parsed> = entries.chain(images.iter().filter_map(unified)).collect();
    parsed.sort_by(order);
    let entries: Vec<Entry> = parsed.into_iter().map(|parsed| parsed.entry).collect();
    let find = |pattern: &str| {
        let pattern = [".conf", EFI].iter().find_map(|end| pattern.strip_suffix(end)).unwrap_or(pattern);
        entries.iter().position(|entry| matches(pattern, &entry.id))
    };
    let saved = || {
        let saved = variables.get("saved_entry").filter(|saved| !saved.is_empty())?;
        let by_number = || saved.parse().ok().filter(|&number: &usize| number < entries.len());
        find(saved).or_else(|| entries.iter().position(|entry| entry.title == *saved)).or_else(by_number)
    };
    let default = wanted.and_then(find).or_else(saved).unwrap_or(0);
    Menu::new(entries, default)
}

/// What `loader.conf` has under `default`, which may be a pattern.
pub fn wanted(loader: &str) -> Option<&str> {
    let value = |line: &'_ str| -> Option<usize> {
        let rest = line.trim_start().strip_prefix("default")?;
        rest.starts_with(char::is_whitespace).then(|| rest.trim_start().len())
    };
    let line = loader.lines().rfind(|line| value(line).is_some())?;
    Some(line.trim().strip_prefix("default")?.trim()).filter(|value| !value.starts_with('@'))
}

/// An entry of which nothing but the name is known.
fn named(stem: &str) -> Parsed {
    // Counts of tries stand behind a plus: left, and done (Automatic Boot Assessment).
    let (id, tries) = stem.rsplit_once('+').unwrap_or((stem, "1"));
    Parsed {
        entry: Entry { id: id.to_owned(), title: id.to_owned(), ..Entry::default() },
        is_bad: tries == "0" || tries.starts_with("0-"),
        sort_key: None,
        machine: String::new(),
        version: String::new(),
    }
}

/// The end of a unified kernel image's name.
const EFI: &str = ".efi";

/// The name of a unified kernel image without its end; none if it is not called like one.
pub fn unified_stem(name: &str) -> Option<&str> {
    let (stem, end) = name.split_at_checked(name.len().checked_sub(EFI.len())?)?;
    end.eq_ignore_ascii_case(EFI).then_some(stem)
}

fn unified(image: &Unified) -> Option<Parsed> {
    let mut parsed = named(unified_stem(&image.name)?);
    let says = |keys: &[&str]| keys.iter().find_map(|key| release_value(&image.release, key));
    if let Some(title) = says(&["PRETTY_NAME", "IMAGE_ID", "NAME", "ID"]) {
        parsed.entry.title = title;
    }
    parsed.version = says(&["IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"]).unwrap_or_default();
    parsed.sort_key = says(&["IMAGE_ID", "ID"]);
    parsed.entry.linux.clone_from(&image.path);
    parsed.entry.is_unified = true;
    parsed.entry.options = joined([image.options.as_str()]);
    Some(parsed)
}

/// A value of `os-release`, which is a shell's assignments.
fn release_value(text: &str, key: &str) -> Option<String> {
    let value = |line: &'_ str| Some(line.trim().strip_prefix(key)?.strip_prefix('=')?.trim().to_owned());
    let value = text.lines().filter_map(value).next_back()?;
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    let inner = quote.and_then(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    Some(inner.unwrap_or(&value).to_owned()).filter(|value| !value.is_empty())
}

fn parse(name: &str, text: &str, variables: &Variables) -> Option<Parsed> {
    let mut parsed = named(name.strip_suffix(".conf")?);
    let mut options = Vec::new();
    for line in text.lines().map(str::trim) {
        let Some((key, value)) = line.split_once(char::is_whitespace) else { continue };
        let value = value.trim();
        match key {
            "title" => parsed.entry.title = value.to_owned(),
            "version" => parsed.version = value.to_owned(),
            "machine-id" => parsed.machine = value.to_owned(),
            "sort-key" => parsed.sort_key = Some(value.to_owned()),
            "linux" => parsed.entry.linux = value.to_owned(),
            // Fedora's entries have a variable behind the path.
            "initrd" => {
                parsed.entry.initrd.extend(expand(value, variables).split_whitespace().map(str::to_owned))
            }
            "options" => options.push(expand(value, variables)),
            "architecture"
                if !matches!(value.to_ascii_lowercase().as_str(), "aa64" | "arm64" | "aarch64") =>
            {
                return None;
            }
            _ => {}
        }
    }
    parsed.entry.options = joined(options.iter().map(String::as_str));
    (!parsed.entry.linux.is_empty()).then_some(parsed)
}

/// Puts GRUB's variables in; one that it does not have is nothing.
fn expand(text: &str, variables: &Variables) -> String {
    let words = text.split_whitespace().map(|word| match word.strip_prefix('$') {
        Some(name) => variables.get(name.trim_matches(['{', '}'])).map_or("", String::as_str),
        None => word,
    });
    joined(words)
}

/// The order of the specification: what sorts lower is started before.
fn order(one: &Parsed, other: &Parsed) -> Ordering {
    let by_key = match (&one.sort_key, &other.sort_key) {
        (Some(key), Some(with)) => {
            let versions = || compare(&other.version, &one.version);
            key.cmp(with).then_with(|| one.machine.cmp(&other.machine)).then_with(versions)
        }
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    one.is_bad.cmp(&other.is_bad).then(by_key).then_with(|| compare(&other.entry.id, &one.entry.id))
}

/// Compares versions: runs of digits as numbers, all else as letters. A tilde is before the end.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        let number = |text: &mut &[u8]| {
            let zeroes = text.iter().take_while(|byte| **byte == b'0').count();
            let digits = text.iter().skip(zeroes).take_while(|byte| byte.is_ascii_digit()).count();
            let digits = text.get(zeroes..zeroes.saturating_add(digits)).unwrap_or_default();
            *text = text.get(zeroes.saturating_add(digits.len())..).unwrap_or_default();
            (digits.len(), digits.to_vec())
        };
        let by_number = number(&mut one).cmp(&number(&mut other));
        if by_number != Ordering::Equal {
            return by_number;
        }
        let ((a, rest_of_one), (b, rest_of_other)) = (rank(one), rank(other));
        if a != b {
            return a.unwrap_or(1).cmp(&b.unwrap_or(1));
        }
        if a == Some(1) {
            return Ordering::Equal;
        }
        (one, other) = (rest_of_one, rest_of_other);
    }
}

/// What stands where no digits are: its place among others, none for a digit, and what is behind it.
fn rank(text: &[u8]) -> (Option<u16>, &[u8]) {
    match text.split_first() {
        Some((b'~', rest)) => (Some(0), rest),
        None => (Some(1), &[]),
        Some((byte, _)) if byte.is_ascii_digit() => (None, text),
        Some((byte, rest)) => (Some(u16::from(*byte).saturating_add(2)), rest),
    }
}

/// Whether a pattern with stars and question marks fits.
fn matches(pattern: &str, text: &str) -> bool {
    // Where the last star was, and how much of the text it has taken.
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut of, mut star) = (0usize, 0usize, None);
    while let Some(&byte) = text.get(of) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at = at.saturating_add(1);
            }
            Some(&wanted) if wanted == byte || wanted == b'?' => {
                (at, of) = (at.saturating_add(1), of.saturating_add(1));
            }
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken.saturating_add(1)));
                (at, of) = (star_at.saturating_add(1), taken.saturating_add(1));
            }
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn first(all: &[(&str, &str)], wanted: Option<&str>, saved: &str) -> String {
        let variables = [("saved_entry".to_owned(), saved.to_owned())].into();
        menu(&files(all), &[], wanted, &variables)
            .entries
            .first()
            .map_or(String::new(), |entry| entry.id.clone())
    }

    #[test]
    fn an_entry_of_fedora_is_read() {
        let text = "title Fedora Linux (6.17.4-300.fc43.aarch64) 43 (Cloud Edition)\nversion 6.17.4-300.fc43.aarch64\n\
            linux /vmlinuz-6.17.4-300.fc43.aarch64\ninitrd /initramfs-6.17.4-300.fc43.aarch64.img $tuned_initrd\n\
            options root=UUID=1c34 rootflags=subvol=root  no_timer_check $tuned_params ${extra}\ngrub_users $grub_users\n";
        let variables = [("extra".to_owned(), "quiet".to_owned())].into();
        let menu = menu(&files(&[("a-6.17.4.conf", text)]), &[], None, &variables);
        let expected = Entry {
            id: "a-6.17.4".into(),
            title: "Fedora Linux (6.17.4-300.fc43.aarch64) 43 (Cloud Edition)".into(),
            linux: "/vmlinuz-6.17.4-300.fc43.aarch64".into(),
            initrd: vec!["/initramfs-6.17.4-300.fc43.aarch64.img".into()],
            options: "root=UUID=1c34 rootflags=subvol=root no_timer_check quiet".into(),
            ..Entry::default()
        };
        assert_eq!(menu.entries, [expected]);
    }

    #[test]
    fn the_newest_is_started_unless_something_else_is_wanted() {
        let entry = "linux /k\n";
        let all =
            [("m-6.9.conf", entry), ("m-6.10.conf", entry), ("m-6.10~rc1.conf", entry), ("README", entry)];
        assert_eq!(first(&all, None, ""), "m-6.10");
        assert_eq!(first(&all, Some("m-6.9*"), "m-6.10"), "m-6.9");
        assert_eq!(first(&all, None, "m-6.10~rc1"), "m-6.10~rc1");
        assert_eq!(first(&all, None, "1"), "m-6.10~rc1");
        assert_eq!(first(&all, Some("gone*"), "gone"), "m-6.10");
    }

    #[test]
    fn other_machines_entries_and_those_that_have_failed_are_not_started() {
        let all = [
            ("x-9.conf", "linux /k\narchitecture x64\n"),
            ("a-8+0-3.conf", "linux /k\n"),
            ("a-7+2-1.conf", "linux /k\narchitecture aa64\n"),
            ("efi.conf", "efi /EFI/tool.efi\n"),
        ];
        assert_eq!(first(&all, None, ""), "a-7");
        let keyed = [
            ("z.conf", "linux /k\n"),
            ("a.conf", "linux /k\nsort-key fedora\nversion 6.9\n"),
            ("b.conf", "linux /k\nsort-key fedora\nversion 6.10\n"),
        ];
        assert_eq!(first(&keyed, None, ""), "b");
    }

    #[test]
    fn the_loaders_configuration_names_the_default() {
        assert_eq!(wanted("timeout 3\n default  fedora-*\ndefaults x\n"), Some("fedora-*"));
        assert_eq!(
            (wanted("timeout 3\n"), wanted("default @saved\n"), wanted("default")),
            (None, None, None)
        );
    }

    fn image(name: &str, release: &str) -> Unified {
        Unified { name: name.into(), release: release.into(), ..Unified::default() }
    }

    #[test]
    fn an_image_says_what_it_is() {
        let release = "NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID='13'\nID=debian\n";
        let image = Unified {
            name: "debian-6.12+2-1.EFI".into(),
            path: "/EFI/Linux/debian-6.12+2-1.EFI".into(),
            release: release.into(),
            options: " root=LABEL=root\n\0".trim_end_matches('\0').into(),
        };
        let expected = Entry {
            id: "debian-6.12".into(),
            title: "Debian GNU/Linux 13 (trixie)".into(),
            linux: "/EFI/Linux/debian-6.12+2-1.EFI".into(),
            is_unified: true,
            options: "root=LABEL=root".into(),
            ..Entry::default()
        };
        assert_eq!(menu(&[], &[image], None, &Variables::new()).entries, [expected]);
        let strange = image_menu(&[("README", ""), ("é.ef", ""), ("efi", "")], None);
        assert_eq!(strange, [""; 0]);
    }

    fn image_menu(images: &[(&str, &str)], wanted: Option<&str>) -> Vec<String> {
        let images: Vec<Unified> = images.iter().map(|(name, release)| image(name, release)).collect();
        let files = files(&[("z.conf", "linux /k\n")]);
        let files = if images.iter().any(|image| image.name == "README") { vec![] } else { files };
        menu(&files, &images, wanted, &Variables::new()).entries.into_iter().map(|entry| entry.id).collect()
    }

    #[test]
    fn images_stand_among_the_other_entries() {
        let debian = "ID=debian\nVERSION_ID=13\n";
        let images = [
            ("debian-6.9.efi", debian),
            ("debian-6.10.efi", debian),
            ("a+0-3.efi", "ID=a\n"),
            ("plain.efi", "ID=\n"),
        ];
        let order = image_menu(&images, None);
        assert_eq!(order, ["debian-6.10", "debian-6.9", "z", "plain", "a"]);
        assert_eq!(image_menu(&images, Some("debian-6.9.efi")).first(), Some(&"debian-6.9".to_owned()));
        assert_eq!(image_menu(&images, Some("debian-6.9*.efi")).first(), Some(&"debian-6.9".to_owned()));
    }

    proptest! {
        #[test]
        fn any_image_is_an_entry(name in "\\PC*", release in "(ID|NAME|VERSION)=\\PC*", options in "\\PC*") {
            let image = Unified { name: format!("{name}.efi"), path: "/x".into(), release, options };
            prop_assert!(menu(&[], &[image], Some(&name), &Variables::new()).entries.len() == 1);
        }

        #[test]
        fn any_text_is_a_menu(text in "\\PC*", name in "\\PC*", line in "(title|linux|initrd|options|version|sort-key) \\PC*") {
            let all = files(&[(&format!("{name}.conf"), &text), ("a.conf", &line), ("b.conf", &format!("linux x\n{line}\n{text}"))]);
            let _ = wanted(&text);
            let menu = menu(&all, &[], Some(&name), &Variables::new());
            prop_assert!(!menu.entries.is_empty());
        }

        #[test]
        fn versions_are_in_one_order(one in "[0-9a-c.~]{0,6}", other in "[0-9a-c.~]{0,6}") {
            prop_assert_eq!(compare(&one, &other), compare(&other, &one).reverse());
            prop_assert_eq!(compare(&one, &one), Ordering::Equal);
        }
    }
}
