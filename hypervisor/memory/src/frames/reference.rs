//! One reference to a frame, as a value that has to be given back.
//!
//! The value does not give its reference back by itself: it may be the last one of a dead domain, whose end the caller of
//! [`Frames::put_frame`] has to notice. So a value that goes out of scope elsewhere is a leak, and on a host, where tests
//! run, it panics. On the machine the watch for this is empty and costs nothing.

use core::fmt;

use super::{FrameError, Frames, Release};
use crate::page::{Page, SharedFrame};
use xenolith_core::types::{DomId, Mfn};

/// One reference to a frame, which keeps it allocated. It goes back through [`Frames::put_frame`]; a `FrameRef` that is merely
/// dropped keeps its frame for ever, and panics under test.
#[must_use]
pub struct FrameRef {
    page: Page,
    watch: Watch,
}

impl FrameRef {
    /// Access to the frame, good for as long as the frame is held.
    pub fn page(&self) -> Page {
        self.page
    }

    /// The frame.
    pub fn mfn(&self) -> Mfn {
        self.page.mfn()
    }

    /// Leaves the reference to the caller, who ends it with [`Frames::release`] and uses the page until then.
    pub fn into_page(self) -> Page {
        self.watch.end();
        self.page
    }
}

impl SharedFrame for FrameRef {
    fn page(&self) -> Page {
        FrameRef::page(self)
    }
}

impl PartialEq for FrameRef {
    fn eq(&self, other: &Self) -> bool {
        self.page == other.page
    }
}

impl Eq for FrameRef {}

impl fmt::Debug for FrameRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FrameRef").field(&self.page).finish()
    }
}

impl Frames {
    /// Takes a reference as [`Self::reference`] does, and gives access to the frame while it is held.
    pub fn get_frame(&self, mfn: Mfn, owner: DomId) -> Result<FrameRef, FrameError> {
        self.reference(mfn, owner)?;
        Ok(FrameRef { page: self.page(mfn)?, watch: Watch::begin(self, mfn) })
    }

    /// Drops the reference of a frame.
    pub fn put_frame(&self, frame: FrameRef) -> Result<Release, FrameError> {
        self.release(frame.into_page().mfn())
    }
}

/// What sees a [`FrameRef`] go out of scope: nothing, on the machine.
#[cfg(target_os = "none")]
struct Watch;

#[cfg(target_os = "none")]
impl Watch {
    #[inline(always)]
    fn begin(_: &Frames, _: Mfn) -> Self {
        Watch
    }

    #[inline(always)]
    fn end(self) {}
}

#[cfg(not(target_os = "none"))]
use host::Watch;

#[cfg(not(target_os = "none"))]
mod host {
    use std::sync::{Arc, Weak};

    use super::{Frames, Mfn};

    /// Whether the frame tables exist: references that go after them, with a whole machine, are no leaks.
    #[derive(Default)]
    pub(crate) struct Exists(Arc<()>);

    /// What sees a reference go out of scope.
    pub(super) struct Watch {
        tables: Weak<()>,
        mfn: Mfn,
    }

    impl Watch {
        pub(super) fn begin(frames: &Frames, mfn: Mfn) -> Self {
            Watch { tables: Arc::downgrade(&frames.exists.0), mfn }
        }

        pub(super) fn end(mut self) {
            self.tables = Weak::new();
        }
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            // A second panic would hide the first, which dropped all that the test had.
            if self.tables.strong_count() > 0 && !std::thread::panicking() {
                xenolith_core::bug!("a reference to {} is dropped and not given back", self.mfn);
            }
        }
    }
}

#[cfg(not(target_os = "none"))]
pub(super) use host::Exists;
