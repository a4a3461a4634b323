//! `xen_version`: what the hypervisor is and what it can do, in the words that Xen's tools and Linux expect.

use xenolith_abi::version::{self, CompileInfo, FeatureInfo, VariableBuffer, VersionOp, feature};
use xenolith_abi::{Errno, GuestPtr};

use xenolith_core::types::PAGE_SIZE;
use xenolith_domain::arch::CAPABILITIES;
use xenolith_domain::domain::Domain;

use crate::caller::{Answer, Arguments, Caller, DONE, value};
use crate::guest;

/// What follows major and minor version.
const EXTRA: &str = ".xenolith";

/// What Xen tells in place of what a domain may not know.
const DENIED: &str = "<denied>";

/// Arguments: what to tell; where to put it. `ENOSYS`: no such operation, or one that came after the version that is shown.
///
/// - `version`, `pagesize`: a number. `EINVAL`: `pagesize` with a buffer.
/// - `get_features`: `EINVAL`: a submap other than 0.
/// - `build_id`: `EPERM`: the caller is not the control domain. `ENODATA`: there is none.
/// - those of 4.18: the length of the text. `ENOBUFS`: the buffer is shorter.
/// - others: none. What a domain may not know is `<denied>`.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [op, buffer, ..] = arguments;
    let (major, minor) = caller.hv.options.xen_version.numbers();
    match u32::try_from(op).ok().and_then(VersionOp::from_number) {
        Some(VersionOp::Version) => value(u64::from(major) << 16 | u64::from(minor)),
        Some(VersionOp::ExtraVersion) => text::<{ version::EXTRA_VERSION_SIZE }>(caller, buffer, EXTRA),
        Some(VersionOp::CompileInfo) => {
            let info = CompileInfo {
                compiler: fixed("rustc"),
                compile_by: fixed(""),
                compile_domain: fixed(""),
                compile_date: fixed(""),
            };
            caller.write(buffer, &info)?;
            DONE
        }
        Some(VersionOp::Capabilities) => text::<{ version::CAPABILITIES_SIZE }>(caller, buffer, CAPABILITIES),
        Some(VersionOp::ChangeSet) => text::<{ version::CHANGE_SET_SIZE }>(caller, buffer, ""),
        Some(VersionOp::PlatformParameters) => {
            caller.write(buffer, &0_u64)?;
            DONE
        }
        Some(VersionOp::GetFeatures) => {
            let asked: FeatureInfo = caller.read(buffer)?;
            if asked.submap_idx != 0 {
                return Err(Errno::EINVAL);
            }
            caller.write(buffer, &FeatureInfo { submap: features(&caller.domain()), ..asked })?;
            DONE
        }
        Some(VersionOp::PageSize) if buffer == 0 => value(PAGE_SIZE),
        Some(VersionOp::PageSize) => Err(Errno::EINVAL),
        Some(VersionOp::GuestHandle) => {
            let handle = *caller.domain().handle.lock();
            caller.write(buffer, &handle)?;
            DONE
        }
        Some(VersionOp::CommandLine) => {
            text::<{ version::COMMAND_LINE_SIZE }>(caller, buffer, command_line(caller))
        }
        Some(VersionOp::BuildId) => {
            caller.require_control()?;
            Err(Errno::ENODATA)
        }
        // These came after 4.17; a caller that meets the older version must not find them.
        _ if minor < 18 => Err(Errno::ENOSYS),
        Some(VersionOp::ExtraVersion2) => variable(caller, buffer, EXTRA),
        Some(VersionOp::Capabilities2) => variable(caller, buffer, CAPABILITIES),
        Some(VersionOp::ChangeSet2) => variable(caller, buffer, ""),
        Some(VersionOp::CommandLine2) => variable(caller, buffer, command_line(caller)),
        None => Err(Errno::ENOSYS),
    }
}

/// The hypervisor's command line is the control domain's to know.
fn command_line<'a>(caller: &'a Caller<'_>) -> &'a str {
    if caller.domain().is_control { &caller.hv.command_line } else { DENIED }
}

fn features(domain: &Domain) -> u32 {
    let map = if domain.direct_mapped { feature::DIRECT_MAPPED } else { feature::NOT_DIRECT_MAPPED };
    let control = if domain.is_control { feature::DOM0 } else { 0 };
    feature::WRITABLE_PAGE_TABLES
        | feature::AUTO_TRANSLATED_PHYSMAP
        | feature::MEMORY_OP_VNODE_SUPPORTED
        | guest::FEATURES
        | control
        | map
}

/// The text with zeroes behind it, cut so that at least one remains.
fn fixed<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (slot, byte) in bytes.iter_mut().take(N.saturating_sub(1)).zip(text.bytes()) {
        *slot = byte;
    }
    bytes
}

fn text<const N: usize>(caller: &Caller<'_>, buffer: u64, text: &str) -> Answer {
    caller.write(buffer, &fixed::<N>(text))?;
    DONE
}

/// Without a buffer the answer is the length; with one, exactly the text's bytes are written behind its head.
fn variable(caller: &Caller<'_>, buffer: u64, text: &str) -> Answer {
    if buffer == 0 {
        return value(text.len() as u64);
    }
    let place = GuestPtr::<VariableBuffer>::new(buffer);
    let head = caller.read(place)?;
    if (head.len as usize) < text.len() {
        return Err(Errno::ENOBUFS);
    }
    let bytes = Caller::element(place, 1)?.cast();
    caller.write_bytes(bytes, text.as_bytes())?;
    value(text.len() as u64)
}
