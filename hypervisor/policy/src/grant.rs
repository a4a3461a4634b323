//! Grant tables, version 1: a domain lets another map or copy single frames of its own.
//!
//! The granting domain writes its table at any time, so an entry is read and marked in one atomic step, and what was
//! granted is decided then: the frame of the first use is kept ([`GrantTable::acquire`]) and serves every later use,
//! whatever the entry says meanwhile. A domain that keeps changing an entry under the hypervisor's hands is refused.
//!
//! Two tables take part in most calls: the granter's, and the mapper's list of what it has mapped ([`Maptrack`]). Each
//! is changed in steps of its own, never both under lock at once; [`map()`], [`unmap`] and [`copy()`] put the steps
//! together, and undo what they did when a later one fails. What they need from the rest of the hypervisor is
//! [`Domains`]. Every reference to a frame is a value of a type of the caller's ([`SharedFrame`]) that goes in by one
//! call and comes out by another, so that none is lost.

mod control;
mod copy;
mod entry;
mod map;
mod maptrack;
mod record;
mod table;
#[cfg(test)]
mod tests;
mod usage;

pub use control::{Flush, flush_request, set_version};
pub use copy::copy;
pub use map::{map, release_held, unmap};
pub use maptrack::{Handle, Mapping, Maptrack};
pub use record::Resolved;
pub use table::GrantTable;
pub use usage::Lent;

use xenolith_abi::Errno;

use xenolith_core::types::{DomId, Gfn, Mfn};
pub use xenolith_memory::page::SharedFrame;

/// What a granted frame is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Reading.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// Finds a frame of the granting domain and takes a reference to it: `None` unless it is RAM of that domain, which it
/// may itself use with these rights.
pub type Resolver<'a, F> = dyn FnMut(Gfn, Rights) -> Option<Resolved<F>> + 'a;

/// The domains that a call involves, seen from the calling one. Each method takes the locks that it needs and has
/// dropped them when it returns.
pub trait Domains {
    /// A reference to a frame.
    type Frame: SharedFrame;

    /// The calling domain.
    fn caller(&self) -> DomId;

    /// Whether the domain exists.
    fn exists(&self, domain: DomId) -> bool;

    /// Whether policy lets the caller use what `granter` grants.
    fn permits(&self, granter: DomId) -> bool;

    /// Works on a domain's table, with the means to find frames of that domain. `None`: no such domain.
    fn with_table<R>(
        &self,
        domain: DomId,
        work: impl FnOnce(&mut GrantTable<Self::Frame>, &mut Resolver<'_, Self::Frame>) -> R,
    ) -> Option<R>;

    /// Works on the caller's list of mappings.
    fn with_maptrack<R>(&self, work: impl FnOnce(&mut Maptrack) -> R) -> R;

    /// Finds a frame that the caller has mapped as RAM and may use with these rights, and takes a reference to it.
    fn own_frame(&self, gfn: Gfn, rights: Rights) -> Option<Self::Frame>;

    /// Maps a frame of `granter` into the caller, never executable, in place of what is there. The mapping holds a
    /// reference of its own.
    fn map(&self, gfn: Gfn, mfn: Mfn, granter: DomId, rights: Rights) -> Result<(), Errno>;

    /// Takes the mapping of `mfn` at `gfn` away and drops its reference; does nothing when something else is there.
    /// On return no CPU can reach the frame through it any more.
    fn unmap(&self, gfn: Gfn, mfn: Mfn);

    /// Drops a reference.
    fn let_go(&self, frame: Self::Frame);
}
