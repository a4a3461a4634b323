//! What a guest does wrong with its device, for people: the guest's own driver often says nothing of it.

use virtio::core::queue::QueueError;
use xenolith_abi::DomId;

/// The guest can do wrong at any rate; the log hears of the first few times.
const WARNINGS: u32 = 10;

/// What was told of a device, and how much more will be.
pub struct Complaints {
    guest: DomId,
    kind: &'static str,
    error: Option<QueueError>,
    refused: Option<u64>,
    left: u32,
}

impl Complaints {
    /// Nothing was told yet of this guest's device, of the kind that people call so.
    pub fn new(guest: DomId, kind: &'static str) -> Complaints {
        Complaints { guest, kind, error: None, refused: None, left: WARNINGS }
    }

    /// How the device is now: why it needs a reset, and the features that it did not take. Returns what is to be told, if it is
    /// new.
    pub fn next(&mut self, error: Option<QueueError>, refused: Option<u64>) -> Option<String> {
        let (guest, kind) = (self.guest.0, self.kind);
        let queue = error.filter(|_| error != self.error).map(|error| {
            format!("guest {guest} misuses a queue: {error}; the {kind} is off until the guest resets it")
        });
        let features = refused.filter(|_| refused != self.refused).map(|features| {
            format!(
                "guest {guest} cannot use its {kind}: it does not take the features {features:#x} that the driver chooses, \
                 which must have VERSION_1 (bit 32) and no other than the {kind} offers"
            )
        });
        // A driver that is bound again and again chooses the same each time.
        (self.error, self.refused) = (error, refused.or(self.refused));
        let text = queue.or(features).filter(|_| self.left > 0)?;
        self.left = self.left.saturating_sub(1);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_is_told_once() {
        let mut complaints = Complaints::new(DomId(3), "disk");
        assert_eq!(complaints.next(None, None), None);
        let text = complaints.next(Some(QueueError::Chain), None).unwrap();
        assert!(
            text.starts_with("guest 3 misuses a queue: a descriptor chain is broken; the disk"),
            "{text}"
        );
        assert_eq!(complaints.next(Some(QueueError::Chain), None), None);
        assert!(complaints.next(Some(QueueError::Index), None).is_some());
        // The guest has reset it, and its driver chooses as one from before 1.0.
        let text = complaints.next(None, Some(0x4000)).unwrap();
        assert!(text.contains("guest 3 cannot use its disk") && text.contains(" 0x4000 "), "{text}");
        assert_eq!(complaints.next(None, Some(0x4000)), None);
        assert_eq!(complaints.next(None, None), None);
        assert_eq!(complaints.next(None, Some(0x4000)), None, "the same after another reset");
        assert!(complaints.next(None, Some(0x4002)).is_some());
    }

    #[test]
    fn a_guest_that_goes_on_is_told_of_no_more() {
        let mut complaints = Complaints::new(DomId(3), "disk");
        let told = (0..1000).filter(|round| complaints.next(None, Some(*round)).is_some()).count();
        assert_eq!(told, 10);
    }
}
