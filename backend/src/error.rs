//! What can go wrong, for people: which object, why, and what to do about it.

use rustix::io::Errno;
use xenolith_abi::{DomId, Gfn, Port};

/// A failed operation of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A device file does not open.
    #[error("cannot open {path}: {source}; {advice}")]
    Open {
        /// The file.
        path: &'static str,
        /// What Linux answered.
        source: Errno,
        /// What to do.
        advice: &'static str,
    },
    /// A call for one domain was refused.
    #[error("domain {}: cannot {action}: {source}{advice}", .domain.0)]
    Domain {
        /// The domain that the call is about.
        domain: DomId,
        /// What was to be done.
        action: &'static str,
        /// What the hypervisor or Linux answered.
        source: Errno,
        /// What to do, after a separator; may be empty.
        advice: &'static str,
    },
    /// A page of another domain was refused.
    #[error("domain {}: cannot map its page at frame {:#x}: {source}{advice}", .domain.0, .frame.0)]
    Page {
        /// The domain that has the page.
        domain: DomId,
        /// The frame: a guest physical address without its low 12 bits.
        frame: Gfn,
        /// What the hypervisor answered for this page.
        source: Errno,
        /// What to do, after a separator; may be empty.
        advice: &'static str,
    },
    /// A call that is about no domain in particular was refused.
    #[error("cannot {action}: {source}{advice}")]
    Call {
        /// What was to be done.
        action: &'static str,
        /// What the hypervisor or Linux answered.
        source: Errno,
        /// What to do, after a separator; may be empty.
        advice: &'static str,
    },
    /// An event channel's call was refused.
    #[error("event channel {}: cannot {action}: {source}", .port.0)]
    Event {
        /// The port, of this domain or for a binding the other's.
        port: Port,
        /// What was to be done.
        action: &'static str,
        /// What the hypervisor or Linux answered.
        source: Errno,
    },
    /// An argument or an answer makes no sense here.
    #[error("{0}")]
    Unfit(String),
}

impl Error {
    /// The number that Linux or the hypervisor answered, where one did.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Open { source, .. }
            | Error::Domain { source, .. }
            | Error::Page { source, .. }
            | Error::Call { source, .. }
            | Error::Event { source, .. } => Some(*source),
            Error::Unfit(_) => None,
        }
    }

    pub(crate) fn domain(domain: DomId, action: &'static str, source: Errno) -> Error {
        Error::Domain { domain, action, source, advice: advice(source) }
    }

    pub(crate) fn page(domain: DomId, frame: Gfn, source: Errno) -> Error {
        Error::Page { domain, frame, source, advice: advice(source) }
    }

    pub(crate) fn call(action: &'static str, source: Errno) -> Error {
        Error::Call { action, source, advice: advice(source) }
    }

    pub(crate) fn unfit(what: impl Into<String>) -> Error {
        Error::Unfit(what.into())
    }
}

/// What to do about an answer to a call, as the end of a sentence.
fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => {
            "; the control domain must let this domain be the guest's device model, and a domain other than the \
             control domain needs xen_privcmd.unrestricted=1 on its kernel's command line"
        }
        Errno::SRCH => "; there is no such domain (any more)",
        Errno::NOSYS | Errno::OPNOTSUPP => "; the hypervisor or the kernel lacks this call",
        Errno::NOMEM => {
            "; this domain has no room to map another's pages: give it extended regions (kernel 6.2 or newer) or more memory"
        }
        Errno::ACCESS => "; the call is of another interface version, or not for this domain",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_object_and_the_way_out() {
        let error = Error::domain(DomId(3), "create an ioreq server", Errno::PERM);
        let text = error.to_string();
        assert!(text.starts_with("domain 3: cannot create an ioreq server: "), "{text}");
        assert!(text.contains("xen_privcmd.unrestricted=1"), "{text}");
        assert_eq!(error.errno(), Some(Errno::PERM));
        assert!(Error::page(DomId(3), Gfn(0x40000), Errno::INVAL).to_string().contains("0x40000"));
    }
}
