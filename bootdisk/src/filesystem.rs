//! File systems that kernels lie on: ext2 to ext4 and FAT, read only.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use anyhow::{Context, Result, anyhow, bail};
use ext4_view::{Ext4, Ext4Error, Ext4Read};

use crate::area::{Area, Stream};

/// The most entries of a folder that are looked at.
const MOST_ENTRIES: usize = 4096;

/// What an area holds, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext2, ext3 or ext4.
    Ext,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// Something that is not read here, by name.
    Other(&'static str),
    /// Nothing that is known.
    Unknown,
}

/// A file system.
pub struct FileSystem {
    tree: Tree,
    /// Its UUID, as Linux writes it.
    pub uuid: String,
    /// Its label.
    pub label: String,
}

enum Tree {
    Ext(Ext4),
    Fat(Box<fatfs::FileSystem<Stream>>),
}

/// A file that is open.
pub struct File<'a> {
    content: Content<'a>,
    /// Its bytes.
    pub size: u64,
}

enum Content<'a> {
    Ext(Box<ext4_view::File>),
    Fat(fatfs::File<'a, Stream>),
}

struct Bytes(Area);

impl Ext4Read for Bytes {
    fn read(
        &mut self,
        start: u64,
        into: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(self.0.read(start, into)?)
    }
}

impl Kind {
    /// Looks at an area.
    pub fn of(area: &Area) -> Kind {
        let is = |at, mark: &[u8]| {
            let mut bytes = vec![0; mark.len()];
            area.read(at, &mut bytes).is_ok() && bytes == mark
        };
        let others: [(u64, &[u8], &str); 7] = [
            (0, b"XFSB", "xfs"),
            (0x1_0040, b"_BHRfS_M", "btrfs"),
            (0x400, &0xf2f5_2010_u32.to_le_bytes(), "f2fs"),
            (0, b"LUKS\xba\xbe", "a LUKS volume"),
            (0x200, b"LABELONE", "an LVM volume"),
            (0, b"hsqs", "squashfs"),
            (0x400, &0xe0f5_e1e2_u32.to_le_bytes(), "erofs"),
        ];
        if is(0x438, &[0x53, 0xef]) {
            Kind::Ext
        } else if is(510, &[0x55, 0xaa]) && (is(54, b"FAT") || is(82, b"FAT32")) {
            Kind::Fat
        } else {
            let other = others.iter().find(|&&(at, mark, _)| is(at, mark));
            other.map_or(Kind::Unknown, |&(_, _, name)| Kind::Other(name))
        }
    }
}

impl FileSystem {
    /// Opens what is in an area. None: nothing that is read here.
    ///
    /// # Errors
    ///
    /// It is damaged, or has a feature that is not known.
    pub fn open(area: &Area) -> Result<Option<FileSystem>> {
        match Kind::of(area) {
            Kind::Ext => {
                let tree = Ext4::load(Box::new(Bytes(area.clone())))
                    .map_err(|error| anyhow!("its ext4: {error}"))?;
                let label = tree.label().to_str().unwrap_or_default().to_owned();
                Ok(Some(FileSystem { uuid: tree.uuid().to_string(), label, tree: Tree::Ext(tree) }))
            }
            Kind::Fat => {
                let tree =
                    fatfs::FileSystem::new(area.stream(), fatfs::FsOptions::new()).context("its FAT")?;
                let [low, high] = [tree.volume_id() & 0xffff, tree.volume_id() >> 16];
                let uuid = format!("{high:04X}-{low:04X}");
                Ok(Some(FileSystem { uuid, label: tree.volume_label(), tree: Tree::Fat(Box::new(tree)) }))
            }
            Kind::Other(_) | Kind::Unknown => Ok(None),
        }
    }

    /// Opens a file by its absolute path. None: it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has more than `limit` bytes.
    pub fn file(&self, path: &str, limit: u64) -> Result<Option<File<'_>>> {
        let path = normal(path);
        let (content, size) = match &self.tree {
            Tree::Ext(tree) => {
                let file = match tree.open(path.as_str()) {
                    Ok(file) => file,
                    Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => return Ok(None),
                    Err(error) => bail!("{path}: {error}"),
                };
                let size = file.metadata().len();
                (Content::Ext(Box::new(file)), size)
            }
            Tree::Fat(tree) => {
                let mut file = match tree.root_dir().open_file(path.trim_start_matches('/')) {
                    Ok(file) => file,
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    Err(error) => bail!("{path}: {error}"),
                };
                let size = file.seek(SeekFrom::End(0)).with_context(|| path.clone())?;
                file.rewind().with_context(|| path.clone())?;
                (Content::Fat(file), size)
            }
        };
        if size > limit {
            bail!("{path} has {size} bytes, more than the {limit} that there is room for");
        }
        Ok(Some(File { content, size }))
    }

    /// Reads a whole file. None: it is not there.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::file`].
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.file(path, limit)? else { return Ok(None) };
        Ok(Some(file.bytes(limit).with_context(|| normal(path))?))
    }

    /// Reads a whole text; bytes that are no UTF-8 are replaced. None: it is not there.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::file`].
    pub fn text(&self, path: &str, limit: u64) -> Result<Option<String>> {
        Ok(self.read(path, limit)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Whether there is a file.
    pub fn has(&self, path: &str) -> bool {
        matches!(self.file(path, u64::MAX), Ok(Some(_)))
    }

    /// The names in a folder; none if it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        let path = normal(path);
        let mut names = Vec::new();
        match &self.tree {
            Tree::Ext(tree) => {
                let entries = match tree.read_dir(path.as_str()) {
                    Ok(entries) => entries,
                    Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => return Ok(names),
                    Err(error) => bail!("{path}: {error}"),
                };
                for entry in entries.take(MOST_ENTRIES) {
                    let entry = entry.map_err(|error| anyhow!("{path}: {error}"))?;
                    names.extend(entry.file_name().as_str().ok().map(str::to_owned));
                }
            }
            Tree::Fat(tree) => {
                let folder = match tree.root_dir().open_dir(path.trim_start_matches('/')) {
                    Ok(folder) => folder,
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(names),
                    Err(_) if self.has(&path) => return Ok(names),
                    Err(error) => bail!("{path}: {error}"),
                };
                for entry in folder.iter().take(MOST_ENTRIES) {
                    names.push(entry.with_context(|| path.clone())?.file_name());
                }
            }
        }
        Ok(names)
    }
}

impl File<'_> {
    /// A part of the file, in its place.
    ///
    /// # Errors
    ///
    /// The file does not have it, or cannot be read.
    pub fn part(mut self, start: u64, size: u64) -> Result<Self> {
        if start.checked_add(size).is_none_or(|end| end > self.size) {
            bail!("{size} bytes from byte {start} on are not in its {}", self.size);
        }
        match &mut self.content {
            Content::Ext(file) => file.seek_to(start).map_err(|error| anyhow!("{error}"))?,
            Content::Fat(file) => drop(file.seek(SeekFrom::Start(start))?),
        }
        self.size = size;
        Ok(self)
    }

    /// All of its bytes, or as many as `most` of them.
    ///
    /// # Errors
    ///
    /// As [`File::copy`].
    pub fn bytes(mut self, most: u64) -> Result<Vec<u8>> {
        self.size = self.size.min(most);
        let mut bytes = Vec::new();
        self.copy(&mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Gives the file's bytes to `sink`, in pieces of up to 64 KiB.
    ///
    /// # Errors
    ///
    /// It cannot be read, ends before its size, or the sink refuses.
    pub fn copy(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut piece = vec![0; 64 << 10];
        let mut left = self.size;
        while left != 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            let into = piece.get_mut(..most).unwrap_or_default();
            let count = match &mut self.content {
                Content::Ext(file) => file.read_bytes(into).map_err(|error| anyhow!("{error}"))?,
                Content::Fat(file) => file.read(into)?,
            };
            if count == 0 {
                bail!("it ends {left} bytes before its size");
            }
            sink(into.get(..count).unwrap_or_default())?;
            left = left.saturating_sub(count as u64);
        }
        Ok(())
    }
}

/// A path from the root on, without what means nothing or leads back.
pub fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
