//! Another domain's pages in this process, however they came here.

use vm_memory::VolatileSlice;

use super::{GrantMapping, Mapping};

/// Mapped pages. They are given back when the value goes.
#[derive(Debug)]
pub enum Window {
    /// Through privcmd, or memory of our own. Of what privcmd maps, Linux knows no more than that it is there.
    Plain(Mapping),
    /// Through gntdev: pages that Linux can have devices read and write.
    Granted(GrantMapping),
}

impl Window {
    /// The way to the pages' contents. The other domain may change them at any time.
    #[inline]
    pub fn slice(&self) -> VolatileSlice<'_> {
        match self {
            Window::Plain(mapping) => mapping.slice(),
            Window::Granted(mapping) => mapping.slice(),
        }
    }
}
