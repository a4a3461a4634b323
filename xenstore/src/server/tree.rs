//! The nodes of a store, and which domain may do what with them.

use std::collections::BTreeMap;

use rustix::io::Errno;
use xenolith_abi::DomId;

use super::Limits;
use crate::path::{is_within, parent};
use crate::{Access, Permissions};

/// What is watched to be told of a domain that the store comes to know.
pub(super) const INTRODUCED: &str = "@introduceDomain";
/// What is watched to be told of a domain's end.
pub(super) const RELEASED: &str = "@releaseDomain";

#[derive(Clone, Debug)]
struct Node {
    value: Vec<u8>,
    permissions: Permissions,
}

impl Node {
    /// A node without a value, of the control domain's.
    fn of_control(others: Access) -> Node {
        let permissions = Permissions { others, ..Permissions::private(DomId::CONTROL) };
        Node { value: Vec::new(), permissions }
    }

    /// Whether a domain may do with it what `wanted` says of an access.
    fn grants(&self, domain: DomId, wanted: fn(Access) -> bool) -> bool {
        domain == DomId::CONTROL || wanted(self.permissions.of(domain))
    }
}

/// Nodes by their paths. Each but the root has its parent there; the root is always there. Beside them are the names with
/// an `@` that are watched like nodes: they have permissions, and are below nothing.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    bytes: usize,
    limits: Limits,
}

impl Tree {
    pub(super) fn new(limits: Limits) -> Tree {
        let nodes = [("/", Access::None), (INTRODUCED, Access::Read), (RELEASED, Access::None)];
        let nodes = nodes.map(|(name, others)| (name.to_owned(), Node::of_control(others)));
        Tree { nodes: BTreeMap::from(nodes), bytes: 0, limits }
    }

    /// The paths of all nodes, in order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str).filter(|path| path.starts_with('/'))
    }

    /// The value of a node.
    pub(super) fn read(&self, path: &str, domain: DomId) -> Result<&[u8], Errno> {
        Ok(&self.node(path, domain, Access::reads)?.value)
    }

    /// Who may use a node.
    pub(super) fn permissions(&self, path: &str, domain: DomId) -> Result<&Permissions, Errno> {
        Ok(&self.node(path, domain, Access::reads)?.permissions)
    }

    /// The names of the nodes right below one.
    pub(super) fn list(&self, path: &str, domain: DomId) -> Result<Vec<&str>, Errno> {
        self.node(path, domain, Access::reads)?;
        // With the slash: nodes such as "/a-b" stand between "/a" and those below it in the map's order.
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let below = self.nodes.range(prefix.clone()..).take_while(|(node, _)| node.starts_with(&prefix));
        let names = below.filter_map(|(node, _)| node.strip_prefix(&prefix));
        Ok(names.filter(|name| !name.is_empty() && !name.contains('/')).collect())
    }

    /// Whether a domain hears of a change of a node or of a name with `@`. Of what is gone everybody may hear.
    pub(super) fn is_heard_by(&self, path: &str, domain: DomId) -> bool {
        self.nodes.get(path).is_none_or(|node| node.grants(domain, Access::reads))
    }

    /// Writes a node; those above it are made if they are not there. New nodes take after the one that is there, and
    /// belong to who makes them, unless that is the control domain, which makes them for others.
    pub(super) fn write(&mut self, path: &str, value: &[u8], domain: DomId) -> Result<(), Errno> {
        if value.len() > self.limits.value {
            return Err(Errno::TOOBIG);
        }
        // For a node that is not there this asks about the nearest one above it, in which it is made.
        match self.node(path, domain, Access::writes) {
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        // All is counted before anything is made: a write that is refused leaves no nodes behind.
        let missing = self.missing(path);
        let old = self.nodes.get(path).map_or(0, |node| node.value.len());
        let paths: usize = missing.iter().map(|path| path.len()).sum();
        let bytes = self.bytes.saturating_sub(old).saturating_add(paths).saturating_add(value.len());
        if self.nodes.len().saturating_add(missing.len()) > self.limits.nodes || bytes > self.limits.bytes {
            return Err(Errno::NOSPC);
        }
        let mut permissions = self.nearest(path).ok_or(Errno::INVAL)?.permissions.clone();
        if domain != DomId::CONTROL {
            permissions.owner = domain;
        }
        for path in missing {
            self.nodes.insert(path, Node { value: Vec::new(), permissions: permissions.clone() });
        }
        self.nodes.get_mut(path).ok_or(Errno::INVAL)?.value = value.to_vec();
        self.bytes = bytes;
        Ok(())
    }

    /// Makes a node, unless it is there. Returns whether it was made.
    pub(super) fn make(&mut self, path: &str, domain: DomId) -> Result<bool, Errno> {
        match self.node(path, domain, Access::writes) {
            Ok(_) => Ok(false),
            Err(Errno::NOENT) => self.write(path, &[], domain).map(|()| true),
            Err(errno) => Err(errno),
        }
    }

    /// Removes a node and all below it. Returns whether there was one: as in Xen, one that is not there can be removed if
    /// there could be one.
    pub(super) fn remove(&mut self, path: &str, domain: DomId) -> Result<bool, Errno> {
        match self.node(path, domain, Access::writes) {
            Ok(_) => {}
            Err(Errno::NOENT) if parent(path).is_some_and(|above| self.nodes.contains_key(above)) => {
                return Ok(false);
            }
            Err(errno) => return Err(errno),
        }
        if parent(path).is_none() {
            return Err(Errno::INVAL);
        }
        let (nodes, bytes) = (&mut self.nodes, &mut self.bytes);
        nodes.retain(|node, was| {
            let stays = !is_within(node, path);
            if !stays {
                *bytes = bytes.saturating_sub(node.len()).saturating_sub(was.value.len());
            }
            stays
        });
        Ok(true)
    }

    /// Says who may use a node, or watch a name with `@`. Only its owner may, and may not give it away.
    pub(super) fn set_permissions(
        &mut self,
        path: &str,
        permissions: Permissions,
        domain: DomId,
    ) -> Result<(), Errno> {
        if permissions.named.len() >= self.limits.permissions {
            return Err(Errno::NOSPC);
        }
        self.node(path, domain, Access::writes)?;
        let node = self.nodes.get_mut(path).ok_or(Errno::NOENT)?;
        if domain != DomId::CONTROL {
            if node.permissions.owner != domain {
                return Err(Errno::ACCESS);
            }
            if permissions.owner != domain {
                return Err(Errno::PERM);
            }
        }
        node.permissions = permissions;
        Ok(())
    }

    /// A node with which a domain may do something. Who may not know of what is above a node that is not there, does not
    /// learn that it is not there.
    fn node(&self, path: &str, domain: DomId, wanted: fn(Access) -> bool) -> Result<&Node, Errno> {
        // The permission first, of the nearest node there is: "no such node" is told only to who may know.
        let nearest = self.nearest(path).ok_or(Errno::NOENT)?;
        if !nearest.grants(domain, wanted) {
            return Err(Errno::ACCESS);
        }
        self.nodes.get(path).ok_or(Errno::NOENT)
    }

    /// A node or, if it is not there, the next one above it that is.
    fn nearest(&self, path: &str) -> Option<&Node> {
        std::iter::successors(Some(path), |path| parent(path)).find_map(|path| self.nodes.get(path))
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

    const GUEST: DomId = DomId(5);

    fn own() -> Tree {
        let mut tree = Tree::new(Limits::GUEST);
        tree.set_permissions("/", Permissions::private(GUEST), DomId::CONTROL).unwrap();
        tree
    }

    #[test]
    fn a_node_brings_those_above_it() {
        let mut tree = own();
        tree.write("/a/b/c", b"1", GUEST).unwrap();
        tree.write("/a/b-c", b"2", GUEST).unwrap();
        assert_eq!(tree.list("/a", GUEST).unwrap(), ["b", "b-c"]);
        assert_eq!((tree.list("/a/b", GUEST), tree.list("/x", GUEST)), (Ok(vec!["c"]), Err(Errno::NOENT)));
        assert_eq!((tree.read("/a", GUEST), tree.read("/a/b/c", GUEST)), (Ok(&[][..]), Ok(&b"1"[..])));
        assert_eq!((tree.remove("/a/b", GUEST), tree.remove("/a/b", GUEST)), (Ok(true), Ok(false)));
        assert_eq!(tree.remove("/a/b/c", GUEST), Err(Errno::NOENT));
        assert_eq!(tree.list("/a", GUEST).unwrap(), ["b-c"]);
        assert_eq!(tree.paths().collect::<Vec<_>>(), ["/", "/a", "/a/b-c"]);
        assert_eq!(tree.remove("/", DomId::CONTROL), Err(Errno::INVAL));
    }

    #[test]
    fn a_store_is_bounded() {
        let mut tree = own();
        let fixed = tree.nodes.len();
        assert_eq!(tree.write("/a", &[0; 2049], GUEST), Err(Errno::TOOBIG));
        let written =
            (0..10_000).take_while(|node| tree.write(&format!("/n{node}"), b"", GUEST).is_ok()).count();
        assert_eq!(written, Limits::GUEST.nodes - fixed);
        let mut tree = own();
        let written =
            (0..10_000).take_while(|node| tree.write(&format!("/n{node}"), &[0; 2048], GUEST).is_ok());
        let written = written.count();
        assert!(written <= Limits::GUEST.bytes / 2048);
        for node in 0..written {
            assert_eq!(tree.remove(&format!("/n{node}"), GUEST), Ok(true));
        }
        assert_eq!(tree.bytes, 0);
        let many = Permissions { named: vec![(DomId(7), Access::Read); 5], ..Permissions::private(GUEST) };
        assert_eq!(tree.set_permissions("/", many, GUEST), Err(Errno::NOSPC));
    }

    #[test]
    fn only_an_owner_says_who_may_use_a_node() {
        let (mut tree, stranger) = (own(), DomId(6));
        tree.write("/a", b"1", GUEST).unwrap();
        assert_eq!(tree.read("/a", stranger), Err(Errno::ACCESS));
        assert_eq!(tree.read("/missing", stranger), Err(Errno::ACCESS));
        tree.set_permissions("/a", "n5,b6".parse().unwrap(), GUEST).unwrap();
        assert_eq!(tree.read("/a", stranger), Ok(&b"1"[..]));
        let takes = Permissions::private(stranger);
        assert_eq!(tree.set_permissions("/a", takes.clone(), stranger), Err(Errno::ACCESS));
        assert_eq!(tree.set_permissions("/a", takes.clone(), GUEST), Err(Errno::PERM));
        assert_eq!(tree.set_permissions("/a", takes, DomId::CONTROL), Ok(()));
        assert_eq!(tree.write("/a", b"2", GUEST), Err(Errno::ACCESS));
    }
}
