//! The hypervisor under this Linux, through its device files.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::xen::slots::Slots;
use backend::xen::{Argument, Buffer, Privcmd};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use xenolith_abi::DomId;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Error, Result, Xen};

/// The hypervisor.
#[derive(Debug)]
pub struct RealXen {
    pub(super) privcmd: Arc<Privcmd>,
    pub(super) slots: Slots,
    opened: Instant,
}

impl RealXen {
    /// Opens the way to it.
    ///
    /// # Errors
    /// Linux does not run on Xen, or the caller is not root.
    pub fn open() -> Result<RealXen> {
        let privcmd = Arc::new(Privcmd::open()?);
        let slots = Slots::new(Arc::clone(&privcmd));
        Ok(RealXen { privcmd, slots, opened: Instant::now() })
    }

    /// Makes a call with an operation's number and one structure; returns what it returns, and the structure as the
    /// hypervisor leaves it.
    pub(super) fn call<T>(
        &self,
        hypercall: u64,
        op: u64,
        argument: &T,
    ) -> std::result::Result<(u64, T), Failed>
    where
        T: IntoBytes + FromBytes + Immutable,
    {
        let mut buffer = Buffer::of(argument)?;
        let mut arguments = [Argument::Value(op), Argument::Buffer(&mut buffer)];
        let answer = self.privcmd.hypercall(hypercall, &mut arguments)?;
        Ok((answer, buffer.read(0)?))
    }
}

/// Why a call did not work, before it is said what was to be done.
pub(super) enum Failed {
    /// The hypervisor or Linux answered so.
    Answer(Errno),
    /// It was not made.
    Before(Error),
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Failed {
        Failed::Answer(errno)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Before(error)
    }
}

impl Failed {
    /// The error of a call for one domain.
    pub(super) fn of(self, domain: DomId, action: &'static str) -> Error {
        match self {
            Failed::Answer(source) => Error::Domain { domain, action, source, advice: advice(source) },
            Failed::Before(error) => error,
        }
    }

    /// The error of a call for no domain in particular.
    pub(super) fn call(self, action: &'static str) -> Error {
        match self {
            Failed::Answer(source) => Error::Call { action, source, advice: advice(source) },
            Failed::Before(error) => error,
        }
    }
}

/// What to do about an answer, as the end of a sentence.
fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => "; only the control domain may do that",
        Errno::SRCH => "; there is no such domain (any more): see `lith list`",
        Errno::NOMEM => "; the machine has too little free memory: see `lith info`",
        Errno::NOSYS | Errno::OPNOTSUPP => "; the hypervisor lacks this call",
        Errno::ACCESS => "; the hypervisor speaks another version of the interface",
        _ => "",
    }
}

impl Xen for RealXen {
    fn random(&self, bytes: &mut [u8]) {
        // The kernel gives at least 256 bytes at once, more than is ever asked for here.
        let _ = getrandom(bytes, GetRandomFlags::empty());
    }

    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn now(&self) -> Duration {
        self.opened.elapsed()
    }
}
