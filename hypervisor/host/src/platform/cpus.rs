//! CPUs and the memory banks they run in, the timer in each of them, and the firmware that starts them.

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use super::error::PlatformError;
use super::region::{Region, merge};
use super::tree::{Place, Then, Tree, cells, entries};
use xenolith_core::types::Intid;

/// CPUs that the hypervisor drives at most.
pub const MAX_CPUS: usize = 64;
/// Memory banks and reserved ranges that are kept, each. A tree with more is refused: a reserved range that is left out
/// would be given to a domain as RAM.
const MAX_RANGES: usize = 1024;
/// Affinity fields of MPIDR_EL1 (Arm ARM D24.2.120): Aff3 in bits 39 to 32, Aff2 to Aff0 in bits 23 to 0.
const MPIDR_AFFINITY: u64 = 0xff_00ff_ffff;

/// A CPU's affinity fields, as MPIDR_EL1 has them and as PSCI takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mpidr(u64);

impl Mpidr {
    /// The affinity fields of a register value; the other bits are dropped.
    pub const fn new(register: u64) -> Mpidr {
        Mpidr(register & MPIDR_AFFINITY)
    }

    /// The affinity fields in their places, all other bits zero.
    pub const fn affinity(self) -> u64 {
        self.0
    }
}

/// The PPIs (as INTIDs) of the generic timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// The EL1 physical timer, secure.
    pub secure_physical: Intid,
    /// The EL1 physical timer.
    pub physical: Intid,
    /// The virtual timer.
    pub r#virtual: Intid,
    /// The EL2 physical timer.
    pub hypervisor: Intid,
    /// The counter's frequency in Hz, given only where CNTFRQ_EL0 is wrong.
    pub frequency: Option<u32>,
}

/// The instruction by which the firmware is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// SMC.
    Smc,
    /// HVC: there is a hypervisor below.
    Hvc,
}

/// The power-state firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Psci {
    /// How it is called.
    pub conduit: Conduit,
    /// The version (major, minor) that the tree promises; PSCI_VERSION tells the real one.
    pub version: (u16, u16),
}

/// The CPUs in the tree's order, and how many were left out because they are more than [`MAX_CPUS`].
pub fn cpus(tree: &Tree<'_>) -> Result<(ArrayVec<Mpidr, MAX_CPUS>, usize), PlatformError> {
    let mut found = ArrayVec::new();
    let mut left_out = 0usize;
    let mut error = None;
    tree.walk(&mut |place| {
        let Some(parent) = place.parent() else { return Then::Into };
        if parent.parent().is_none() {
            return if place.path() == "/cpus" { Then::Into } else { Then::Over };
        }
        // A disabled CPU is one that waits to be started; only "fail" means that there is none.
        let failed = place.text("status").is_some_and(|status| status.starts_with("fail"));
        if place.text("device_type") == Some("cpu") && !failed {
            let reg = place.bytes("reg").unwrap_or_default();
            match entries(reg, [parent.address_cells()]).next() {
                Some([Some(id)]) if found.contains(&Mpidr::new(id)) => {
                    error = Some((place.path(), "is the same as another CPU's"));
                }
                Some([Some(id)]) => {
                    left_out += usize::from(found.try_push(Mpidr::new(id)).is_err());
                }
                _ => error = Some((place.path(), "is no MPIDR")),
            }
        }
        Then::Over
    });
    if let Some((node, problem)) = error {
        return Err(PlatformError::BadProperty { node, property: "reg", problem });
    }
    if found.is_empty() { Err(PlatformError::NoCpu) } else { Ok((found, left_out)) }
}

/// The machine's RAM: banks in ascending order, neighbours joined. They are what the root's own nodes say (Devicetree
/// Specification 3.4): a node further below with `device_type = "memory"` is a device's.
pub fn memory(tree: &Tree<'_>) -> Result<Vec<Region>, PlatformError> {
    let mut banks = Vec::new();
    below(tree, "/", &mut |place| {
        if place.text("device_type") == Some("memory") { add_ranges(&mut banks, place) } else { Ok(()) }
    })?;
    if banks.is_empty() { Err(PlatformError::NoMemory) } else { Ok(merge(banks)) }
}

/// What the tree reserves: the header's list, and the fixed ranges under `/reserved-memory`. Ascending, joined.
pub fn reserved(tree: &Tree<'_>) -> Result<Vec<Region>, PlatformError> {
    let mut ranges: Vec<Region> = tree.memory_reservations().take(MAX_RANGES + 1).collect();
    if ranges.len() > MAX_RANGES {
        return Err(PlatformError::TooManyRanges { node: None, limit: MAX_RANGES });
    }
    below(tree, "/reserved-memory", &mut |place| add_ranges(&mut ranges, place))?;
    Ok(merge(ranges))
}

/// Visits the children of one node until the first error.
fn below(
    tree: &Tree<'_>,
    path: &str,
    visit: &mut dyn FnMut(&Place<'_, '_>) -> Result<(), PlatformError>,
) -> Result<(), PlatformError> {
    let mut result = Ok(());
    tree.walk(&mut |place| {
        let Some(parent) = place.parent() else { return Then::Into };
        if parent.path() != path {
            // Only the way to the node itself is of interest.
            return if place.path() == path { Then::Into } else { Then::Over };
        }
        result = visit(place);
        if result.is_ok() { Then::Over } else { Then::Stop }
    });
    result
}

/// Adds the ranges of an enabled node's `reg`.
fn add_ranges(ranges: &mut Vec<Region>, place: &Place<'_, '_>) -> Result<(), PlatformError> {
    if !place.is_enabled() {
        return Ok(());
    }
    let room = MAX_RANGES.saturating_sub(ranges.len());
    let before = ranges.len();
    ranges.extend(place.regions().flatten().take(room.saturating_add(1)));
    let added = ranges.len().saturating_sub(before);
    if place.has_more_regions() {
        return Err(place.bad("reg", "has more entries than are looked at"));
    }
    if added > room {
        return Err(PlatformError::TooManyRanges { node: Some(place.path()), limit: MAX_RANGES });
    }
    Ok(())
}

/// The generic timer's interrupts. Their order is fixed (Linux, bindings/timer/arm,arch_timer.yaml) unless
/// `interrupt-names` gives another.
pub fn timer(tree: &Tree<'_>, gic: Option<u32>) -> Result<Timer, PlatformError> {
    tree.find(|place| {
        if !place.is_compatible(&["arm,armv8-timer"]) || !place.is_enabled() {
            return None;
        }
        let lines = gic.map(|gic| tree.interrupts(place, gic)).unwrap_or_default();
        let names = place.bytes("interrupt-names");
        let line = |name: &str, position: usize, problem| {
            let named = names
                .and_then(|names| names.split(|&byte| byte == 0).position(|have| have == name.as_bytes()));
            let position = if names.is_some() { named? } else { position };
            let line = lines.get(position).copied().flatten().filter(|line| line.is_private());
            Some(line.map(|line| line.intid).ok_or(PlatformError::BadProperty {
                node: place.path(),
                property: "interrupts",
                problem,
            }))
        };
        let need = |name, position, problem| {
            line(name, position, problem).unwrap_or_else(|| {
                Err(PlatformError::BadProperty { node: place.path(), property: "interrupt-names", problem })
            })
        };
        let read = || {
            Ok(Timer {
                secure_physical: need("sec-phys", 0, "does not name the secure physical timer's PPI")?,
                physical: need("phys", 1, "does not name the physical timer's PPI")?,
                r#virtual: need("virt", 2, "does not name the virtual timer's PPI")?,
                hypervisor: need("hyp-phys", 3, "does not name the hypervisor timer's PPI")?,
                frequency: place.bytes("clock-frequency").and_then(|bytes| cells(bytes).next()),
            })
        };
        Some(read())
    })
    .unwrap_or(Err(PlatformError::NoTimer))
}

/// The power-state firmware.
pub fn psci(tree: &Tree<'_>) -> Result<Psci, PlatformError> {
    tree.find(|place| {
        let version = match () {
            () if place.is_compatible(&["arm,psci-1.0"]) => (1, 0),
            () if place.is_compatible(&["arm,psci-0.2"]) => (0, 2),
            () => return None,
        };
        let conduit = match place.text("method") {
            Some("smc") => Conduit::Smc,
            Some("hvc") => Conduit::Hvc,
            _ => {
                let (property, problem) = ("method", "is neither \"smc\" nor \"hvc\"");
                return Some(Err(PlatformError::BadProperty { node: place.path(), property, problem }));
            }
        };
        Some(Ok(Psci { conduit, version }))
    })
    .unwrap_or(Err(PlatformError::NoPsci))
}
