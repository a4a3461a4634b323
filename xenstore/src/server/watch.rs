//! Who wants to be told of what.

use super::path::is_within;
use super::store::Refusal;

/// Watches, at most.
const MAX_WATCHES: usize = 64;
/// Bytes of a token, at most.
const MAX_TOKEN: usize = 256;

/// One wish to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Watch {
    /// The whole path.
    path: String,
    /// How many bytes of a whole path are left out when the guest is told, because it named the node without them.
    home: usize,
    token: Vec<u8>,
}

/// All watches of a guest.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    list: Vec<Watch>,
}

impl Watches {
    /// Adds a watch. Returns its first event, which comes at once.
    pub fn add(&mut self, path: String, home: usize, token: &[u8]) -> Result<Vec<u8>, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::TooBig);
        }
        if self.list.len() >= MAX_WATCHES {
            return Err(Refusal::NoSpace);
        }
        let watch = Watch { path, home, token: token.to_vec() };
        if self.list.contains(&watch) {
            return Err(Refusal::Exists);
        }
        let event = watch.event(&watch.path);
        self.list.push(watch);
        Ok(event)
    }

    /// Takes a watch back.
    pub fn remove(&mut self, path: &str, token: &[u8]) -> Result<(), Refusal> {
        let found = self.list.iter().position(|watch| watch.path == path && watch.token == token);
        self.list.remove(found.ok_or(Refusal::NoEntry)?);
        Ok(())
    }

    /// Takes all back.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// Whether somebody watches just this node.
    pub fn has(&self, path: &str) -> bool {
        self.list.iter().any(|watch| watch.path == path)
    }

    /// The events for a change of a node. If it was removed, those who watch what stood below it are told, too.
    pub fn events(&self, changed: &str, removed: bool) -> Vec<Vec<u8>> {
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
