//! Names of nodes, as both ends of the protocol write them (Xen, `docs/misc/xenstore.txt`).

use rustix::io::Errno;
use xenolith_abi::DomId;

/// The longest absolute path (Xen, `public/io/xs_wire.h`).
pub const MAX_PATH: usize = 3072;

/// The path below which a domain's own nodes are, and at which its relative paths begin.
pub fn home(domain: DomId) -> String {
    format!("/local/domain/{}", domain.0)
}

/// The whole path of what a client named: a path that does not begin with `/` begins at the client's `home`.
///
/// # Errors
/// [`Errno::INVAL`]: it has more than `longest` bytes, a character that no path has, or an empty part.
pub(crate) fn resolve(home: &str, name: &[u8], longest: usize) -> Result<String, Errno> {
    let name = std::str::from_utf8(name).map_err(|_| Errno::INVAL)?;
    let path = if name.starts_with('/') { name.to_owned() } else { format!("{home}/{name}") };
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
    let is_root = path == "/";
    let has_shape = path.bytes().all(is_allowed) && !path.contains("//") && (is_root || !path.ends_with('/'));
    if path.len() > longest || !has_shape { Err(Errno::INVAL) } else { Ok(path) }
}

/// Whether `path` is `above` or stands below it.
pub(crate) fn is_within(path: &str, above: &str) -> bool {
    match path.strip_prefix(above) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || above == "/",
        None => false,
    }
}

/// The path of the node above; none for the root.
pub(crate) fn parent(path: &str) -> Option<&str> {
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
        let home = home(DomId(3));
        assert_eq!(resolve(&home, b"control/shutdown", 64).unwrap(), "/local/domain/3/control/shutdown");
        assert_eq!(resolve("/h", b"/vm/x-1_@", 64).unwrap(), "/vm/x-1_@");
        assert_eq!(resolve("/h", b"/", 64).unwrap(), "/");
        for bad in [&b"a//b"[..], b"a/", b"", b"a b", b"..", b"\xff", &[b'x'; 63]] {
            assert_eq!(resolve("/h", bad, 64), Err(Errno::INVAL), "{bad:?}");
        }
    }

    #[test]
    fn a_node_is_within_those_above_it() {
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && is_within("/a", "/"));
        assert!(!is_within("/ab", "/a") && !is_within("/a", "/a/b"));
        assert_eq!((parent("/a/b"), parent("/a"), parent("/")), (Some("/a"), Some("/"), None));
    }
}
