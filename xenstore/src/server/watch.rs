//! The watches of a connection: of what it is told.

use rustix::io::Errno;

use super::Limits;
use crate::path::is_within;

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Watch {
    /// The whole path.
    path: String,
    /// Bytes at the start of a whole path that events leave out, because the watch was set by a relative name.
    home: usize,
    token: Vec<u8>,
}

/// All watches of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Watches {
    list: Vec<Watch>,
}

impl Watches {
    /// Adds a watch. Returns its first event, which comes at once.
    pub(super) fn add(
        &mut self,
        path: String,
        home: usize,
        token: &[u8],
        limits: &Limits,
    ) -> Result<Vec<u8>, Errno> {
        if token.len() > limits.token {
            return Err(Errno::TOOBIG);
        }
        if self.list.len() >= limits.watches {
            return Err(Errno::NOSPC);
        }
        let watch = Watch { path, home, token: token.to_vec() };
        if self.list.contains(&watch) {
            return Err(Errno::EXIST);
        }
        let event = watch.event(&watch.path);
        self.list.push(watch);
        Ok(event)
    }

    /// Removes a watch.
    pub(super) fn remove(&mut self, path: &str, token: &[u8]) -> Result<(), Errno> {
        let found = self.list.iter().position(|watch| watch.path == path && watch.token == token);
        self.list.remove(found.ok_or(Errno::NOENT)?);
        Ok(())
    }

    /// Removes all watches.
    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    /// All of them: the name by which each was set, and its token.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.list.iter().map(|watch| (watch.path.get(watch.home..).unwrap_or(&watch.path), &*watch.token))
    }

    /// Whether somebody watches just this node.
    pub(super) fn has(&self, path: &str) -> bool {
        self.list.iter().any(|watch| watch.path == path)
    }

    /// The events for a change of a node. If it was removed, those who watch what stood below it are told, too.
    pub(super) fn events(&self, changed: &str, removed: bool) -> Vec<Vec<u8>> {
        let event = |watch: &Watch| {
            if is_within(changed, &watch.path) {
                Some(watch.event(changed))
            } else if removed && is_within(&watch.path, changed) {
                Some(watch.event(&watch.path))
            } else {
                None
            }
        };
        self.list.iter().filter_map(event).collect()
    }
}

impl Watch {
    /// The payload of an event: path and token, each with a zero byte behind it.
    fn event(&self, path: &str) -> Vec<u8> {
        let named = path.get(self.home..).unwrap_or(path);
        [named.as_bytes(), &[0], &self.token, &[0]].concat()
    }
}
