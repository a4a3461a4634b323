//! `grub.cfg`, as far as its entries go.
//!
//! It is a script. What is run here of it are assignments, and the few commands that an entry has to start Linux;
//! conditions are not looked at, and of `if` and `else` both are taken in their order. That is right for what `grub-mkconfig`
//! writes, where the alternatives of an entry differ in hints, and those of `default` in a choice for one boot only.

mod words;

use super::{Entry, MOST_ENTRIES, Menu, Place, Variables, joined};
use words::{Statement, statements};

/// How deep menus are nested at most.
const MOST_LEVELS: usize = 8;

/// A line of the menu.
#[derive(Debug, Default)]
struct Item {
    title: String,
    id: String,
    /// What it starts; of a menu within the menu, nothing.
    entry: Entry,
    below: Vec<Item>,
}

/// Reads the file. `variables` is what GRUB has kept.
pub fn menu(text: &str, variables: &Variables) -> Menu {
    let mut variables = variables.clone();
    let mut default = String::new();
    // The menu, and those within which the current line stands. `None`: a block of another kind.
    let mut open: Vec<Option<Item>> = vec![Some(Item::default())];
    let mut place = None;
    for statement in statements(text) {
        let words = match statement {
            Statement::Open(words) => {
                let item = item(&words, &variables);
                if open.len() < MOST_LEVELS {
                    open.push(item);
                    continue;
                }
                // Nobody has menus that deep.
                return Menu::default();
            }
            Statement::Close => {
                close(&mut open);
                continue;
            }
            Statement::Words(words) => words,
        };
        let words: Vec<String> = words.iter().map(|word| word.expand(&variables)).collect();
        let words = without_keywords(&words);
        let Some((command, rest)) = words.split_first() else { continue };
        let is_menu = open.iter().flatten().count() == 1;
        let entry = open.iter_mut().rev().flatten().next().map(|item| &mut item.entry);
        match command.as_str() {
            "set" => {
                if let Some((name, value)) = rest.first().and_then(|word| word.split_once('=')) {
                    if name == "default" && !value.is_empty() {
                        value.clone_into(&mut default);
                    }
                    variables.insert(name.to_owned(), value.to_owned());
                }
            }
            "search" => match entry {
                Some(entry) if !is_menu => entry.place = search(rest),
                _ => place = search(rest),
            },
            "linux" | "linux16" | "linuxefi" => {
                if let (Some(entry), Some((path, options))) = (entry, rest.split_first()) {
                    entry.linux = without_device(path);
                    entry.options = joined(options.iter().map(String::as_str));
                }
            }
            "initrd" | "initrd16" | "initrdefi" => {
                if let Some(entry) = entry {
                    entry.initrd = rest
                        .iter()
                        .filter(|path| !path.is_empty())
                        .map(|path| without_device(path))
                        .collect();
                }
            }
            _ => {}
        }
    }
    while open.len() > 1 {
        close(&mut open);
    }
    let items = open.pop().flatten().map(|item| item.below).unwrap_or_default();
    let wanted = chosen(&items, &default).map(|entry| (entry.id.clone(), entry.title.clone()));
    let mut entries = Vec::new();
    flatten(items, &mut entries);
    // An entry that says nothing of its own starts from where the configuration has searched before.
    for entry in &mut entries {
        entry.place = entry.place.take().or_else(|| place.clone());
    }
    let is_wanted =
        |entry: &Entry| wanted.as_ref().is_some_and(|(id, title)| entry.id == *id && entry.title == *title);
    let default = entries.iter().position(is_wanted).unwrap_or(0);
    Menu::new(entries, default)
}

/// Ends the innermost block.
fn close(open: &mut Vec<Option<Item>>) {
    if open.len() < 2 {
        return;
    }
    let Some(mut item) = open.pop().flatten() else { return };
    item.entry.id.clone_from(&item.id);
    item.entry.title.clone_from(&item.title);
    if let Some(above) = open.iter_mut().rev().flatten().next()
        && above.below.len() < MOST_ENTRIES
    {
        above.below.push(item);
    }
}

/// The line of the menu that a block is.
fn item(words: &[words::Word], variables: &Variables) -> Option<Item> {
    let (command, rest) = words.split_first()?;
    if !matches!(command.expand(variables).as_str(), "menuentry" | "submenu") {
        return None;
    }
    let mut item = Item::default();
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        let text = word.expand(variables);
        // What `grub-mkconfig` writes for `--id`, which a GRUB that is too old for it has empty.
        if word.is("$menuentry_id_option") || text == "--id" {
            item.id = rest.next().map(|id| id.expand(variables)).unwrap_or_default();
        } else if ["--class", "--users", "--hotkey"].contains(&text.as_str()) {
            rest.next();
        } else if !text.starts_with("--") && item.title.is_empty() {
            item.title = text;
        }
    }
    if item.id.is_empty() {
        item.id.clone_from(&item.title);
    }
    Some(item)
}

/// `if …; then set …` on one line.
fn without_keywords(words: &[String]) -> &[String] {
    let keywords = words.iter().take_while(|word| matches!(word.as_str(), "then" | "else" | "do"));
    words.get(keywords.count()..).unwrap_or_default()
}

/// A path without the disk before it: `($root)/vmlinuz`.
fn without_device(path: &str) -> String {
    let behind = path.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    behind.map_or(path, |(_, path)| path).to_owned()
}

fn search(words: &[String]) -> Option<Place> {
    let is = |names: [&str; 2]| words.iter().any(|word| names.contains(&word.as_str()));
    let value = words.iter().rfind(|word| !word.starts_with('-'))?.clone();
    if is(["--fs-uuid", "-u"]) {
        Some(Place::Uuid(value))
    } else if is(["--label", "-l"]) {
        Some(Place::Label(value))
    } else if is(["--file", "-f"]) {
        Some(Place::File(value))
    } else {
        None
    }
}

/// The entry that `default` means: numbers, IDs or titles, with `>` between those of menus within each other.
fn chosen<'a>(items: &'a [Item], default: &str) -> Option<&'a Entry> {
    let (name, rest) = default.split_once('>').unwrap_or((default, ""));
    let by_name =
        items.iter().find(|item| item.id == name).or_else(|| items.iter().find(|item| item.title == name));
    let by_number = || name.parse::<usize>().ok().and_then(|number| items.get(number));
    let item = by_name.or_else(by_number).or_else(|| items.first())?;
    // With `default` unset, and of a menu alone, the first is taken.
    if item.below.is_empty() { Some(&item.entry) } else { chosen(&item.below, rest) }
}

fn flatten(items: Vec<Item>, into: &mut Vec<Entry>) {
    for item in items {
        if !item.entry.linux.is_empty() {
            into.push(item.entry);
        }
        flatten(item.below, into);
    }
}

#[cfg(test)]
mod tests;
