//! The mark by which events at a server's ports find the server.
//!
//! A mark is never given out twice, so that news of an old server's port cannot reach a server that has its number
//! now.

use super::request::{SERVERS, ServerId};
use crate::event::ConsumerTag;

/// Set in every mark of this module, and in no other part's.
const OURS: u32 = 1 << 31;
/// Where the server's generation begins, behind its number; it ends below [`OURS`].
const GENERATION_SHIFT: u32 = 4;
const GENERATION_MASK: u32 = (OURS - 1) >> GENERATION_SHIFT;

const _: () = assert!(SERVERS == 1 << GENERATION_SHIFT);

/// Whether the events of a port with this mark go to an ioreq server.
pub fn is_ours(tag: ConsumerTag) -> bool {
    tag.0 & OURS != 0
}

/// The server that a mark stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub server: ServerId,
    /// How many servers were made before it, modulo 2^27.
    generation: u32,
}

impl Tag {
    /// The mark of a port of the server that was made as number `generation`.
    pub(super) fn new(server: ServerId, generation: u32) -> Self {
        Tag { server, generation: generation & GENERATION_MASK }
    }

    /// Whether the server made as number `generation` has this mark.
    pub(super) fn is_of(self, generation: u32) -> bool {
        self.generation == generation & GENERATION_MASK
    }

    /// The mark as the number that the event channels keep with the port.
    pub(super) fn pack(self) -> ConsumerTag {
        ConsumerTag(OURS | self.generation << GENERATION_SHIFT | u32::from(self.server.0))
    }

    /// The opposite of [`pack`](Self::pack); nothing for a mark of another part of the hypervisor.
    pub(super) fn unpack(tag: ConsumerTag) -> Option<Self> {
        is_ours(tag).then_some(Tag {
            server: ServerId((tag.0 & ((1 << GENERATION_SHIFT) - 1)) as u16),
            generation: tag.0 >> GENERATION_SHIFT & GENERATION_MASK,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_keep_what_they_say() {
        for server in (0..SERVERS as u16).map(ServerId) {
            for generation in [0, 1, 0x0123_4567, GENERATION_MASK, u32::MAX] {
                let tag = Tag::new(server, generation);
                assert_eq!(Tag::unpack(tag.pack()), Some(tag));
                assert!(tag.is_of(generation) && !tag.is_of(generation ^ 1));
            }
        }
        assert_eq!(Tag::unpack(ConsumerTag(OURS - 1)), None);
    }
}
