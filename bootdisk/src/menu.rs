//! What the configurations of boot loaders say: entries, and which of them is started. Pure text.

pub mod bls;
pub mod extlinux;
pub mod grub;

use std::collections::BTreeMap;

/// The most entries of one configuration.
pub const MOST_ENTRIES: usize = 256;

/// What can be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What its boot loader names it by.
    pub id: String,
    /// What people read.
    pub title: String,
    /// The kernel's path.
    pub linux: String,
    /// Whether that is a unified kernel image, which has kernel, ramdisk and command line in it.
    pub is_unified: bool,
    /// The ramdisks' paths; Linux gets them one behind the other.
    pub initrd: Vec<String>,
    /// The kernel's command line.
    pub options: String,
    /// On which file system the paths are. None: on that of the configuration.
    pub place: Option<Place>,
}

/// How a file system is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By its UUID.
    Uuid(String),
    /// By its label.
    Label(String),
    /// By a file that it has.
    File(String),
}

/// The entries of a configuration, the one that is started first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Menu {
    /// The entries.
    pub entries: Vec<Entry>,
}

impl Menu {
    /// A menu of which the entry at `default` is started.
    pub fn new(mut entries: Vec<Entry>, default: usize) -> Menu {
        entries.truncate(MOST_ENTRIES);
        if let Some(before) = entries.get_mut(..=default) {
            before.rotate_right(1);
        }
        Menu { entries }
    }

    /// The entry of that name: its ID, or else its title.
    pub fn named(&self, name: &str) -> Option<&Entry> {
        let by_id = self.entries.iter().find(|entry| entry.id == name);
        by_id.or_else(|| self.entries.iter().find(|entry| entry.title == name))
    }
}

/// The variables that GRUB has kept.
pub type Variables = BTreeMap<String, String>;

/// Reads GRUB's environment block.
pub fn grubenv(text: &str) -> Variables {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Words with one space between them.
fn joined<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_that_is_started_comes_first_and_others_keep_their_order() {
        let entry = |id: &str| Entry { id: id.into(), ..Entry::default() };
        let order = |default| {
            let menu = Menu::new(vec![entry("a"), entry("b"), entry("c")], default);
            menu.entries.into_iter().map(|entry| entry.id).collect::<String>()
        };
        assert_eq!([order(0), order(2), order(9)], ["abc", "cab", "abc"]);
    }

    #[test]
    fn an_environment_block_has_comments_and_padding() {
        let block = "# GRUB Environment Block\nsaved_entry=gnulinux-6.1\nnext_entry=\n#######";
        let variables = grubenv(block);
        assert_eq!(variables.get("saved_entry").map(String::as_str), Some("gnulinux-6.1"));
        assert_eq!((variables.len(), variables.get("next_entry").map(String::len)), (2, Some(0)));
    }
}
