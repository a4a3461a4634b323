//! `lith create`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::console;
use super::domains::find_monitored;
use crate::config::{Boot, GuestConfig};
use crate::monitor::{Order, Report};
use crate::output::{print, print_json, tell};
use crate::registry::Registry;
use crate::xen::Xen;
use xenolith_abi::DomId;

#[derive(Serialize)]
struct Created<'a> {
    name: &'a str,
    domain: DomId,
    paused: bool,
}

/// Makes a guest: starts the process that looks after it, and waits until that has made it.
pub fn run(registry: &Registry, file: &Path, paused: bool, connect: bool, json: bool) -> Result<()> {
    let config = GuestConfig::read(file)?;
    let name = config.name.clone();
    let domain = make(config, paused)?;
    if json {
        return print_json(&Created { name: &name, domain, paused });
    }
    let (state, next) = match (paused, connect) {
        (true, _) => ("paused", format!("start it with `lith unpause {name}`")),
        (false, true) => ("running", "its console follows".into()),
        (false, false) => ("running", format!("its console is `lith console {name}`")),
    };
    print(&format!("Guest {name} is domain {}, {state}; {next}.\n", domain.0))?;
    if connect { console::connect(registry, &name) } else { Ok(()) }
}

/// Makes a guest; returns its domain.
pub fn make(config: GuestConfig, paused: bool) -> Result<DomId> {
    let name = config.name.clone();
    let order = Order::Create { config: Box::new(absolute(config)?), paused };
    follow(&mut start_monitor()?, &order).with_context(|| format!("cannot create guest {name}"))
}

/// `lith attach`.
pub fn attach(xen: &dyn Xen, registry: &Registry, who: &str) -> Result<()> {
    let name = find_monitored(xen, registry, who)?.config.name;
    let domain = take_over(&name)?;
    print(&format!(
        "Guest {name}, domain {}, is looked after again; its console is `lith console {name}`.\n",
        domain.0
    ))
}

/// Starts a monitor for a guest whose own has ended; returns the guest's domain.
pub fn take_over(name: &str) -> Result<DomId> {
    let order = Order::Attach { name: name.to_owned() };
    follow(&mut start_monitor()?, &order).with_context(|| format!("cannot look after guest {name}"))
}

/// The monitor works in another folder.
fn absolute(mut config: GuestConfig) -> Result<GuestConfig> {
    if let Boot::Files { kernel, ramdisk } = config.boot {
        let ramdisk = ramdisk.map(std::path::absolute).transpose()?;
        config.boot = Boot::Files { kernel: std::path::absolute(kernel)?, ramdisk };
    }
    Ok(config)
}

fn start_monitor() -> Result<Child> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let monitor = std::process::Command::new(&program)
        .arg("monitor")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    monitor.with_context(|| format!("cannot run {}", program.display()))
}

/// Gives the order, and listens to the reports; returns the guest's domain.
fn follow(monitor: &mut Child, order: &Order) -> Result<DomId> {
    let mut input = monitor.stdin.take().context("no way to the monitor")?;
    let output = monitor.stdout.take().context("no way from the monitor")?;
    input.write_all(&serde_json::to_vec(order)?).context("cannot give the monitor its order")?;
    drop(input);
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot listen to the monitor")?;
        match serde_json::from_str(&line).with_context(|| format!("the monitor says {line:?}"))? {
            Report::Step(step) => tell(&step),
            Report::Ready(domain) => return Ok(domain),
            Report::Failed(why) => bail!(why),
        }
    }
    bail!("its monitor has ended without a word; see its log in {}", crate::registry::FOLDER)
}
