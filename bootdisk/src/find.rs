//! Which entry is started, and what it takes.
//!
//! The order in which configurations are looked for: entries of the Boot Loader Specification (unified kernel images among
//! them), `extlinux.conf`, `grub.cfg`, and
//! where no boot loader is, a kernel by the names that distributions link to. The first that has an entry counts. Within one kind
//! the partitions are taken by their numbers.

use anyhow::{Context, Result, bail};

use crate::area::Area;
use crate::filesystem::{FileSystem, Kind, normal};
use crate::menu::{Entry, Menu, Place, bls, extlinux, grub, grubenv};
use crate::{partitions, printable, uki};

/// The longest configuration that is read.
const MOST_TEXT: u64 = 1 << 20;
/// The most files of the Boot Loader Specification that are read.
const MOST_FILES: usize = 256;
/// The most ramdisks of an entry.
const MOST_RAMDISKS: usize = 16;

/// Where entries of the Boot Loader Specification are, by the folder above.
const BLS: [&str; 2] = [BLS_SYSTEMD, "/boot/loader"];
const BLS_SYSTEMD: &str = "/loader";
/// Where unified kernel images are.
const UNIFIED: &str = "/EFI/Linux";
const EXTLINUX: [&str; 3] = ["/extlinux", "/boot/extlinux", "/boot"];
const GRUB: [&str; 4] = ["/boot/grub", "/grub", "/boot/grub2", "/grub2"];
/// Kernels by the names that distributions link to, each with its ramdisk's.
const LINKS: [(&str, &str); 8] = [
    ("/vmlinuz", "/initrd.img"),
    ("/boot/vmlinuz", "/boot/initrd.img"),
    ("/boot/Image", "/boot/initrd"),
    ("/boot/vmlinuz", "/boot/initrd"),
    ("/boot/vmlinuz-virt", "/boot/initramfs-virt"),
    ("/vmlinuz-virt", "/initramfs-virt"),
    ("/boot/vmlinuz-lts", "/boot/initramfs-lts"),
    ("/Image", "/initrd"),
];

/// A file system, and where it is.
pub struct Volume {
    /// The partition's number. None: the whole disk.
    number: Option<u32>,
    part_uuid: Option<String>,
    files: FileSystem,
}

/// What is to be started, with the file systems that it is on.
pub struct Found {
    places: Vec<Volume>,
    place: usize,
    entry: Entry,
    /// What named it, for people: a path, and where it is.
    pub source: String,
}

struct Candidate {
    menu: Menu,
    place: usize,
    /// The configuration's path.
    path: String,
}

/// Finds what a disk's boot loader would start, or the entry of a name.
///
/// # Errors
///
/// There is nothing to start, or nothing of that name; the error says what there is.
pub fn find(disk: &Area, name: Option<&str>) -> Result<Found> {
    let Opened { places, notes } = open(disk)?;
    let mut candidates = Vec::new();
    for kind in [bls_menu, extlinux_menu, grub_menu, link_menu] {
        for (index, place) in places.iter().enumerate() {
            let found = kind(place).with_context(|| place.label())?;
            candidates.extend(
                found.filter(|(menu, _)| !menu.entries.is_empty()).map(|(menu, path)| Candidate {
                    menu,
                    place: index,
                    path,
                }),
            );
        }
    }
    let Some(name) = name else {
        let Some(Candidate { menu, place, path }) = candidates.into_iter().next() else {
            bail!("{}", nothing(&places, &notes))
        };
        let entry = menu.entries.into_iter().next().unwrap_or_default();
        return settle(places, place, entry, &path);
    };
    let found = candidates.iter().find_map(|candidate| {
        candidate.menu.named(name).map(|entry| (entry.clone(), candidate.place, candidate.path.clone()))
    });
    let Some((entry, place, path)) = found else {
        let ids =
            candidates.iter().flat_map(|candidate| &candidate.menu.entries).map(|entry| printable(&entry.id));
        let ids: Vec<String> = ids.take(20).collect();
        bail!("no boot loader's entry is called `{}`; there are: {}", printable(name), ids.join(", "))
    };
    settle(places, place, entry, &path)
}

/// What a disk has.
struct Opened {
    places: Vec<Volume>,
    /// What could not be read, for people.
    notes: Vec<String>,
}

fn open(disk: &Area) -> Result<Opened> {
    let mut opened = Opened { places: Vec::new(), notes: Vec::new() };
    let is_whole = matches!(Kind::of(disk), Kind::Ext | Kind::Fat);
    let table = if is_whole { None } else { partitions::read(disk).context("its partition table")? };
    let Some(table) = table else {
        opened.add(None, None, disk);
        return Ok(opened);
    };
    for partition in table {
        opened.add(Some(partition.number), Some(partition.uuid), &partition.area);
    }
    Ok(opened)
}

impl Opened {
    fn add(&mut self, number: Option<u32>, part_uuid: Option<String>, area: &Area) {
        let label = label(number);
        match FileSystem::open(area) {
            Ok(Some(files)) => self.places.push(Volume { number, part_uuid, files }),
            Ok(None) => {
                if let Kind::Other(what) = Kind::of(area) {
                    self.notes.push(format!("{label} has {what}, which is not read here"));
                }
            }
            // Another partition may have all that is needed.
            Err(error) => self.notes.push(format!("{label}: {error:#}")),
        }
    }
}

fn label(number: Option<u32>) -> String {
    number.map_or("the disk".into(), |number| format!("partition {number}"))
}

impl Volume {
    fn label(&self) -> String {
        label(self.number)
    }

    fn text(&self, path: &str) -> Result<Option<String>> {
        self.files.text(path, MOST_TEXT)
    }

    /// How Linux finds it as its root, without or with a ramdisk that knows file systems.
    fn root(&self, has_ramdisk: bool) -> String {
        match (has_ramdisk, &self.part_uuid, self.number) {
            (true, ..) => format!("root=UUID={}", self.files.uuid),
            (false, Some(uuid), _) => format!("root=PARTUUID={uuid}"),
            (false, None, _) => "root=/dev/vda".into(),
        }
    }
}

/// Why there is nothing.
fn nothing(places: &[Volume], notes: &[String]) -> String {
    let mut text =
        "there is no kernel: no `loader/entries`, `EFI/Linux`, `extlinux.conf`, `grub.cfg`, and no `vmlinuz`"
            .to_owned();
    let looked: Vec<String> = places.iter().map(Volume::label).collect();
    match looked.as_slice() {
        [] => text += "; no ext4 and no FAT is there",
        looked => text += &format!(" on {}", looked.join(", ")),
    }
    for note in notes {
        text += "; ";
        text += &printable(note);
    }
    text
}

type Answer = Result<Option<(Menu, String)>>;

fn variables(place: &Volume, folders: &[&str]) -> Result<crate::menu::Variables> {
    for folder in folders {
        if let Some(text) = place.text(&format!("{folder}/grubenv"))? {
            return Ok(grubenv(&text));
        }
    }
    Ok(crate::menu::Variables::new())
}

fn bls_menu(place: &Volume) -> Answer {
    for folder in BLS {
        let entries = format!("{folder}/entries");
        let mut names = place.files.list(&entries)?;
        names.retain(|name| name.ends_with(".conf"));
        names.sort_by(|one, other| bls::compare(other, one));
        let mut files = Vec::new();
        for name in names.into_iter().take(MOST_FILES) {
            if let Some(text) = place.text(&format!("{entries}/{name}"))? {
                files.push((name, text));
            }
        }
        // What systemd-boot starts is beside its own folder.
        let images = if folder == BLS_SYSTEMD { unified_images(place)? } else { Vec::new() };
        if files.is_empty() && images.is_empty() {
            continue;
        }
        let loader = place.text(&format!("{folder}/loader.conf"))?.unwrap_or_default();
        let menu = bls::menu(&files, &images, bls::wanted(&loader), &variables(place, &GRUB)?);
        if let Some(first) = menu.entries.first() {
            let path = if first.is_unified { UNIFIED.into() } else { entries };
            return Ok(Some((menu, path)));
        }
    }
    Ok(None)
}

/// The unified kernel images of a file system. One that is damaged is among them, so that it can be said what is wrong with
/// it where it is the one to be started.
fn unified_images(place: &Volume) -> Result<Vec<bls::Unified>> {
    let mut names = place.files.list(UNIFIED)?;
    names.retain(|name| bls::unified_stem(name).is_some());
    names.sort_by(|one, other| bls::compare(other, one));
    let mut images = Vec::new();
    for name in names.into_iter().take(MOST_FILES) {
        let path = format!("{UNIFIED}/{name}");
        let (release, options) = match sections(place, &path) {
            Ok(Some(found)) => {
                let text = |section| section_text(place, &path, section).unwrap_or_default();
                (text(found.osrel), text(found.cmdline))
            }
            Ok(None) => continue,
            Err(_) => Default::default(),
        };
        images.push(bls::Unified { name, path, release, options });
    }
    Ok(images)
}

/// Where the parts of a unified kernel image are. None: the file is not there, or is something else.
fn sections(place: &Volume, path: &str) -> Result<Option<uki::Sections>> {
    let Some(file) = place.files.file(path, u64::MAX)? else { return Ok(None) };
    let size = file.size;
    uki::read(&file.bytes(uki::HEAD as u64)?, size)
}

/// The text of a section; zeroes and white space at its end are none of it.
fn section_text(place: &Volume, path: &str, section: Option<uki::Section>) -> Result<String> {
    let Some((section, file)) = section.zip(place.files.file(path, u64::MAX)?) else {
        return Ok(String::new());
    };
    let bytes = file.part(section.start, section.size)?.bytes(uki::MOST_TEXT)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\0', '\n', ' ']).to_owned())
}

fn extlinux_menu(place: &Volume) -> Answer {
    for folder in EXTLINUX {
        let path = format!("{folder}/extlinux.conf");
        if let Some(text) = place.text(&path)? {
            return Ok(Some((extlinux::menu(&text, folder), path)));
        }
    }
    Ok(None)
}

fn grub_menu(place: &Volume) -> Answer {
    for folder in GRUB {
        let path = format!("{folder}/grub.cfg");
        if let Some(text) = place.text(&path)? {
            return Ok(Some((grub::menu(&text, &variables(place, &[folder])?), path)));
        }
    }
    Ok(None)
}

fn link_menu(place: &Volume) -> Answer {
    let entries: Vec<Entry> = LINKS
        .iter()
        .filter(|(kernel, _)| place.files.has(kernel))
        .map(|&(kernel, ramdisk)| {
            let has_ramdisk = place.files.has(ramdisk);
            Entry {
                id: kernel.into(),
                title: kernel.into(),
                linux: kernel.into(),
                initrd: has_ramdisk.then(|| ramdisk.into()).into_iter().collect(),
                options: format!("{} ro", place.root(has_ramdisk)),
                ..Entry::default()
            }
        })
        .collect();
    // A kernel without a ramdisk is taken only where none has one.
    let default = entries.iter().position(|entry| !entry.initrd.is_empty()).unwrap_or(0);
    Ok(Some((Menu::new(entries, default), String::new())))
}

/// Finds the file system on which an entry's files are.
fn settle(places: Vec<Volume>, from: usize, entry: Entry, path: &str) -> Result<Found> {
    let is_meant = |place: &Volume| match &entry.place {
        Some(Place::Uuid(uuid)) => place.files.uuid.eq_ignore_ascii_case(uuid),
        Some(Place::Label(label)) => place.files.label == *label,
        Some(Place::File(file)) => place.files.has(file),
        None => false,
    };
    let place = places.iter().position(is_meant).unwrap_or(from);
    let configuration = match (path, places.get(from)) {
        ("", Some(named)) => named.label(),
        (path, Some(named)) => format!("{path} on {}", named.label()),
        (path, None) => path.to_owned(),
    };
    let source = format!("`{}` of {configuration}", printable(&entry.title));
    Ok(Found { places, place, entry, source })
}

/// A file of an entry.
pub struct Part<'a> {
    /// Its path.
    pub path: String,
    /// The file.
    pub file: crate::filesystem::File<'a>,
}

/// A section of a file.
fn cut(
    file: crate::filesystem::File<'_>,
    section: uki::Section,
    limit: u64,
) -> Result<crate::filesystem::File<'_>> {
    if section.size > limit {
        bail!("a part of it has {} bytes, more than the {limit} that there is room for", section.size);
    }
    file.part(section.start, section.size)
}

impl Found {
    /// The kernel's command line, as the entry has it.
    pub fn options(&self) -> &str {
        &self.entry.options
    }

    /// Opens the kernel.
    ///
    /// # Errors
    ///
    /// It is not there, cannot be read, or has more than `limit` bytes.
    pub fn kernel(&self, limit: u64) -> Result<Part<'_>> {
        if self.entry.is_unified {
            let (mut part, sections) = self.unified()?;
            part.file = cut(part.file, sections.linux, limit).with_context(|| part.path.clone())?;
            return Ok(part);
        }
        self.part(&self.entry.linux, limit)
    }

    /// Opens a unified kernel image.
    fn unified(&self) -> Result<(Part<'_>, uki::Sections)> {
        let part = self.part(&self.entry.linux, u64::MAX)?;
        let place = self.places.get(self.place).context("no file system")?;
        let found = sections(place, &self.entry.linux).with_context(|| part.path.clone())?;
        let found = found.with_context(|| format!("{} is no unified kernel image", part.path))?;
        Ok((part, found))
    }

    /// Opens the ramdisks, which have at most `limit` bytes together.
    ///
    /// # Errors
    ///
    /// As [`Found::kernel`].
    pub fn ramdisks(&self, limit: u64) -> Result<Vec<Part<'_>>> {
        if self.entry.is_unified {
            let (mut part, sections) = self.unified()?;
            let Some(initrd) = sections.initrd else { return Ok(Vec::new()) };
            part.file = cut(part.file, initrd, limit).with_context(|| part.path.clone())?;
            return Ok(vec![part]);
        }
        let mut left = limit;
        if self.entry.initrd.len() > MOST_RAMDISKS {
            bail!("{} has more than {MOST_RAMDISKS} ramdisks", self.source);
        }
        let mut parts = Vec::new();
        for path in &self.entry.initrd {
            let part = self.part(path, left)?;
            left = left.saturating_sub(part.file.size);
            parts.push(part);
        }
        Ok(parts)
    }

    fn part(&self, path: &str, limit: u64) -> Result<Part<'_>> {
        let place = self.places.get(self.place).context("no file system")?;
        // A configuration of the root's file system may name files as they are where `/boot` is one of its own.
        let path = normal(path);
        for path in [path.clone(), format!("/boot{path}")] {
            let file = place.files.file(&path, limit).with_context(|| place.label())?;
            if let Some(file) = file {
                return Ok(Part { path: printable(&path), file });
            }
        }
        bail!("{} names {}, which is not on {}", self.source, printable(&path), place.label())
    }
}
