//! The order of all locks.

/// Every lock of the hypervisor, by the type of lock and value, outermost first. A lock is waited for only while those held
/// stand in lines before its own. No two of one line are held together, but of [`PAIRS`].
pub const ORDER: &[&[&str]] = &[
    // Whoever destroys a domain. Nobody waits for it.
    &["Mutex<Teardown>"],
    // The making of domains.
    &["Mutex<DomId>"],
    // A domain's addresses, stage 2 and frames, grant table, emulated UART, ioreq servers, event channels, vGIC.
    &["RwLock<AddressTable>"],
    &["Mutex<Memory>"],
    &["Mutex<GrantTable<FrameRef>>"],
    &["Mutex<Vuart<FrameRef>>"],
    &["Mutex<Servers<FrameRef>>"],
    &["Mutex<EventChannels<FrameRef>>"],
    &["Mutex<Vgic>"],
    // A domain's pauses, and of a vCPU its power state, its saved registers, its run state area.
    &["Mutex<u32>"],
    &["Mutex<Power>"],
    &["Mutex<Saved>"],
    &["Mutex<RunstateArea>"],
    // The device slots of the machine.
    &["Mutex<Slots>"],
    // The domains, and those that have ended.
    &["RwLock<Vec<Arc<Domain>>>"],
    &["Mutex<Vec<Arc<Domain>>>"],
    // The scheduler's numbers of vCPUs.
    &["Mutex<[u64; 64]>"],
    // Run queues, vCPUs as the scheduler knows them, their CPUs where each has one of its own.
    &["Mutex<Queue>"],
    &["Mutex<Unit>"],
    &["Mutex<Assignments>"],
    // Under these no other is taken but the frame allocator's and the console's.
    &[
        "Mutex<[u8; 16]>",
        "Mutex<Parameters>",
        "Mutex<Maptrack>",
        "Mutex<Watchdogs>",
        "Mutex<PanicDetector>",
        "Mutex<Permits>",
        "Mutex<ArrayVec<Permission, 16>>",
        "Mutex<Ending>",
        "Mutex<i64>",
        "Mutex<Option<DeviceAccess>>",
        "Mutex<Option<StalePages>>",
        "Mutex<GuestRegs>",
        "Mutex<PhysicalTimer>",
        "Mutex<Turn>",
        "Mutex<TimerQueue<VcpuTimer>>",
        "Mutex<Vmids>",
        "RwLock<Vec<Option<VcpuRef>>>",
        "RwLock<Vec<Option<DomId>>>",
    ],
    // The wiping of frames that are free, which nobody waits for, and the frame allocator.
    &["Mutex<Option<ScrubCursor>>"],
    &["Mutex<Buddy>"],
    // The console: whose turn it is, what was written, what was typed.
    &["Mutex<Turns>"],
    &["Mutex<Ring>"],
    &["Mutex<Input>"],
];

/// Locks of which two may be held together, those of two domains: that of the lower number is taken first.
pub const PAIRS: &[&str] = &["Mutex<EventChannels<FrameRef>>"];

/// Whether a lock may be waited for while another is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayFollow {
    /// It may.
    Yes,
    /// It may not.
    No,
    /// There is no place for this one.
    Unknown(&'static str),
}

/// Whether a lock of the class `wanted` may be waited for by who holds one of the class `held`. Classes are names of types,
/// with their paths.
pub fn may_follow(held: &'static str, wanted: &'static str) -> MayFollow {
    match (line_of(held), line_of(wanted)) {
        (None, _) => MayFollow::Unknown(held),
        (_, None) => MayFollow::Unknown(wanted),
        (Some(first), Some(second)) if first < second => MayFollow::Yes,
        _ if held == wanted && PAIRS.iter().any(|pair| names(held, pair)) => MayFollow::Yes,
        _ => MayFollow::No,
    }
}

fn line_of(class: &str) -> Option<usize> {
    ORDER.iter().position(|line| line.iter().any(|short| names(class, short)))
}

/// Whether the name of a type is this one without its paths.
fn names(full: &str, short: &str) -> bool {
    let mut short = short.bytes();
    let mut rest = full;
    while !rest.is_empty() {
        let word = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let (word, behind) = rest.split_at(word.max(1));
        rest = match behind.strip_prefix("::") {
            Some(behind) => behind,
            None if word.bytes().all(|byte| short.next() == Some(byte)) => behind,
            None => return false,
        };
    }
    short.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_without_its_paths() {
        assert!(names(
            "a::sync::Mutex<alloc::vec::Vec<core::option::Option<b::c::D>>>",
            "Mutex<Vec<Option<D>>>"
        ));
        assert!(names("a::Mutex<[u8; 16]>", "Mutex<[u8; 16]>"));
        assert!(!names("a::Mutex<b::Memory>", "Mutex<Memo>"));
        assert!(!names("a::Mutex<b::Memo>", "Mutex<Memory>"));
    }

    #[test]
    fn no_lock_has_two_places() {
        let all: Vec<_> = ORDER.concat();
        assert!(all.iter().enumerate().all(|(index, name)| !all[..index].contains(name)));
    }

    #[test]
    fn the_order_says_which_may_follow() {
        let (queue, ring) = ("a::Mutex<b::Queue>", "Mutex<Ring>");
        assert_eq!(may_follow(queue, ring), MayFollow::Yes);
        assert_eq!(may_follow(ring, queue), MayFollow::No);
        assert_eq!(may_follow(queue, queue), MayFollow::No);
        assert_eq!(may_follow(queue, "Mutex<New>"), MayFollow::Unknown("Mutex<New>"));
        let events = "Mutex<EventChannels<a::FrameRef>>";
        assert_eq!(may_follow(events, events), MayFollow::Yes);
    }
}
