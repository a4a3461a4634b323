//! Whose each page of registers and each interrupt is.
//!
//! Windows of two nodes may overlap, and a refusal names both: so these are lists of windows and no
//! `xenolith_memory::intervals`, whose ranges are disjoint.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Device, Granted, PassthroughError, Resource};
use crate::domain_tree::PASSED_THROUGH;
use crate::platform::tree::{Place, Then, Tree};
use crate::platform::{Interrupt, Platform, PlatformError, Region};
use xenolith_core::types::{DomId, Intid};

/// Pages and interrupts that somebody has, and why.
struct Claim {
    owner: Owner,
    node: String,
    pages: Vec<Region>,
    lines: Vec<Intid>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Hypervisor,
    Domain(DomId),
}

/// A host's node that the first domain gives up.
struct Free {
    lines: Vec<Interrupt>,
}

/// The owners of all that can be passed through.
pub struct Owners {
    memory: Vec<Region>,
    claims: Vec<Claim>,
    free: BTreeMap<String, Free>,
    devices: Vec<Region>,
    /// Nodes that are not given up.
    others: Vec<String>,
}

impl Owners {
    /// The owners when only the first domain is there: all is its own or the hypervisor's, less what nodes of the
    /// host's tree with `xen,passthrough` have. `platform` is what [`Platform::parse`] read in `host`.
    ///
    /// # Errors
    ///
    /// The host's tree cannot be read.
    pub fn new(host: &[u8], platform: &Platform) -> Result<Owners, PlatformError> {
        let tree = Tree::open(host)?;
        let mut owners = Owners {
            memory: platform.memory.clone(),
            claims: Vec::new(),
            free: BTreeMap::new(),
            devices: Vec::new(),
            others: Vec::new(),
        };
        owners.claims.push(Claim {
            owner: Owner::Hypervisor,
            node: platform.gic.path.clone(),
            pages: platform.gic.regions().iter().map(|region| region.to_pages()).collect(),
            lines: Vec::new(),
        });
        tree.walk(&mut |place| {
            owners.note(&tree, platform, place);
            Then::Into
        });
        Ok(owners)
    }

    fn note(&mut self, tree: &Tree<'_>, platform: &Platform, place: &Place<'_, '_>) {
        let path = place.path();
        let lines = platform.gic.phandle.map(|gic| {
            let own = tree.interrupts(place, gic).into_iter().flatten();
            own.chain(tree.mapped_interrupts(place, gic)).collect()
        });
        let lines: Vec<Interrupt> = lines.unwrap_or_default();
        let is_ours =
            path == platform.gic.path || platform.uart.as_ref().is_some_and(|uart| uart.path == path);
        let is_memory = place.text("device_type") == Some("memory");
        let windows = place.windows().flatten().filter(|_| place.text("device_type") == Some("pci"));
        let registers = place.regions().filter(|_| !is_memory).flatten();
        // A page can only be given as a whole: whoever has a register in it has the page.
        let pages: Vec<Region> = registers.chain(windows).map(Region::to_pages).collect();
        self.devices.extend(&pages);
        if is_given_up(place) && !is_ours {
            self.free.insert(path, Free { lines });
            return;
        }
        if (is_ours || place.is_enabled()) && !(pages.is_empty() && lines.is_empty()) {
            let owner = if is_ours { Owner::Hypervisor } else { Owner::Domain(DomId::CONTROL) };
            let lines = lines.iter().map(|line| line.intid).collect();
            self.claims.push(Claim { owner, node: path.clone(), pages, lines });
        }
        self.others.push(path);
    }

    /// The registers of all devices of the machine, whoever has them.
    pub fn devices(&self) -> Vec<Region> {
        self.devices.clone()
    }

    /// Gives the devices to a domain: all of them or, if one of them is not to be had, none.
    ///
    /// # Errors
    ///
    /// [`PassthroughError`] names the node that asks and whoever has what it asks for.
    pub fn claim(&mut self, to: DomId, devices: &[Device]) -> Result<Granted, PassthroughError> {
        let mut granted = Granted::default();
        let mut claims: Vec<Claim> = Vec::new();
        for device in devices {
            let lines = self.lines_of(device)?;
            for window in &device.windows {
                if self.memory.iter().any(|bank| bank.overlaps(window.machine)) {
                    return Err(PassthroughError::Memory {
                        node: device.node.clone(),
                        region: window.machine,
                    });
                }
                self.check(to, device, Resource::Pages(window.machine))?;
                granted.windows.push((device.node.clone(), *window));
            }
            for line in &lines {
                self.check(to, device, Resource::Interrupt(line.intid))?;
                // In order of their numbers, each once.
                let place = granted.interrupts.partition_point(|(_, other)| other.intid < line.intid);
                if granted.interrupts.get(place).is_none_or(|(_, other)| other.intid != line.intid) {
                    granted.interrupts.insert(place, (device.node.clone(), *line));
                }
            }
            claims.push(Claim {
                owner: Owner::Domain(to),
                node: device.node.clone(),
                pages: device.windows.iter().map(|window| window.machine).collect(),
                lines: lines.iter().map(|line| line.intid).collect(),
            });
        }
        // Only now that nothing can be refused any more: a claim is all that a domain asks for, or nothing.
        self.claims.extend(claims);
        Ok(granted)
    }

    /// A domain that was not built gives back what it has claimed.
    pub fn release(&mut self, from: DomId) {
        self.claims.retain(|claim| claim.owner != Owner::Domain(from));
    }

    /// The interrupts of the host's device, which include those that the guest is told about.
    fn lines_of(&self, device: &Device) -> Result<Vec<Interrupt>, PassthroughError> {
        let node = || device.node.clone();
        let Some(host) = &device.host else {
            return match device.interrupts.first() {
                None => Ok(Vec::new()),
                Some(_) => Err(PassthroughError::BadProperty {
                    node: node(),
                    property: "xen,path",
                    problem: "is missing: interrupts are those of a device of the host",
                }),
            };
        };
        let Some(free) = self.free.get(host) else {
            let is_there = self.others.contains(host);
            return Err(if is_there {
                PassthroughError::NotPassedThrough { node: node(), host: host.clone() }
            } else {
                PassthroughError::NoHostNode { node: node(), host: host.clone() }
            });
        };
        let is_own = |line: &Interrupt| free.lines.iter().any(|own| own.intid == line.intid);
        if let Some(line) = device.interrupts.iter().find(|line| !is_own(line)) {
            let (intid, host) = (line.intid, host.clone());
            return Err(PassthroughError::ForeignInterrupt { node: node(), intid, host });
        }
        Ok(free.lines.iter().copied().filter(|line| !line.is_private()).collect())
    }

    fn check(&self, to: DomId, device: &Device, resource: Resource) -> Result<(), PassthroughError> {
        let has = |claim: &&Claim| match resource {
            Resource::Pages(pages) => claim.pages.iter().any(|have| have.overlaps(pages)),
            Resource::Interrupt(intid) => claim.lines.contains(&intid),
        };
        let other = self.claims.iter().filter(|claim| claim.owner != Owner::Domain(to)).find(has);
        match other {
            None => Ok(()),
            Some(claim) => Err(PassthroughError::Taken {
                node: device.node.clone(),
                resource,
                owner: match claim.owner {
                    Owner::Hypervisor => "the hypervisor's".to_string(),
                    Owner::Domain(DomId::CONTROL) => "the first domain's".to_string(),
                    Owner::Domain(id) => format!("{id}'s"),
                },
                by: claim.node.clone(),
            }),
        }
    }
}

/// Whether the node, or one above it, has `xen,passthrough`.
fn is_given_up(place: &Place<'_, '_>) -> bool {
    place.bytes(PASSED_THROUGH).is_some() || place.parent().is_some_and(is_given_up)
}
