//! The monitor's process: how it begins, with a guest that is made or taken over, and how it ends.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use backend::xen::Evtchn;
use uuid::Uuid;
use xenolith_abi::Port;
use xenolith_abi::domctl::DomainInfo;

use super::report::{Order, Report, send};
use super::run::Monitor;
use super::{life, report};
use crate::builder::Built;
use crate::config::GuestConfig;
use crate::output::{explain, say};
use crate::registry::{FOLDER, Registry};
use crate::xen::{Control, Domains, RealXen};

/// Makes or takes over the guest that standard input orders, says on standard output how that goes, and looks after it to its end.
///
/// # Errors
///
/// What `lith create` has been told already, or what ended the monitor later.
pub fn main() -> Result<()> {
    let made = prepare();
    let mut monitor = match made {
        Ok(monitor) => monitor,
        Err(error) => {
            send(&Report::Failed(explain(&error)));
            return Ok(());
        }
    };
    send(&Report::Ready(monitor.guest.built.domain));
    let result = leave_the_terminal().and_then(|()| monitor.run());
    if let Err(error) = &result {
        say(&format!("the monitor of {} ends: {}", monitor.config.name, explain(error)));
    }
    monitor.close();
    result
}

fn prepare() -> Result<Monitor> {
    let mut order = String::new();
    std::io::stdin().read_to_string(&mut order).context("no order")?;
    let order = serde_json::from_str(&order).context("an order that makes no sense")?;
    // A terminal that is closed, or Ctrl-C in it, is not meant for the guest.
    let _ = rustix::process::setsid();
    let registry = Registry::open(Path::new(FOLDER))?;
    match order {
        Order::Create { config, paused } => create(registry, *config, paused),
        Order::Attach { name } => attach(registry, &name),
    }
}

/// Makes a guest.
fn create(registry: Registry, config: GuestConfig, paused: bool) -> Result<Monitor> {
    // Held from before the check to the monitor's end: the name is this guest's alone all the time.
    let lock = registry.lock(&config.name)?;
    log_to(&registry, &config.name, true)?;
    let xen = RealXen::open()?;
    let events = Evtchn::open()?;
    life::check_free(&xen, &registry, &config.name)?;
    registry.remove(&config.name);
    let built = life::make(&xen, &registry, &config, &mut |step| report::send(&Report::Step(step.into())))?;
    let monitor = Monitor::start(xen, events, registry, config, built, None, lock);
    let monitor = monitor
        .inspect_err(|(xen, _)| drop(xen.control(built.domain, Control::Destroy)))
        .map_err(|(_, error)| error)?;
    if !paused {
        monitor.xen.control(built.domain, Control::Unpause).inspect_err(|_| monitor.give_up())?;
    }
    Ok(monitor)
}

/// Takes a guest over whose monitor has ended.
fn attach(registry: Registry, name: &str) -> Result<Monitor> {
    let record = registry.get(name).with_context(|| format!("no guest is called {name}"))?;
    if !registry.is_free(name) {
        bail!("process {} looks after it already", record.monitor);
    }
    let lock = registry.lock(name)?;
    log_to(&registry, name, false)?;
    let xen = RealXen::open()?;
    let events = Evtchn::open()?;
    let is_there = |info: DomainInfo| Uuid::from_bytes(info.handle) == record.uuid;
    if !xen.domain(record.domain)?.is_some_and(is_there) {
        registry.remove(name);
        bail!("its domain has ended meanwhile: `lith create` makes it anew");
    }
    let [console_port, store_port] = record.ports.map(Port);
    let built = Built { domain: record.domain, console_port, store_port, handle: record.uuid };
    let kept = (record.restarts, registry.read_store(name));
    // Who connects to it finds nobody any more.
    let _ = std::fs::remove_file(registry.socket(name));
    Monitor::start(xen, events, registry, record.config, built, Some(kept), lock).map_err(|(_, error)| error)
}

/// Writes to the guest's log from now on: a fresh one, or behind what stands there.
fn log_to(registry: &Registry, name: &str, is_fresh: bool) -> Result<()> {
    let path = registry.log(name);
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(is_fresh).append(!is_fresh).mode(0o600);
    let log = options.open(&path);
    let log = log.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(rustix::stdio::dup2_stderr(log)?)
}

/// Lets go of the pipes to `lith create`, which ends now.
fn leave_the_terminal() -> Result<()> {
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    std::env::set_current_dir("/")?;
    Ok(())
}
