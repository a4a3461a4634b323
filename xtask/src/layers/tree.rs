//! Packages as trees of modules: where each stands, what it contains, and what it imports.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, ItemUse, Meta, Stmt, Token, UseTree, punctuated::Punctuated};

/// Texts by the path of their file in the workspace.
pub type Sources = BTreeMap<PathBuf, String>;

/// A package of the workspace.
#[derive(Clone, Debug, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its manifest.
    pub manifest: PathBuf,
    /// The files that its library and programs begin in, the library's first. None: its imports are not looked at.
    pub roots: Vec<PathBuf>,
    /// The packages of the workspace that it needs, but for those of its tests.
    pub dependencies: Vec<Dependency>,
}

/// A package that another needs.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// Its name.
    pub package: String,
    /// What the one that needs it calls it.
    pub alias: String,
    /// Where the manifest says so.
    pub line: usize,
}

/// A module's number in its [`Tree`].
pub type ModuleId = usize;
/// A file's number in its [`Tree`].
pub type FileId = usize;

/// All modules of all packages that have sources.
#[derive(Default)]
pub struct Tree {
    /// The modules.
    pub modules: Vec<Module>,
    /// The files, each with its text as syntax.
    pub files: Vec<File>,
    /// The packages, as they were given.
    pub packages: Vec<Package>,
    /// The root module of each package's library.
    pub libraries: HashMap<String, ModuleId>,
}

/// A file.
pub struct File {
    /// Its path in the workspace.
    pub path: PathBuf,
    /// The module that it is.
    pub module: ModuleId,
    /// Its content.
    pub syntax: syn::File,
}

/// A module, in a file of its own or within another's.
pub struct Module {
    /// Its path, from its package's name.
    pub path: String,
    /// The file that it is written in.
    pub file: FileId,
    /// Its package, by place in [`Tree::packages`].
    pub package: usize,
    /// The module that it is declared in.
    pub parent: Option<ModuleId>,
    /// The modules that it declares. A name may stand for several, one for each configuration.
    pub children: HashMap<String, Vec<ModuleId>>,
    /// The names that it imports.
    pub imports: Vec<Import>,
    /// The items that it defines.
    pub items: Vec<String>,
}

/// One name of a `use`, or all names of a module.
#[derive(Clone, Debug)]
pub struct Import {
    /// The name under which it is known here; `None` for all of a module.
    pub name: Option<String>,
    /// The path, as written.
    pub path: Vec<String>,
    /// Whether others may import it from here.
    pub public: bool,
    /// The line of the path's last part.
    pub line: usize,
}

impl Tree {
    /// Reads the modules of all packages.
    pub fn read(packages: &[Package], sources: &Sources) -> Result<Tree> {
        let mut tree = Tree { packages: packages.to_vec(), ..Tree::default() };
        for (package, description) in packages.iter().enumerate() {
            for (number, root) in description.roots.iter().enumerate() {
                let mut path = description.name.clone();
                if number > 0 {
                    path = format!("{path}::{}", root.file_stem().unwrap_or_default().to_string_lossy());
                }
                let module = tree.add_file(sources, root, path, package, None)?;
                if number == 0 {
                    tree.libraries.insert(description.name.clone(), module);
                }
            }
        }
        Ok(tree)
    }

    /// The root of a module's crate.
    pub fn root_of(&self, mut module: ModuleId) -> ModuleId {
        while let Some(parent) = self.modules[module].parent {
            module = parent;
        }
        module
    }

    fn add_module(
        &mut self,
        path: String,
        file: FileId,
        package: usize,
        parent: Option<ModuleId>,
    ) -> ModuleId {
        self.modules.push(Module {
            path,
            file,
            package,
            parent,
            children: HashMap::new(),
            imports: Vec::new(),
            items: Vec::new(),
        });
        self.modules.len() - 1
    }

    fn add_file(
        &mut self,
        sources: &Sources,
        file: &Path,
        path: String,
        package: usize,
        parent: Option<ModuleId>,
    ) -> Result<ModuleId> {
        let text = sources.get(file).with_context(|| format!("there is no file {}", file.display()))?;
        let syntax = syn::parse_file(text)
            .map_err(|error| anyhow::anyhow!("{}:{}: {error}", file.display(), error.span().start().line))?;
        let id = self.files.len();
        let module = self.add_module(path, id, package, parent);
        self.files.push(File { path: file.to_owned(), module, syntax: syntax.clone() });
        let mut reader = Reader { tree: self, module, elsewhere: Vec::new() };
        reader.visit_file(&syntax);
        for (declared_in, name, location) in reader.elsewhere {
            let candidates = match location {
                Some(location) => vec![file.with_file_name("").join(location)],
                None => candidates(file, parent.is_none(), &self.names_between(module, declared_in), &name),
            };
            let Some(found) = candidates.iter().find(|path| sources.contains_key(*path)) else {
                bail!("{}: module {name} has no file", file.display());
            };
            let path = format!("{}::{name}", self.modules[declared_in].path);
            let child = self.add_file(sources, found, path, package, Some(declared_in))?;
            self.modules[declared_in].children.entry(name).or_default().push(child);
        }
        Ok(module)
    }

    /// The names of the modules from below `outer` down to `inner`, which is written in the same file.
    fn names_between(&self, outer: ModuleId, inner: ModuleId) -> Vec<String> {
        let below = &self.modules[inner].path[self.modules[outer].path.len()..];
        below.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}

/// Where the file of a module `name` may be that is declared in `file`, in modules `within` of it.
fn candidates(file: &Path, is_root: bool, within: &[String], name: &str) -> Vec<PathBuf> {
    let mut folder = file.with_file_name("");
    if !is_root && file.file_stem().is_some_and(|stem| stem != "mod") {
        folder.push(file.file_stem().unwrap_or_default());
    }
    folder.extend(within);
    vec![folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")]
}

/// Fills the modules of one file.
struct Reader<'a> {
    tree: &'a mut Tree,
    module: ModuleId,
    /// Modules declared here and written elsewhere: the module that declares them, their name, their `#[path]`.
    elsewhere: Vec<(ModuleId, String, Option<String>)>,
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(attributes(item)) {
            return;
        }
        if let Some(name) = name_of(item) {
            let exported = match item {
                Item::Macro(item) => item.attrs.iter().any(|a| a.path().is_ident("macro_export")),
                _ => false,
            };
            if exported {
                let here = &self.tree.modules[self.module].path;
                let path = std::iter::once("crate").chain(here.split("::").skip(1)).chain([name.as_str()]);
                let path = path.map(str::to_owned).collect();
                let root = self.tree.root_of(self.module);
                if root != self.module {
                    let import = Import { name: Some(name.clone()), path, public: true, line: 0 };
                    self.tree.modules[root].imports.push(import);
                }
            }
            self.tree.modules[self.module].items.push(name);
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let name = plain(&item.ident);
        let outer = self.module;
        let Some((_, items)) = &item.content else {
            self.elsewhere.push((outer, name, path_attribute(&item.attrs)));
            return;
        };
        let parent = &self.tree.modules[outer];
        let (path, file, package) = (format!("{}::{name}", parent.path), parent.file, parent.package);
        self.module = self.tree.add_module(path, file, package, Some(outer));
        self.tree.modules[outer].children.entry(name).or_default().push(self.module);
        for item in items {
            self.visit_item(item);
        }
        self.module = outer;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree.modules[self.module].imports.extend(imports(item));
    }
}

/// The names that a `use` brings.
pub fn imports(item: &ItemUse) -> Vec<Import> {
    let public = !matches!(item.vis, syn::Visibility::Inherited);
    let start = if item.leading_colon.is_some() { vec![String::new()] } else { Vec::new() };
    let mut all = Vec::new();
    flatten(&item.tree, start, public, &mut all);
    all
}

fn flatten(tree: &UseTree, mut path: Vec<String>, public: bool, into: &mut Vec<Import>) {
    let line = tree.span().start().line;
    let mut end = |path: &[String], last: Option<String>, name: Option<String>| {
        let mut path = path.to_vec();
        // `use a::{self}` imports `a`.
        path.extend(last.filter(|last| last != "self" || path.is_empty()));
        into.push(Import { name, path, public, line });
    };
    match tree {
        UseTree::Path(inner) => {
            path.push(plain(&inner.ident));
            flatten(&inner.tree, path, public, into);
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, path.clone(), public, into);
            }
        }
        UseTree::Name(name) => {
            let last = plain(&name.ident);
            let known = if last == "self" { path.last().cloned() } else { Some(last.clone()) };
            end(&path, Some(last), known);
        }
        UseTree::Rename(rename) => end(&path, Some(plain(&rename.ident)), Some(plain(&rename.rename))),
        UseTree::Glob(_) => end(&path, None, None),
    }
}

/// An identifier without the mark of a raw one.
pub fn plain(ident: &syn::Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").map(str::to_owned).unwrap_or(text)
}

/// Whether something is there under test only.
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<Meta>().is_ok_and(|condition| demands_test(&condition))
    })
}

fn demands_test(condition: &Meta) -> bool {
    let Meta::List(list) = condition else { return condition.path().is_ident("test") };
    let Ok(parts) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else {
        return false;
    };
    if list.path.is_ident("all") {
        parts.iter().any(demands_test)
    } else {
        list.path.is_ident("any") && !parts.is_empty() && parts.iter().all(demands_test)
    }
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return None };
        pair.path.is_ident("path").then(|| text.value())
    })
}

/// The attributes of an item.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The attributes of a part of an `impl`.
pub fn impl_item_attributes(item: &ImplItem) -> &[Attribute] {
    match item {
        ImplItem::Const(item) => &item.attrs,
        ImplItem::Fn(item) => &item.attrs,
        ImplItem::Type(item) => &item.attrs,
        ImplItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// The attributes of a statement.
pub fn stmt_attributes(statement: &Stmt) -> &[Attribute] {
    match statement {
        Stmt::Local(local) => &local.attrs,
        Stmt::Macro(call) => &call.attrs,
        Stmt::Item(_) | Stmt::Expr(..) => &[],
    }
}

/// The name that an item defines, if paths may end in it.
fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(plain(ident))
}
