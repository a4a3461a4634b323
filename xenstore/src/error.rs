//! What can go wrong between a client and its store.

use rustix::io::Errno;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody has a store for this domain.
    #[error(
        "there is no xenstore: neither {socket} nor {device} opens ({source}); start xenstored, or the domain was made without one"
    )]
    NoStore {
        /// The socket that was tried.
        socket: &'static str,
        /// The device file that was tried.
        device: &'static str,
        /// Why the last of them did not open.
        source: Errno,
    },
    /// The store refused a request.
    #[error("xenstore: cannot {action} {path}: {}", text(.errno, .name))]
    Refused {
        /// What was asked for.
        action: &'static str,
        /// The node, or whatever else it was about.
        path: String,
        /// What the name stands for here; `None`: no error that this crate knows.
        errno: Option<Errno>,
        /// The store's own word, such as `ENOENT`.
        name: String,
    },
    /// A request that cannot be sent: a name or a value is too long or has a zero byte in it.
    #[error("xenstore: {what}: {path:.200}")]
    Unfit {
        /// What is wrong.
        what: &'static str,
        /// The node.
        path: String,
    },
    /// A value that is not what was expected.
    #[error("xenstore: {path}: {what}")]
    Value {
        /// The node.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The connection is lost: the store said something that is no message or no answer, or says nothing.
    #[error("the connection to xenstore is lost: {0}")]
    Lost(String),
    /// Others changed the same nodes again and again.
    #[error("xenstore: a transaction did not come through in {0} tries")]
    Contended(u32),
}

fn text(errno: &Option<Errno>, name: &str) -> String {
    errno.map_or_else(|| format!("the store says {name:?}"), |errno| errno.to_string())
}

impl Error {
    /// The error number of a refusal.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Refused { errno, .. } => *errno,
            _ => None,
        }
    }

    /// Whether it says that there is no such node.
    pub fn is_absence(&self) -> bool {
        self.errno() == Some(Errno::NOENT)
    }

    /// Whether the connection cannot be used any more.
    pub fn is_loss(&self) -> bool {
        matches!(self, Error::Lost(_) | Error::NoStore { .. })
    }

    pub(crate) fn lost(why: impl Into<String>) -> Error {
        Error::Lost(why.into())
    }
}

/// The errors that the protocol names (Xen, `public/io/xs_wire.h`).
const NAMES: [(&str, Errno); 16] = [
    ("EINVAL", Errno::INVAL),
    ("EACCES", Errno::ACCESS),
    ("EEXIST", Errno::EXIST),
    ("EISDIR", Errno::ISDIR),
    ("ENOENT", Errno::NOENT),
    ("ENOMEM", Errno::NOMEM),
    ("ENOSPC", Errno::NOSPC),
    ("EIO", Errno::IO),
    ("ENOTEMPTY", Errno::NOTEMPTY),
    ("ENOSYS", Errno::NOSYS),
    ("EROFS", Errno::ROFS),
    ("EBUSY", Errno::BUSY),
    ("EAGAIN", Errno::AGAIN),
    ("EISCONN", Errno::ISCONN),
    ("E2BIG", Errno::TOOBIG),
    ("EPERM", Errno::PERM),
];

/// What a name stands for; `None` for one that the protocol does not have.
pub(crate) fn errno(name: &str) -> Option<Errno> {
    NAMES.iter().find(|(known, _)| *known == name).map(|&(_, errno)| errno)
}

/// The name of an error number; `EINVAL` for one that the protocol does not have.
pub(crate) fn name(errno: Errno) -> &'static str {
    NAMES.iter().find(|(_, known)| *known == errno).map_or("EINVAL", |&(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_errors_go_both_ways() {
        for (word, number) in NAMES {
            assert_eq!((errno(word), name(number)), (Some(number), word));
        }
        assert_eq!((errno("EWHAT"), errno(""), name(Errno::PIPE)), (None, None, "EINVAL"));
    }

    #[test]
    fn a_refusal_says_what_about_which_node() {
        let refused = |name: &str| Error::Refused {
            action: "read",
            path: "/local".into(),
            errno: errno(name),
            name: name.into(),
        };
        assert!(refused("ENOENT").is_absence() && !refused("EACCES").is_absence());
        assert!(refused("ENOENT").to_string().starts_with("xenstore: cannot read /local: No such file"));
        assert_eq!(refused("EODD").to_string(), "xenstore: cannot read /local: the store says \"EODD\"");
        assert!(Error::lost("x").is_loss() && !refused("EIO").is_loss());
    }
}
