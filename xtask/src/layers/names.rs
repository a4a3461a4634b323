//! From a path, as a file writes it, to the module that defines what it names.
//!
//! What a module re-exports is followed to where it is defined. A name that stands for several things (one for each
//! configuration, or a module and a function) is followed to each.

use std::collections::HashSet;

use super::tree::{ModuleId, Tree};

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A module itself.
    Module(ModuleId),
    /// An item that a module defines.
    Item(ModuleId),
    /// Something of a package whose sources are not looked at, by its place in [`Tree::packages`].
    Package(usize),
}

/// A path's end, and how it got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resolved {
    /// The end.
    pub target: Target,
    /// The last module that the path itself names, where it is another than that of the end.
    pub through: Option<ModuleId>,
}

/// Names that are being followed, to end where imports lead in a ring.
type Followed = HashSet<(ModuleId, String)>;

impl Tree {
    /// Resolves a path that stands in a module.
    ///
    /// It is empty for what is not of these packages: the standard library, other crates, local variables.
    pub fn resolve(&self, from: ModuleId, path: &[String]) -> Vec<Resolved> {
        self.resolve_unless(from, path, &mut Followed::new())
    }

    fn resolve_unless(&self, from: ModuleId, path: &[String], followed: &mut Followed) -> Vec<Resolved> {
        let Some((head, rest)) = path.split_first() else { return Vec::new() };
        let start = match head.as_str() {
            "crate" => vec![Target::Module(self.root_of(from))],
            "self" => vec![Target::Module(from)],
            "super" => self.modules[from].parent.map(Target::Module).into_iter().collect(),
            // `::name`
            "" => {
                let Some((name, rest)) = rest.split_first() else { return Vec::new() };
                return self.walk(self.package(from, name), rest, followed);
            }
            name => {
                let here = self.look_up(from, name, followed);
                if here.is_empty() { self.package(from, name) } else { here }
            }
        };
        self.walk(start, rest, followed)
    }

    fn walk(&self, start: Vec<Target>, path: &[String], followed: &mut Followed) -> Vec<Resolved> {
        let mut ends: Vec<Resolved> =
            start.into_iter().map(|target| Resolved { target, through: None }).collect();
        for (place, name) in path.iter().enumerate() {
            let is_last = place + 1 == path.len();
            let mut next = Vec::new();
            for end in ends {
                match end.target {
                    Target::Module(module) if name == "super" => {
                        next.extend(
                            self.modules[module].parent.map(|parent| Resolved {
                                target: Target::Module(parent),
                                through: end.through,
                            }),
                        );
                    }
                    Target::Module(module) => {
                        let mut found = self.look_up(module, name, followed);
                        if !is_last && found.iter().any(|target| matches!(target, Target::Module(_))) {
                            // A path goes on in the module, and not in the function of the same name.
                            found.retain(|target| !matches!(target, Target::Item(_)));
                        }
                        if found.is_empty() {
                            // What a macro defines.
                            found.push(Target::Item(module));
                        }
                        next.extend(
                            found.into_iter().map(|target| Resolved { target, through: Some(module) }),
                        );
                    }
                    Target::Item(_) | Target::Package(_) => next.push(end),
                }
            }
            ends = next;
        }
        ends
    }

    /// What a name stands for in a module.
    fn look_up(&self, module: ModuleId, name: &str, followed: &mut Followed) -> Vec<Target> {
        if !followed.insert((module, name.to_owned())) {
            return Vec::new();
        }
        let content = &self.modules[module];
        let mut found: Vec<Target> =
            content.children.get(name).into_iter().flatten().map(|child| Target::Module(*child)).collect();
        if content.items.iter().any(|item| item == name) {
            found.push(Target::Item(module));
        }
        let named = content.imports.iter().filter(|import| import.name.as_deref() == Some(name));
        for import in named {
            found.extend(self.resolve_unless(module, &import.path, followed).iter().map(|end| end.target));
        }
        if found.is_empty() {
            for import in content.imports.iter().filter(|import| import.name.is_none()) {
                for end in self.resolve_unless(module, &import.path, followed) {
                    if let Target::Module(other) = end.target {
                        found.extend(self.look_up(other, name, followed));
                    }
                }
            }
        }
        followed.remove(&(module, name.to_owned()));
        found.sort_by_key(|target| format!("{target:?}"));
        found.dedup();
        found
    }

    /// A package by the name that the package of a module has for it. A program finds its own library so.
    fn package(&self, from: ModuleId, name: &str) -> Vec<Target> {
        let own = &self.packages[self.modules[from].package];
        let crate_name = |package: &str| package.replace('-', "_");
        let needed = own.dependencies.iter().find(|dependency| crate_name(&dependency.alias) == name);
        let needed = match needed {
            Some(dependency) => &dependency.package,
            None if crate_name(&own.name) == name => &own.name,
            None => return Vec::new(),
        };
        match self.libraries.get(needed) {
            Some(root) => vec![Target::Module(*root)],
            None => {
                let place = self.packages.iter().position(|package| &package.name == needed);
                place.map(Target::Package).into_iter().collect()
            }
        }
    }
}
