//! The hypervisor's console: its output so far, and its keys.

use core::sync::atomic::Ordering;

use xenolith_abi::Errno;
use xenolith_abi::control::Payload;
use xenolith_abi::sysctl::{DebugKeys, ReadConsole};

use crate::console::{RING, console};
use crate::hypercall::Caller;

/// Bytes copied at a time.
const CHUNK: usize = 256;
/// Keys taken in one call.
const MAX_KEYS: u32 = 128;

/// From the caller's position if the ring still has that, else from the oldest byte.
pub fn read(caller: &Caller<'_>, payload: &mut Payload) -> Result<(), Errno> {
    let mut asked: ReadConsole = payload.get();
    // Never more than the ring holds, whatever is written meanwhile.
    let room = asked.count.min(RING as u32);
    let mut from = (asked.incremental != 0).then_some(asked.index);
    let mut done = 0;
    while done < room {
        let mut bytes = [0; CHUNK];
        let wanted = bytes.len().min((room - done) as usize);
        let (count, position) = console().read_back(from, bytes.get_mut(..wanted).unwrap_or_default());
        let address = asked.buffer.checked_add(done.into()).ok_or(Errno::EFAULT)?;
        caller.write_bytes(address, bytes.get(..count).unwrap_or_default())?;
        done += count as u32;
        from = Some(position);
        if count < wanted {
            break;
        }
    }
    if asked.clear != 0 {
        console().clear();
    }
    asked.index = from.unwrap_or(asked.index);
    asked.count = done;
    payload.set(&asked);
    Ok(())
}

/// `q` shows the domains, `r` their vCPUs, `e` what EL2 cost where that is counted, `h` the keys. Other keys do nothing, as in Xen.
pub fn debug_keys(caller: &Caller<'_>, payload: &Payload) -> Result<(), Errno> {
    let asked: DebugKeys = payload.get();
    for index in 0..asked.nr_keys.min(MAX_KEYS) {
        let key: u8 = caller.read(Caller::element::<u8>(asked.keys, index.into())?)?;
        match key {
            b'h' => log::info!("keys: e: cost of EL2, h: this, q: domains, r: vCPUs"),
            b'q' => show_domains(caller),
            b'r' => show_vcpus(caller),
            b'e' => caller.hv.accounts.show(caller.hv.cpus()),
            _ => {}
        }
    }
    Ok(())
}

fn show_domains(caller: &Caller<'_>) {
    for domain in caller.hv.domains() {
        let info = domain.info(caller.hv);
        log::info!(
            "{}: {} of at most {} pages, {} of {} vCPUs on, flags {:#x}, {} ms",
            domain.id,
            info.tot_pages,
            info.max_pages,
            info.nr_online_vcpus,
            domain.vcpus.len(),
            info.flags,
            info.cpu_time / 1_000_000
        );
    }
}

fn show_vcpus(caller: &Caller<'_>) {
    for domain in caller.hv.domains() {
        for vcpu in &domain.vcpus {
            let (Some(times), Some((affinity, weight))) =
                (caller.hv.scheduler.times(vcpu.unit), caller.hv.scheduler.parameters(vcpu.unit))
            else {
                continue;
            };
            let last = vcpu.last_cpu.load(Ordering::Relaxed);
            let (id, state) = (domain.id, times.state);
            log::info!("{id} {}: {state:?}, cpu{last}, of CPUs {:#x}, weight {weight}", vcpu.id, affinity.0);
        }
    }
}
