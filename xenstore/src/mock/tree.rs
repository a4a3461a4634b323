//! The nodes of the store in memory, and who may use them.

use std::collections::BTreeMap;

use rustix::io::Errno;

use crate::Permissions;

/// Nodes by their paths.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<String, (Vec<u8>, Permissions)>,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree { nodes: BTreeMap::from([("/".to_owned(), (Vec::new(), Permissions::private(0)))]) }
    }
}

/// Whether `path` is `above` or stands below it.
pub(super) fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above == "/")
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(above, _)| if above.is_empty() { "/" } else { above })
}

impl Tree {
    fn node(&self, path: &str) -> Result<&(Vec<u8>, Permissions), Errno> {
        if !path.starts_with('/') || path.contains("//") || (path.len() > 1 && path.ends_with('/')) {
            return Err(Errno::INVAL);
        }
        self.nodes.get(path).ok_or(Errno::NOENT)
    }

    fn readable(&self, path: &str, domain: u16) -> Result<&(Vec<u8>, Permissions), Errno> {
        let node = self.node(path)?;
        if domain == 0 || node.1.of(domain).reads() { Ok(node) } else { Err(Errno::ACCESS) }
    }

    fn writable(&self, path: &str, domain: u16) -> Result<(), Errno> {
        let allowed = domain == 0 || self.node(path)?.1.of(domain).writes();
        if allowed { Ok(()) } else { Err(Errno::ACCESS) }
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    pub(super) fn read(&self, path: &str, domain: u16) -> Result<Vec<u8>, Errno> {
        self.readable(path, domain).map(|node| node.0.clone())
    }

    pub(super) fn permissions(&self, path: &str, domain: u16) -> Result<&Permissions, Errno> {
        self.readable(path, domain).map(|node| &node.1)
    }

    pub(super) fn list(&self, path: &str, domain: u16) -> Result<Vec<&str>, Errno> {
        self.readable(path, domain)?;
        let below = self.nodes.keys().filter(|node| node.len() > 1 && parent(node) == path);
        Ok(below.filter_map(|node| node.rsplit_once('/')).map(|(_, name)| name).collect())
    }

    pub(super) fn write(&mut self, path: &str, value: &[u8], domain: u16) -> Result<bool, Errno> {
        self.make(path, domain)?;
        self.writable(path, domain)?;
        if let Some(node) = self.nodes.get_mut(path) {
            node.0 = value.to_vec();
        }
        Ok(true)
    }

    /// Makes a node and those above it, which take after the one that is there. Returns whether any was made.
    pub(super) fn make(&mut self, path: &str, domain: u16) -> Result<bool, Errno> {
        match self.node(path) {
            Ok(_) => return Ok(false),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let above = parent(path).to_owned();
        self.make(&above, domain)?;
        self.writable(&above, domain)?;
        let mut permissions = self.node(&above)?.1.clone();
        if domain != 0 {
            permissions.owner = domain;
        }
        self.nodes.insert(path.to_owned(), (Vec::new(), permissions));
        Ok(true)
    }

    pub(super) fn remove(&mut self, path: &str, domain: u16) -> Result<bool, Errno> {
        match self.node(path) {
            Ok(_) => self.writable(path, domain)?,
            // One that is not there can be removed if there could be one.
            Err(Errno::NOENT) => return self.node(parent(path)).map(|_| false),
            Err(errno) => return Err(errno),
        }
        self.nodes.retain(|node, _| !is_within(node, path));
        Ok(true)
    }

    pub(super) fn set_permissions(
        &mut self,
        path: &str,
        permissions: Permissions,
        domain: u16,
    ) -> Result<bool, Errno> {
        let node = self.nodes.get_mut(path).ok_or(Errno::NOENT)?;
        if domain != 0 && node.1.owner != domain {
            return Err(Errno::ACCESS);
        }
        node.1 = permissions;
        Ok(true)
    }
}
