//! Names of nodes.

use super::store::Refusal;

/// The longest path, with the guest's own path in front.
const MAX_PATH: usize = 512;

/// The whole path of what a guest named: a path that does not begin with `/` begins at the guest's own.
pub fn resolve(home: &str, name: &[u8]) -> Result<String, Refusal> {
    let name = std::str::from_utf8(name).map_err(|_| Refusal::Invalid)?;
    let path = if name.starts_with('/') { name.to_owned() } else { format!("{home}/{name}") };
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
    let is_root = path == "/";
    let has_shape = path.bytes().all(is_allowed) && !path.contains("//") && (is_root || !path.ends_with('/'));
    if path.len() > MAX_PATH || !has_shape { Err(Refusal::Invalid) } else { Ok(path) }
}

/// Whether `path` is `above` or stands below it.
pub fn is_within(path: &str, above: &str) -> bool {
    match path.strip_prefix(above) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || above == "/",
        None => false,
    }
}

/// The path of the node above; none for the root.
pub fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/') {
        Some(("", "")) | None => None,
        Some(("", _)) => Some("/"),
        Some((above, _)) => Some(above),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_at_home_or_at_the_root() {
        assert_eq!(
            resolve("/local/domain/3", b"control/shutdown").unwrap(),
            "/local/domain/3/control/shutdown"
        );
        assert_eq!(resolve("/h", b"/vm/x-1_@").unwrap(), "/vm/x-1_@");
        assert_eq!(resolve("/h", b"/").unwrap(), "/");
        for bad in [&b"a//b"[..], b"a/", b"", b"a b", b"..", b"\xff", &[b'x'; 600]] {
            assert_eq!(resolve("/h", bad), Err(Refusal::Invalid), "{bad:?}");
        }
    }

    #[test]
    fn a_node_is_within_those_above_it() {
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && is_within("/a", "/"));
        assert!(!is_within("/ab", "/a") && !is_within("/a", "/a/b"));
        assert_eq!((parent("/a/b"), parent("/a"), parent("/")), (Some("/a"), Some("/"), None));
    }
}
