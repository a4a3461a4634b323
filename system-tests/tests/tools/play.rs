//! The plays: which transcripts share a machine, and how an answer is judged.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use system_tests::harness::{Lab, Scenario};
use system_tests::setup::Setup;
use system_tests::transcript::{self, Place, Step};
use testbed::qemu::Gic;
use testbed::tools::Version;

use crate::{dom0, record, xen};

/// Some transcripts that are played one after the other in one machine.
struct Play {
    name: &'static str,
    /// Names of files in `transcripts/`, without their ending.
    transcripts: &'static [&'static str],
    /// Whether it needs the forwarding of device accesses, without which Debian builds Xen.
    forwarding: bool,
    /// What this machine has that the others have not.
    change: fn(&mut Setup),
}

/// All plays. Each is a machine for each version of the tools: what can share one should.
const PLAYS: [Play; 6] = [
    Play { name: "xl", transcripts: &["host", "life"], forwarding: false, change: |_| () },
    Play { name: "resources", transcripts: &["resources", "programs"], forwarding: false, change: |_| () },
    Play { name: "gicv2", transcripts: &["gicv2"], forwarding: false, change: |setup| setup.gic = Gic::V2 },
    Play { name: "pv", transcripts: &["pv", "dom0less"], forwarding: false, change: dom0::add_boot_domains },
    Play { name: "libvirt", transcripts: &["libvirt", "uart"], forwarding: false, change: |_| () },
    Play { name: "virtio", transcripts: &["virtio", "driver-domain"], forwarding: true, change: |_| () },
];

/// Transcripts of what Xen refuses as a whole: a device model in a domain without privileges.
const OURS: [&str; 1] = ["driver-domain"];

/// How many steps that went wrong are shown.
const SHOWN: usize = 8;

/// A play of a version that no Xen at hand can play: Debian builds it without forwarding.
const WITHOUT_XEN: [(&str, Version); 1] = [("virtio", Version::V4_20)];

/// A scenario for each play, version of the tools, and hypervisor, and one that holds the transcripts against the record.
pub fn all() -> Result<Vec<Scenario>> {
    let mut all = vec![Scenario::new("record/answered-by-xen", |_| is_on_record())];
    for play in &PLAYS {
        for version in Version::ALL {
            all.push(Scenario::new(format!("tools/{}-{version}", play.name), move |lab| {
                run(lab, play, version, None)
            }));
            if let Some(image) = xen::find(version, play.forwarding)? {
                let name = format!("xen/{}-{version}", play.name);
                all.push(Scenario::new(name, move |lab| run(lab, play, version, Some(&image))));
            }
        }
    }
    Ok(all)
}

impl Play {
    /// Its steps at that place, each with its transcript's name.
    fn steps(&self, place: &Place) -> Result<(Vec<&'static str>, Vec<Step>)> {
        let (mut files, mut steps) = (Vec::new(), Vec::new());
        for name in self.transcripts.iter().filter(|name| !place.xen || !OURS.contains(name)) {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/tools/transcripts/{name}"));
            let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let its = transcript::parse(&text, place).with_context(|| name.to_string())?;
            files.extend(std::iter::repeat_n(*name, its.len()));
            steps.extend(its);
        }
        Ok((files, steps))
    }
}

/// Fails if a transcript says of Xen what no Xen has answered.
fn is_on_record() -> Result<()> {
    let record = record::read()?;
    let mut missing = Vec::new();
    for (play, version) in PLAYS.iter().flat_map(|play| Version::ALL.map(|version| (play, version))) {
        if WITHOUT_XEN.contains(&(play.name, version)) {
            continue;
        }
        let (_, steps) = play.steps(&Place { version: version.to_string(), xen: true })?;
        if !record.holds(play.name, version, &steps) {
            missing.push(format!("xen/{}-{version}", play.name));
        }
    }
    let missing = missing.join(" ");
    ensure!(
        missing.is_empty(),
        "no Xen has been asked since the transcripts of these changed: {missing}. This asks one and records its answers: \
         XEN_ORACLE_DIR=debian cargo xtask test {missing}"
    );
    Ok(())
}

/// Plays transcripts in a machine with our hypervisor, or with that Xen.
fn run(lab: &Lab, play: &Play, version: Version, xen: Option<&Path>) -> Result<()> {
    let (files, steps) = play.steps(&Place { version: version.to_string(), xen: xen.is_some() })?;
    let (mut setup, answers) = dom0::setup(lab, version, &steps)?;
    match xen {
        None => setup = setup.option(&format!("xen-version={version} dom0_max_vcpus=1")),
        Some(image) => {
            setup.hypervisor = image.to_path_buf();
            setup.options =
                "dom0_mem=512M dom0_max_vcpus=1 console=dtuart dtuart=/pl011@9000000 bootscrub=0".to_owned();
        }
    }
    (play.change)(&mut setup);
    let mut machine = lab.start(&setup)?;
    // Each step may take as long as a console is listened to.
    while machine.console.expect_any(&[dom0::STEP, dom0::DONE])?.which == 0 {}
    machine.wait_for_end()?;

    let answers = dom0::read_answers(&answers)?;
    ensure!(answers.len() == steps.len(), "{} steps were played, of {}", answers.len(), steps.len());
    let as_it_came: String = steps.iter().zip(&answers).map(|(step, answer)| step.with(answer)).collect();
    fs::write(lab.folder.join("transcript"), as_it_came)?;
    let wrong: Vec<String> = files
        .iter()
        .zip(steps.iter().zip(&answers))
        .filter_map(|(file, (step, answer))| Some(format!("{file}, {}", step.judge(answer)?)))
        .collect();
    if wrong.is_empty() {
        return if xen.is_some() { record::write(play.name, version, &steps) } else { Ok(()) };
    }
    let more = if wrong.len() > SHOWN { "…\n" } else { "" };
    let shown: String = wrong.iter().take(SHOWN).map(String::as_str).collect();
    bail!("{} of {} steps went wrong:\n{shown}{more}", wrong.len(), steps.len())
}
