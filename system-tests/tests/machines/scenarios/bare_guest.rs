//! A guest without an operating system, `examples/bare-guest`: made by `lith`, started with the machine, as the first domain,
//! and on the board itself.

use anyhow::{Context, Result, ensure};
use system_tests::guests;
use system_tests::setup::Setup;
use testbed::kernel::Series;
use testbed::qemu::{BootDomain, Gic};

use crate::rig::Rig;
use system_tests::harness::{Lab, Scenario};

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for gic in [Gic::V2, Gic::V3] {
        all.extend([
            Scenario::new(format!("bare-guest/by-lith-gicv{gic}"), move |lab| by_lith(lab, gic)),
            Scenario::new(format!("bare-guest/with-the-machine-gicv{gic}"), move |lab| {
                with_the_machine(lab, gic)
            }),
            Scenario::new(format!("bare-guest/on-the-board-gicv{gic}"), move |lab| on_the_board(lab, gic)),
        ]);
    }
    all
}

/// Its console is where `lith console` finds it, and its end is the domain's. One that is broken says where, and `lith` knows.
fn by_lith(lab: &Lab, gic: Gic) -> Result<()> {
    let mut setup = lab.linux(Series::V6_12)?.bootarg("quiet").option("loglvl=warn");
    setup.gic = gic;
    setup.initrd = Some(guests::control_file(&lab.assets.output, Series::V6_12));
    let mut rig = Rig::start(lab, &setup)?;
    let description = |more: &str| format!("kernel = \"/guest/bare-guest\"\nmemory = \"16M\"\n{more}");
    rig.write("/bare.toml", &description("cmdline = \"ticks=3\"\nvcpus = 2\n"))?;
    rig.control().last("lith create --console /bare.toml")?;
    let said = ticks(|words| rig.expect(words), 3)?;
    has(
        &said,
        &["on XENVM-4.17, xen,xen-4.17", "image at 0x40000000, EL1, CPU 0x0", &format!("GICv{gic};")],
    )?;
    rig.expect("Guest bare has ended.")?;
    rig.wait_for_domains(1)?;
    rig.write("/broken.toml", &description("cmdline = \"fault=1\"\non_crash = \"preserve\"\n"))?;
    rig.lith("create /broken.toml")?;
    // A translation fault at level 2, of a read.
    rig.at("broken", |at| at.expect("exception 4: ESR 0x96000006, FAR 0x10,"))?;
    ensure!(rig.state("broken")?.as_deref() == Some("crashed"), "it is {:?}", rig.state("broken")?);
    rig.lith("destroy broken")?;
    rig.power_off()
}

/// Two of them beside a first domain which is one as well: each has its own addresses, console, timer and end.
fn with_the_machine(lab: &Lab, gic: Gic) -> Result<()> {
    let mut setup = Setup::new(&lab.assets);
    setup.gic = gic;
    setup.kernel = Some(lab.assets.bare_guest.clone());
    setup.bootargs = "ticks=40".into();
    let domain = |name: &str, direct_map| BootDomain {
        name: name.into(),
        kernel: lab.assets.bare_guest.clone(),
        bootargs: "ticks=3".into(),
        memory_mib: 16,
        vcpus: 1,
        vpl011: true,
        direct_map,
        ..BootDomain::default()
    };
    setup.domains = vec![domain("standard", false), domain("direct", true)];
    let mut machine = lab.start(&setup)?;
    let said = machine.wait_for_end()?;
    for (who, image) in [("d1", "image at 0x40000000, EL1"), ("d2", "image at 0x")] {
        let own: Vec<&str> = said.lines().filter(|line| line.contains(&format!("({who})"))).collect();
        let own = own.join("\n");
        has(
            &own,
            &["on XENVM-4.17, xen,xen-4.17", image, &format!("GICv{gic};"), "tick 3 after", "turns off"],
        )?;
        ensure!(!own.contains("tick 4"), "{who} was to tick three times:\n{own}");
        ensure!(said.contains(&format!("{who} has powered off")), "nobody says that {who} has ended");
    }
    has(&said, &["(d2) image at", "command line: \"ticks=40\"", "tick 40 after", "powering the machine off"])
}

/// The same file without a hypervisor.
fn on_the_board(lab: &Lab, gic: Gic) -> Result<()> {
    let mut setup = Setup::new(&lab.assets).bare();
    setup.gic = gic;
    setup.kernel = Some(lab.assets.bare_guest.clone());
    setup.initrd = Some(lab.assets.bare_guest.clone());
    setup.bootargs = "ticks=2".into();
    let mut machine = lab.start(&setup)?;
    let said = ticks(|words| machine.expect(words), 2)?;
    has(&said, &["no /hypervisor", &format!("GICv{gic};")])?;
    machine.wait_for_end().map(drop)
}

/// What the guest says until it has ticked so often, as often as the time that it names allows, and turns itself off.
fn ticks(mut expect: impl FnMut(&str) -> Result<String>, count: u64) -> Result<String> {
    const PERIOD_MS: u64 = 100;
    let mut said = expect("bare-guest: ")?;
    for tick in 1..=count {
        said.push_str(&expect(&format!("tick {tick} after "))?);
        let time = expect(" ms")?;
        let time: u64 = time.trim_end_matches(" ms").parse().with_context(|| format!("a time: {time:?}"))?;
        ensure!(time >= tick * PERIOD_MS, "tick {tick} came after {time} ms");
    }
    said.push_str(&expect("bare-guest: done, turns off")?);
    Ok(said)
}

fn has(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "it did not say {word:?}:\n{said}");
    }
    Ok(())
}
