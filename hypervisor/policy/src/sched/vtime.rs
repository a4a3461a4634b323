//! Virtual time: what running costs, the less the greater the weight.

/// Virtual ticks that one tick costs a unit of weight 1.
const SCALE: u64 = 1 << 16;
/// The longest run that is charged at once, in ticks. A unit runs that long only when nobody waits, and then the
/// charge has no effect but to move the floor; the limit keeps the arithmetic inside 64 bits.
pub const LONGEST: u64 = 1 << 32;

/// Virtual time in virtual ticks. It wraps; only differences between times on one queue mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Vtime(u64);

impl Vtime {
    /// How far `self` is ahead of `other`; negative when it is behind.
    pub fn ahead_of(self, other: Vtime) -> i64 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// The time `by` virtual ticks later, or earlier when negative.
    pub fn moved(self, by: i64) -> Vtime {
        Vtime(self.0.wrapping_add_signed(by))
    }

    /// The time itself, or `latest` if it is later. Also where the difference has wrapped: who was away for 2^63 virtual
    /// ticks reads as one that is far ahead, and waits no longer than this.
    pub fn not_beyond(self, latest: Vtime) -> Vtime {
        if self.ahead_of(latest) > 0 { latest } else { self }
    }

    /// The later of two.
    pub fn max(self, other: Vtime) -> Vtime {
        if self.ahead_of(other) >= 0 { self } else { other }
    }
}

/// What `ticks` of running cost a domain of this weight whose units are all on one queue, in virtual ticks: at most 2^48.
#[inline]
pub fn cost(ticks: u64, weight: u16) -> i64 {
    (ticks.min(LONGEST) * SCALE / u64::from(weight.max(1))).cast_signed()
}

/// The same on a queue that has `here` of its `all` units which run or wait anywhere, of 4096 at most: at most 2^60. What its
/// weight is worth is in equal parts where its units are.
#[inline(never)]
pub fn cost_of_part(ticks: u64, weight: u16, here: u16, all: u16) -> i64 {
    let part = u64::from(weight.max(1)) * u64::from(here.max(1));
    (ticks.min(LONGEST) * SCALE * u64::from(all.clamp(1, 1 << 12)) / part).cast_signed()
}
