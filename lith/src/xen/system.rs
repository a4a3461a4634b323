//! `sysctl` and `xen_version`: the machine, the hypervisor and the list of domains.

use backend::xen::{Argument, Buffer};
use xenolith_abi::DomId;
use xenolith_abi::control::Payload;
use xenolith_abi::domctl::DomainInfo;
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::sysctl::{GetDomainInfoList, INTERFACE_VERSION, PhysInfo, ReadConsole, Sysctl, SysctlOp};
use xenolith_abi::version::{CHANGE_SET_SIZE, COMMAND_LINE_SIZE, CompileInfo, EXTRA_VERSION_SIZE, VersionOp};

use super::Result;
use super::real::{Failed, RealXen};

/// Domains that one call lists.
const DOMAINS: usize = 512;
/// Bytes of the console that one call reads.
const CONSOLE: usize = 16 << 10;
/// The most that is read of the console: its ring is smaller.
const MAX_CONSOLE: usize = 16 << 20;

/// What is known of the hypervisor and its build.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// Major and minor number of the interface: Xen's.
    pub number: (u16, u16),
    /// What follows them.
    pub extra: String,
    /// What it was built from.
    pub changeset: String,
    /// Its command line.
    pub command_line: String,
    /// What built it.
    pub compiler: String,
}

/// The calls about the machine and the hypervisor.
pub trait System {
    /// The version (major, minor) of the interface.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn version_number(&self) -> Result<(u16, u16)>;

    /// All about the hypervisor's build.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn version(&self) -> Result<Version>;

    /// Describes the machine.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn machine(&self) -> Result<PhysInfo>;

    /// What the hypervisor has written to its console.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn console(&self) -> Result<Vec<u8>>;

    /// Describes all domains, in the order of their numbers.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn domains(&self) -> Result<Vec<DomainInfo>>;
}

fn message(op: SysctlOp, payload: Payload) -> Sysctl {
    Sysctl { cmd: op.number(), interface_version: INTERFACE_VERSION, payload }
}

impl RealXen {
    /// Makes the `sysctl` in the buffer; returns its payload as the hypervisor leaves it.
    fn sysctl(&self, buffer: &mut Buffer) -> std::result::Result<Payload, Failed> {
        self.privcmd.hypercall(Hypercall::Sysctl.number(), &mut [Argument::Buffer(buffer)])?;
        Ok(buffer.read::<Sysctl>(0)?.payload)
    }

    fn read_console_from(&self, index: u32) -> std::result::Result<(Vec<u8>, u32), Failed> {
        let request = |buffer| {
            let asked = ReadConsole {
                incremental: 1,
                index,
                buffer,
                count: CONSOLE as u32,
                ..ReadConsole::default()
            };
            message(SysctlOp::ReadConsole, Payload::of(&asked))
        };
        let mut buffer = Buffer::with_array(&[0u8; CONSOLE], request)?;
        let answer: ReadConsole = self.sysctl(&mut buffer)?.get();
        let count = usize::try_from(answer.count).unwrap_or(CONSOLE).min(CONSOLE);
        Ok((buffer.read_array(count)?, answer.index))
    }

    fn list_from(&self, first: DomId) -> std::result::Result<Vec<DomainInfo>, Failed> {
        let request = |buffer| {
            let asked = GetDomainInfoList {
                first_domain: first,
                max_domains: DOMAINS as u32,
                buffer,
                ..GetDomainInfoList::default()
            };
            message(SysctlOp::GetDomainInfoList, Payload::of(&asked))
        };
        let mut buffer = Buffer::with_array(&vec![DomainInfo::default(); DOMAINS], request)?;
        let answer: GetDomainInfoList = self.sysctl(&mut buffer)?.get();
        let count = usize::try_from(answer.num_domains).unwrap_or(0).min(DOMAINS);
        Ok(buffer.read_array(count)?)
    }
}

impl System for RealXen {
    fn version_number(&self) -> Result<(u16, u16)> {
        let mut arguments = [Argument::Value(VersionOp::Version.number().into()), Argument::Value(0)];
        let number = self.privcmd.hypercall(Hypercall::XenVersion.number(), &mut arguments);
        let number =
            number.map_err(|errno| Failed::Answer(errno).call("ask for the hypervisor's version"))?;
        let half = |shift: u32| u16::try_from(number >> shift & 0xffff).unwrap_or(0);
        Ok((half(16), half(0)))
    }

    fn version(&self) -> Result<Version> {
        let text = |op: VersionOp, size: usize| -> Result<String> {
            // What this caller may not see, or an older hypervisor lacks, is left out.
            let mut buffer = Buffer::new(size)?;
            let mut arguments = [Argument::Value(op.number().into()), Argument::Buffer(&mut buffer)];
            if self.privcmd.hypercall(Hypercall::XenVersion.number(), &mut arguments).is_err() {
                return Ok(String::new());
            }
            Ok(until_zero(&buffer.read_bytes(0, size)?))
        };
        let mut compile = Buffer::new(size_of::<CompileInfo>())?;
        let op = Argument::Value(VersionOp::CompileInfo.number().into());
        let mut arguments = [op, Argument::Buffer(&mut compile)];
        let known = self.privcmd.hypercall(Hypercall::XenVersion.number(), &mut arguments).is_ok();
        let compiler =
            if known { until_zero(&compile.read::<CompileInfo>(0)?.compiler) } else { String::new() };
        Ok(Version {
            number: self.version_number()?,
            extra: text(VersionOp::ExtraVersion, EXTRA_VERSION_SIZE)?,
            changeset: text(VersionOp::ChangeSet, CHANGE_SET_SIZE)?,
            command_line: text(VersionOp::CommandLine, COMMAND_LINE_SIZE)?,
            compiler,
        })
    }

    fn machine(&self) -> Result<PhysInfo> {
        let mut buffer = Buffer::of(&message(SysctlOp::PhysInfo, Payload::EMPTY))?;
        let answer = self.sysctl(&mut buffer).map_err(|failed| failed.call("describe the machine"))?;
        Ok(answer.get())
    }

    fn console(&self) -> Result<Vec<u8>> {
        let action = "read the hypervisor's console";
        let mut text = Vec::new();
        let mut index = 0;
        while text.len() < MAX_CONSOLE {
            let (bytes, next) = self.read_console_from(index).map_err(|failed| failed.call(action))?;
            if bytes.is_empty() {
                break;
            }
            text.extend(bytes);
            index = next;
        }
        Ok(text)
    }

    fn domains(&self) -> Result<Vec<DomainInfo>> {
        let mut domains: Vec<DomainInfo> = Vec::new();
        loop {
            let first = domains.last().map_or(0, |domain| domain.domain.0.saturating_add(1));
            let some = self.list_from(DomId(first)).map_err(|failed| failed.call("list the domains"))?;
            let in_order = some.first().is_none_or(|domain| domain.domain >= DomId(first));
            let is_last = some.len() < DOMAINS || !in_order;
            domains.extend(some);
            if is_last {
                return Ok(domains);
            }
        }
    }
}

fn until_zero(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
