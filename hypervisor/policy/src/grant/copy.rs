//! Copying between two frames, each a granted one or the caller's own, without mapping them.

use xenolith_abi::grant::{CopySide, GrantCopy, GrantStatus, copy as flag};

use super::map::{acquire, may_use, release};
use super::{Domains, Rights, SharedFrame};
use xenolith_core::bug;
use xenolith_core::types::{DomId, Gfn, PAGE_SIZE};
use xenolith_memory::page::Page;

/// Where one side of a copy is.
#[derive(Clone, Copy)]
enum Place {
    Granted { granter: DomId, reference: u32 },
    Own { gfn: Gfn },
}

/// A place that is kept for the copy.
enum Held<F> {
    Granted { granter: DomId, reference: u32, rights: Rights, page: Page },
    Own(F),
}

/// `GNTTABOP_copy`, one element; the status is written into `op`.
///
/// `PermissionDenied`: a side without a reference is not the caller's own, or policy says no. `BadDomain`: no such
/// domain. `BadReference`, `GeneralError`: the entry is none, or does not grant it. `BadPage`: the frame is not RAM.
/// `BadCopyArgument`: the copy leaves a page.
pub fn copy<D: Domains>(domains: &D, op: &mut GrantCopy) {
    op.status = try_copy(domains, op).err().unwrap_or(GrantStatus::Okay).number();
}

fn try_copy<D: Domains>(domains: &D, op: &GrantCopy) -> Result<(), GrantStatus> {
    let source = place(domains, &op.source, op.flags & flag::SOURCE_REFERENCE != 0)?;
    let dest = place(domains, &op.dest, op.flags & flag::DEST_REFERENCE != 0)?;
    let source = hold(domains, source, Rights::ReadOnly)?;
    let done = hold(domains, dest, Rights::ReadWrite).and_then(|dest| {
        let done = transfer(source.page(), dest.page(), op);
        dest.let_go(domains);
        done
    });
    source.let_go(domains);
    done
}

fn place<D: Domains>(domains: &D, side: &CopySide, by_reference: bool) -> Result<Place, GrantStatus> {
    let domain = side.domid;
    if !by_reference {
        let own = domain == DomId::SELF;
        let place = Place::Own { gfn: Gfn(side.frame_or_reference) };
        return if own { Ok(place) } else { Err(GrantStatus::PermissionDenied) };
    }
    let granter = if domain == DomId::SELF { domains.caller() } else { domain };
    may_use(domains, granter)?;
    let [a, b, c, d, ..] = side.frame_or_reference.to_le_bytes();
    Ok(Place::Granted { granter, reference: u32::from_le_bytes([a, b, c, d]) })
}

fn hold<D: Domains>(domains: &D, place: Place, rights: Rights) -> Result<Held<D::Frame>, GrantStatus> {
    match place {
        Place::Granted { granter, reference } => {
            let page = acquire(domains, granter, reference, rights)?;
            Ok(Held::Granted { granter, reference, rights, page })
        }
        Place::Own { gfn } => domains.own_frame(gfn, rights).map(Held::Own).ok_or(GrantStatus::BadPage),
    }
}

impl<F: SharedFrame> Held<F> {
    fn page(&self) -> Page {
        match self {
            Held::Granted { page, .. } => *page,
            Held::Own(frame) => frame.page(),
        }
    }

    fn let_go<D: Domains<Frame = F>>(self, domains: &D) {
        match self {
            Held::Granted { granter, reference, rights, .. } => release(domains, granter, reference, rights),
            Held::Own(frame) => domains.let_go(frame),
        }
    }
}

/// Copies piece by piece: both frames may change meanwhile, and may be the same one.
fn transfer(from: Page, to: Page, op: &GrantCopy) -> Result<(), GrantStatus> {
    let (source, dest, len) =
        (usize::from(op.source.offset), usize::from(op.dest.offset), usize::from(op.len));
    // Offsets and length are 16-bit numbers: the sums cannot wrap.
    let fits = |offset: usize| (offset + len) as u64 <= PAGE_SIZE;
    if !fits(source) || !fits(dest) {
        return Err(GrantStatus::BadCopyArgument);
    }
    // By way of a buffer: the two frames may be one, and a frame is not copied to a place that it overlaps.
    let mut buffer = [0; 256];
    for done in (0..len).step_by(buffer.len()) {
        let count = buffer.len().min(len - done);
        let Some(piece) = buffer.get_mut(..count) else { return Err(GrantStatus::GeneralError) };
        if !from.read(source + done, piece) || !to.write(dest + done, piece) {
            bug!("a copy that fits leaves its page");
            return Err(GrantStatus::BadCopyArgument);
        }
    }
    Ok(())
}
