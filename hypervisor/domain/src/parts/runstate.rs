//! Where a vCPU reads how its time was spent.

use xenolith_core::types::Gva;
use xenolith_memory::frames::FrameRef;

/// The area of a vCPU.
#[derive(Debug, Default)]
pub enum RunstateArea {
    /// None is registered.
    #[default]
    None,
    /// It lies in a page that is held.
    Page(FrameRef, usize),
    /// It has to be looked up.
    Address(Gva),
}
