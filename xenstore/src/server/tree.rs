//! The nodes of a store.

use std::collections::BTreeMap;

use super::path::{is_within, parent};
use super::store::Refusal;

/// Nodes, at most.
const MAX_NODES: usize = 512;
/// Bytes of a value, at most.
const MAX_VALUE: usize = 2048;
/// Bytes of all paths and values, at most.
const MAX_BYTES: usize = 128 << 10;

/// Nodes by their paths. Each but the root has its parent there.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree { nodes: BTreeMap::from([("/".to_owned(), Vec::new())]), bytes: 0 }
    }
}

impl Tree {
    /// The value of a node.
    pub fn read(&self, path: &str) -> Option<&[u8]> {
        self.nodes.get(path).map(Vec::as_slice)
    }

    /// The names of the nodes right below one; `None` if there is no such node.
    pub fn list(&self, path: &str) -> Option<Vec<&str>> {
        self.nodes.get(path)?;
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let below = self.nodes.range(prefix.clone()..).take_while(|(node, _)| node.starts_with(&prefix));
        let names = below.filter_map(|(node, _)| node.strip_prefix(&prefix));
        Some(names.filter(|name| !name.is_empty() && !name.contains('/')).collect())
    }

    /// Writes a node; those above it are made if they are not there.
    pub fn write(&mut self, path: &str, value: &[u8]) -> Result<(), Refusal> {
        if value.len() > MAX_VALUE {
            return Err(Refusal::TooBig);
        }
        let missing = self.missing(path);
        let old = self.nodes.get(path).map_or(0, Vec::len);
        let paths: usize = missing.iter().map(|path| path.len()).sum();
        let bytes = self.bytes.saturating_sub(old).saturating_add(paths).saturating_add(value.len());
        if self.nodes.len().saturating_add(missing.len()) > MAX_NODES || bytes > MAX_BYTES {
            return Err(Refusal::NoSpace);
        }
        for path in missing {
            self.nodes.insert(path, Vec::new());
        }
        self.nodes.insert(path.to_owned(), value.to_vec());
        self.bytes = bytes;
        Ok(())
    }

    /// Makes a node, unless it is there. Returns whether it was made.
    pub fn make(&mut self, path: &str) -> Result<bool, Refusal> {
        let is_new = self.read(path).is_none();
        if is_new {
            self.write(path, &[])?;
        }
        Ok(is_new)
    }

    /// Removes a node and all below it. Returns whether there was one.
    pub fn remove(&mut self, path: &str) -> bool {
        let existed = self.nodes.contains_key(path);
        self.nodes.retain(|node, _| !is_within(node, path));
        self.bytes = self.nodes.iter().map(|(path, value)| path.len().saturating_add(value.len())).sum();
        existed
    }

    /// The paths that writing one would make.
    fn missing(&self, path: &str) -> Vec<String> {
        let above = std::iter::successors(Some(path), |path| parent(path));
        above.take_while(|path| !self.nodes.contains_key(*path)).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_brings_those_above_it() {
        let mut tree = Tree::default();
        tree.write("/a/b/c", b"1").unwrap();
        tree.write("/a/b-c", b"2").unwrap();
        assert_eq!(tree.list("/a").unwrap(), ["b", "b-c"]);
        assert_eq!((tree.list("/a/b").unwrap(), tree.list("/x")), (vec!["c"], None));
        assert_eq!((tree.read("/a"), tree.read("/a/b/c")), (Some(&[][..]), Some(&b"1"[..])));
        assert!(tree.remove("/a/b") && !tree.remove("/a/b"));
        assert_eq!(tree.list("/a").unwrap(), ["b-c"]);
    }

    #[test]
    fn a_store_is_bounded() {
        let mut tree = Tree::default();
        assert_eq!(tree.write("/a", &[0; 2049]), Err(Refusal::TooBig));
        let written = (0..10_000).take_while(|node| tree.write(&format!("/n{node}"), b"").is_ok()).count();
        assert_eq!(written, MAX_NODES - 1);
        tree.remove("/");
        let mut tree = Tree::default();
        let written = (0..10_000).take_while(|node| tree.write(&format!("/n{node}"), &[0; 2048]).is_ok());
        assert!(written.count() <= MAX_BYTES / 2048);
    }
}
