//! Words of an architecture in files that are to know none.
//!
//! What is looked at is identifiers: those of the code, and those in the text of macros. Comments, strings and tests may say
//! what they like. An identifier is taken apart where its words meet (`VgicActions`, `PL011_SPI`), so that `magic` is no GIC.

use std::collections::BTreeMap;

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::Macro;
use syn::visit::{self, Visit};

use super::report::Breach;
use super::table::{NeutralWords, Table, is_within};
use super::tree::{File, Tree, plain};
use super::without_tests::visit_without_tests;

/// Lists the identifiers that say more than their file is to know, each once in a file, and what of the rule is nowhere.
pub fn breaches(tree: &Tree, table: &Table) -> Vec<Breach> {
    let Some(rule) = &table.neutral_words else { return Vec::new() };
    let exists = |member: &&String| tree.modules.iter().any(|module| module.path == **member);
    let missing = rule.members.iter().chain(&rule.except).filter(|member| !exists(member));
    let mut all: Vec<Breach> = missing
        .map(|member| Breach {
            file: "hypervisor/layers.toml".into(),
            line: 1,
            rule: format!("neutral_words has {member}, which does not exist"),
        })
        .collect();
    for file in &tree.files {
        let path = &tree.modules[file.module].path;
        if rule.holds_for(path) {
            all.extend(in_file(file, path, rule));
        }
    }
    all
}

fn in_file(file: &File, path: &str, rule: &NeutralWords) -> Vec<Breach> {
    let mut collector = Collector::default();
    collector.visit_file(&file.syntax);
    let word_in = |name: &str| {
        // A file may name the architecture's part that it declares: by that it chooses one.
        let declared = format!("{path}::{name}");
        let word = rule.words.iter().find(|word| has_word(name, word));
        word.filter(|_| !rule.except.contains(&declared))
    };
    let found = collector.names.iter().filter_map(|(name, line)| Some((name, line, word_in(name)?)));
    found
        .map(|(name, line, word)| Breach {
            file: file.path.clone(),
            line: *line,
            rule: format!("`{name}` is a word of an architecture (`{word}`), and this file is to know none"),
        })
        .collect()
}

impl NeutralWords {
    /// Whether a module is to know no architecture.
    fn holds_for(&self, path: &str) -> bool {
        let is_of = |members: &[String]| members.iter().any(|member| is_within(path, member));
        is_of(&self.members) && !is_of(&self.except)
    }
}

/// Whether an identifier has a word, or several of one (`list_register`), in the singular or the plural.
fn has_word(name: &str, word: &str) -> bool {
    let parts = words(name);
    let wanted = word.replace('_', "");
    (0..parts.len()).any(|start| {
        let mut joined = String::new();
        parts[start..].iter().any(|part| {
            joined.push_str(part);
            joined == wanted || joined.strip_suffix('s') == Some(&wanted)
        })
    })
}

/// The words of an identifier, in lower case.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut all = vec![String::new()];
    for (at, &letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| letters[before]);
        let next_is_lower = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        // `aB` and the last capital of `ABc` begin a word.
        let begins =
            letter.is_uppercase() && before.is_some_and(|before| !before.is_uppercase() || next_is_lower);
        if letter == '_' || begins {
            all.push(String::new());
        }
        if let Some(word) = all.last_mut().filter(|_| letter != '_') {
            word.extend(letter.to_lowercase());
        }
    }
    all.retain(|word| !word.is_empty());
    all
}

/// The identifiers of a file that are not of its tests, with the first line of each.
#[derive(Default)]
struct Collector {
    names: BTreeMap<String, usize>,
}

impl Collector {
    fn add(&mut self, ident: &Ident) {
        let line = ident.span().start().line;
        let first = self.names.entry(plain(ident)).or_insert(line);
        *first = line.min(*first);
    }

    fn scan(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(ident) => self.add(&ident),
                TokenTree::Punct(_) | TokenTree::Literal(_) => (),
            }
        }
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_ident(&mut self, ident: &'ast Ident) {
        self.add(ident);
    }

    visit_without_tests!();

    fn visit_macro(&mut self, call: &'ast Macro) {
        visit::visit_macro(self, call);
        self.scan(call.tokens.clone());
    }
}
