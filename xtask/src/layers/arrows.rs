//! What each file names of others: its imports, the paths in its code, and those in the text of macros.

use std::collections::HashMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{ItemMod, ItemUse, Macro, Visibility};

use super::names::Resolved;
use super::tree::{FileId, ModuleId, Tree, imports, plain};
use super::without_tests::visit_without_tests;

/// A place in a file that names something.
#[derive(Clone, Debug)]
pub struct Arrow {
    /// The module that the place is in.
    pub from: ModuleId,
    /// Its line.
    pub line: usize,
    /// The path, as written.
    pub text: String,
    /// Where the path leads.
    pub to: Vec<Resolved>,
    /// The place only passes the name on to others (`pub use`).
    pub passes_on: bool,
}

/// Collects the arrows of all files.
pub fn collect(tree: &Tree) -> Vec<Arrow> {
    let mut inner: HashMap<(ModuleId, String, FileId), ModuleId> = HashMap::new();
    for (id, module) in tree.modules.iter().enumerate() {
        if let (Some(parent), Some((_, name))) = (module.parent, module.path.rsplit_once("::")) {
            inner.insert((parent, name.to_owned(), module.file), id);
        }
    }
    let mut arrows = Vec::new();
    for (file, content) in tree.files.iter().enumerate() {
        let mut collector =
            Collector { tree, inner: &inner, file, module: content.module, arrows: &mut arrows };
        collector.visit_file(&content.syntax);
    }
    arrows
}

struct Collector<'a> {
    tree: &'a Tree,
    /// Modules by the one that declares them, their name, and the file that they are written in.
    inner: &'a HashMap<(ModuleId, String, FileId), ModuleId>,
    file: FileId,
    module: ModuleId,
    arrows: &'a mut Vec<Arrow>,
}

impl Collector<'_> {
    fn add(&mut self, path: &[String], line: usize, passes_on: bool) {
        let to = self.tree.resolve(self.module, path);
        if !to.is_empty() {
            self.arrows.push(Arrow { from: self.module, line, text: path.join("::"), to, passes_on });
        }
    }

    /// Finds the paths in a macro's text, which need not be Rust.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon =
            |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(ident) => {
                    let line = ident.span().start().line;
                    let mut path = vec![plain(ident)];
                    while is_colon(at + 1) && is_colon(at + 2) {
                        let Some(TokenTree::Ident(next)) = tokens.get(at + 3) else { break };
                        path.push(plain(next));
                        at += 3;
                    }
                    self.add(&path, line, false);
                }
                _ => (),
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    visit_without_tests!();

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let Some((_, items)) = &item.content else { return };
        let outer = self.module;
        if let Some(inner) = self.inner.get(&(outer, plain(&item.ident), self.file)) {
            self.module = *inner;
            for item in items {
                self.visit_item(item);
            }
            self.module = outer;
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for import in imports(item) {
            self.add(&import.path, import.line, import.public);
        }
    }

    // `pub(in path)` names a module above, and uses nothing of it.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments: Vec<String> = path.segments.iter().map(|segment| plain(&segment.ident)).collect();
        if path.leading_colon.is_some() {
            segments.insert(0, String::new());
        }
        self.add(&segments, path.span().start().line, false);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        visit::visit_macro(self, call);
        self.scan(call.tokens.clone());
    }
}
