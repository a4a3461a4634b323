//! CPUs, the timer in each of them, and what starts them.

use alloc::string::String;
use alloc::vec::Vec;

use super::error::PlatformError;
use super::left_out::LeftOuts;
use super::region::{Region, merge};
use super::tree::{Place, Then, Tree, cells, entries, number_of_cells};
use xenolith_core::types::{Intid, Pa};

/// CPUs that the hypervisor drives at most.
pub const MAX_CPUS: usize = 64;
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

/// What brings a CPU into the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartMethod {
    /// The firmware's CPU_ON.
    Psci,
    /// The CPU waits until an address to go on at is written to this one (Linux, Documentation/arch/arm64/booting.rst).
    SpinTable {
        /// Eight bytes, aligned.
        release: Pa,
    },
}

/// A CPU of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCpu {
    /// By what it knows itself.
    pub mpidr: Mpidr,
    /// Its node's full path.
    pub node: String,
    /// How it is started, or why it cannot be. The CPU that boots needs no start.
    pub start: Result<StartMethod, &'static str>,
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
pub fn cpus(
    tree: &Tree<'_>,
    psci: Option<Psci>,
    left_out: &mut LeftOuts,
) -> Result<(Vec<HostCpu>, usize), PlatformError> {
    let mut found: Vec<HostCpu> = Vec::new();
    let mut too_many = 0usize;
    tree.walk(&mut |place| {
        let Some(parent) = place.parent() else { return Then::Into };
        if parent.parent().is_none() {
            return if place.path() == "/cpus" { Then::Into } else { Then::Over };
        }
        // A disabled CPU is one that waits to be started; only "fail" means that there is none.
        let failed = place.text("status").is_some_and(|status| status.starts_with("fail"));
        if place.text("device_type") != Some("cpu") || failed {
            return Then::Over;
        }
        let reg = place.bytes("reg").unwrap_or_default();
        let mpidr = match entries(reg, [parent.address_cells()]).next() {
            Some([Some(id)]) => Mpidr::new(id),
            _ => {
                left_out.note(place.path(), "`reg` is no MPIDR; the CPU is left out");
                return Then::Over;
            }
        };
        if found.iter().any(|cpu| cpu.mpidr == mpidr) {
            left_out.note(place.path(), "`reg` is that of another CPU; the node is left out");
        } else if found.len() >= MAX_CPUS {
            too_many = too_many.saturating_add(1);
        } else {
            found.push(HostCpu { mpidr, node: place.path(), start: start_method(place, psci) });
        }
        Then::Over
    });
    if found.is_empty() { Err(PlatformError::NoCpu) } else { Ok((found, too_many)) }
}

/// How the CPU is started, as its node or `/cpus` says. A tree with PSCI need not say it.
fn start_method(place: &Place<'_, '_>, psci: Option<Psci>) -> Result<StartMethod, &'static str> {
    let own = place.text("enable-method");
    match own.or_else(|| place.parent()?.text("enable-method")) {
        Some("psci") | None if psci.is_some() => Ok(StartMethod::Psci),
        Some("psci") => Err("`enable-method` is \"psci\", and the tree has no PSCI firmware"),
        Some("spin-table") => match place.bytes("cpu-release-addr").and_then(number_of_cells) {
            Some(release) if release != 0 && release.is_multiple_of(8) => {
                Ok(StartMethod::SpinTable { release: Pa(release) })
            }
            _ => Err("`cpu-release-addr` is no address of eight aligned bytes"),
        },
        None => Err("`enable-method` is missing, and the tree has no PSCI firmware"),
        Some(_) => Err("`enable-method` is neither \"psci\" nor \"spin-table\""),
    }
}

/// The reserved ranges with the addresses at which CPUs wait: a CPU that is not started looks there as long as the machine
/// runs, even if the tree does not reserve them.
pub fn keep_release_addresses(cpus: &[HostCpu], mut reserved: Vec<Region>) -> Vec<Region> {
    let words = cpus.iter().filter_map(|cpu| match cpu.start {
        Ok(StartMethod::SpinTable { release }) => Region::new(release, 8),
        _ => None,
    });
    reserved.extend(words);
    merge(reserved)
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

/// The power-state firmware, if there is one.
pub fn psci(tree: &Tree<'_>) -> Result<Option<Psci>, PlatformError> {
    tree.find(|place| {
        let version = match () {
            () if !place.is_enabled() => return None,
            () if place.is_compatible(&["arm,psci-1.0"]) => (1, 0),
            () if place.is_compatible(&["arm,psci-0.2"]) => (0, 2),
            () => return None,
        };
        let conduit = match place.text("method") {
            Some("smc") => Conduit::Smc,
            Some("hvc") => Conduit::Hvc,
            _ => return Some(Err(place.bad("method", "is neither \"smc\" nor \"hvc\""))),
        };
        Some(Ok(Psci { conduit, version }))
    })
    .transpose()
}
