//! lith's commands, at guests that live, wait, end and crash.

use anyhow::{Context, Result, ensure};
use testbed::kernel::Series;

use super::{passes, root_disk};
use crate::rig::{Rig, check_and_remove, description, disk, setup};
use system_tests::harness::{Lab, Scenario};
use system_tests::shell::Shell;

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("guest/commands", commands),
        Scenario::new("guest/ends", ends),
        Scenario::new("guest/bad-files", bad_files),
    ]
}

/// lith's commands do what they say, to guests at work too.
fn commands(lab: &Lab) -> Result<()> {
    let image = root_disk(lab)?;
    let mut rig = Rig::start(lab, &setup(lab, Series::V6_12, &image, false)?)?;
    let before = rig.json("info")?;
    ensure!(before["domains"] == 2 && before["cpus"] == 2, "the machine is {before}");
    rig.create("guest", &description("guest", &disk("/dev/vda", "serial = \"root\"\n")))?;
    rig.boot("guest")?;
    shown(&mut rig)?;
    pauses(&mut rig)?;
    refuses(&mut rig)?;
    rig.at("guest", |at| {
        at.shell().check("while guest-tests disk /root; do :; done >/dev/null 2>&1 & true").map(drop)
    })?;
    rig.lith("destroy guest")?;
    // Destroyed in the middle of its writes, it starts on the same disk.
    let more = format!("vcpus = 2\n{}", disk("/dev/vda", ""));
    rig.create("guest", &description("guest", &more))?;
    rig.at("guest", |at| {
        at.boot()?;
        passes(&mut at.shell(), "disk /root")
    })?;
    suspends(&mut rig)?;
    taken_over(&mut rig)?;
    // Name and disk are free at once.
    rig.control().check("lith shutdown --wait guest && lith create /guest.toml")?;
    rig.control().check("lith destroy guest && [ $(lith list | wc -l) -eq 3 ]")?;
    rig.power_off()?;
    check_and_remove(&image)
}

/// A guest whose monitor was killed is looked after by another one: its console works, and it still hears.
fn taken_over(rig: &mut Rig) -> Result<()> {
    let monitor = rig.json("info guest")?["record"]["monitor"].clone();
    rig.control().check(&format!("kill -9 {monitor}"))?;
    ensure!(rig.refused("console guest")?.contains("`lith attach guest`"), "a console without a monitor");
    ensure!(rig.lith("list")?.contains("no monitor"), "lith list does not note that the monitor is gone");
    rig.lith("attach guest")?;
    ensure!(rig.refused("attach guest")?.contains("looks after it already"), "two monitors for a guest");
    ensure!(rig.lith("list")?.lines().all(|line| !line.contains("no monitor")), "{}", rig.lith("list")?);
    rig.at("guest", |at| passes(&mut at.shell(), "disk /root"))
}

/// What lith shows of a guest, for people and for programs.
fn shown(rig: &mut Rig) -> Result<()> {
    let list = rig.json("list")?;
    let names: Vec<&str> =
        list.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
    ensure!(names == ["control", "domain-1", "guest"], "domains {names:?}");
    ensure!(list[2]["vcpus"] == 1 && list[2]["memory_mib"] == 160, "the guest is {}", list[2]);
    let table = rig.lith("list")?;
    ensure!(table.starts_with("NAME") && table.lines().count() == 4, "lith list: {table}");
    let disks = rig.json("disk list")?;
    let [one] = disks.as_array().map(Vec::as_slice).unwrap_or_default() else {
        anyhow::bail!("one disk, and not {disks}");
    };
    ensure!(
        one["guest"] == "guest" && one["state"] == "ready" && one["image"] == "/dev/vda",
        "the disk is {one}"
    );
    ensure!(rig.lith("info guest")?.contains("serves /dev/vda (raw, 256 MiB, 1 queue)"), "lith info guest");
    // What domains write to the same console is no message of the hypervisor's.
    ensure!(rig.lith("dmesg --all")?.contains("init: ready"), "lith dmesg --all");
    let messages = rig.control().run("lith dmesg | grep -cv '^(xenolith) '")?;
    ensure!(messages.output == "0", "lith dmesg has {} lines of others", messages.output);
    ensure!(rig.json("dmesg --all")?.as_array().is_some_and(|lines| lines.len() > 9), "lith dmesg --json");
    let script = rig.lith("completion bash")?;
    ensure!(script.contains("complete"), "a script for completion: {script}");
    Ok(())
}

/// A paused guest does nothing, and goes on where it was.
fn pauses(rig: &mut Rig) -> Result<()> {
    let seconds = |rig: &mut Rig| -> Result<f64> {
        rig.json("list")?[2]["cpu_seconds"].as_f64().context("no CPU time of the guest")
    };
    rig.at("guest", |at| at.shell().check("while :; do :; done & true").map(drop))?;
    rig.lith("pause guest")?;
    let stopped = seconds(rig)?;
    rig.control().check("sleep 1")?;
    ensure!(rig.state("guest")?.as_deref() == Some("paused"), "a paused guest is {:?}", rig.state("guest")?);
    ensure!(seconds(rig)? == stopped, "a paused guest uses CPU time");
    ensure!(rig.refused("pause guest")?.contains("is paused already"), "pausing twice");
    ensure!(
        rig.refused("reboot guest")?.contains("`lith unpause guest` lets it hear"),
        "a paused guest hears"
    );
    rig.lith("unpause guest")?;
    rig.control().check("sleep 1")?;
    ensure!(seconds(rig)? > stopped, "a guest does not go on");
    ensure!(rig.refused("unpause guest")?.contains("is not paused"), "unpausing twice");
    rig.at("guest", |at| at.shell().check("kill $!").map(drop))
}

/// A guest that suspends itself sleeps until it is resumed; then its disk, its other vCPU and its clock are as before.
fn suspends(rig: &mut Rig) -> Result<()> {
    for round in 1..=3 {
        rig.at("guest", |at| at.shell().last("echo mem >/sys/power/state"))?;
        rig.control().check("while ! lith list | grep -q 'guest .*suspended'; do sleep 0.1; done")?;
        ensure!(rig.refused("shutdown guest")?.contains("`lith resume guest` lets it hear"), "it hears");
        ensure!(rig.refused("unpause guest")?.contains("`lith resume guest` wakes it"), "it is unpaused");
        rig.control().check("sleep 2")?;
        ensure!(rig.state("guest")?.as_deref() == Some("suspended"), "it has woken by itself");
        rig.lith("resume guest")?;
        ensure!(rig.refused("resume guest")?.contains("is not suspended"), "resuming twice");
        let seconds = |shell: &mut Shell| -> Result<i64> { Ok(shell.check("date +%s")?.trim().parse()?) };
        let control = seconds(&mut rig.control())?;
        let guest = rig.at("guest", |at| {
            passes(&mut at.shell(), "disk /root")?;
            let vcpus = at.shell().check("nproc")?;
            ensure!(vcpus.trim() == "2", "{vcpus} vCPUs are on after round {round}");
            seconds(&mut at.shell())
        })?;
        for words in ["suspended itself", "goes on"] {
            let said = rig.control().check(&format!("grep -c '{words}' /run/lith/guest.log"))?;
            ensure!(said.trim() == round.to_string(), "the log says {words:?} {said} times in round {round}");
        }
        let late = guest - control;
        ensure!((-1..60).contains(&late), "the guest's clock is {late} s ahead after a suspension");
    }
    Ok(())
}

/// What cannot be is refused with the reason.
fn refuses(rig: &mut Rig) -> Result<()> {
    for (arguments, words) in [
        ("create /guest.toml", "there is a guest guest already"),
        ("console domain-1", "domain-1 was not made by lith"),
        ("console nobody", "no guest is called nobody: there are guest"),
        ("destroy 77", "no guest is called 77"),
        ("destroy control", "this is the control domain; turn it off with `poweroff`"),
        ("pause 0", "the control domain cannot pause itself"),
        ("shutdown control", "this is the control domain itself, not a guest"),
    ] {
        let line = rig.refused(arguments)?;
        ensure!(line.contains(words), "lith {arguments} said {line:?} and not {words:?}");
    }
    let outcome = rig.control().run("lith frobnicate")?;
    ensure!(outcome.status == 2, "a command that is none ended with {}", outcome.status);
    let outcome = rig.control().run("lith pause guest --json")?;
    ensure!(
        outcome.status == 2 && outcome.output.contains("--json is for"),
        "pause --json: {}",
        outcome.output
    );
    Ok(())
}

/// A guest's end has the consequence that its file names.
fn ends(lab: &Lab) -> Result<()> {
    let image = root_disk(lab)?;
    let mut rig = Rig::start(lab, &setup(lab, Series::V6_12, &image, false)?)?;
    let free = rig.free_kib()?;
    let with = |actions: &str| description("guest", &format!("{actions}\n{}", disk("/dev/vda", "")));
    rig.create("guest", &with("on_poweroff = \"preserve\"\non_reboot = \"destroy\""))?;
    rig.at("guest", |at| {
        at.boot()?;
        at.shell().last("poweroff -f")?;
        at.expect("has turned itself off; it is preserved until `lith destroy guest`").map(drop)
    })?;
    ensure!(rig.state("guest")?.as_deref() == Some("off"), "a preserved guest is {:?}", rig.state("guest")?);
    let line = rig.refused("shutdown guest")?;
    ensure!(line.contains("it has ended already") && line.matches("lith destroy").count() == 1, "{line}");
    rig.lith("destroy guest")?;
    rig.wait_for_domains(2)?;
    rig.lith("create /guest.toml")?;
    rig.end("guest", |at| {
        at.boot()?;
        at.shell().last("reboot -f")
    })?;
    rig.wait_for_domains(2)?;
    rig.create("guest", &with("on_poweroff = \"restart\""))?;
    rig.at("guest", |at| {
        at.boot()?;
        at.shell().last("poweroff -f")?;
        at.expect("has turned itself off; it is started again")?;
        at.boot()
    })?;
    ensure!(rig.json("info guest")?["record"]["restarts"] == 1, "one restart");
    rig.lith("destroy guest")?;
    crashes(&mut rig)?;
    ensure!(rig.free_kib()? == free, "{} KiB are free, and were {free} before", rig.free_kib()?);
    rig.power_off()
}

/// A crash has its own consequence; one that comes early is followed by a pause, in which the guest can be destroyed.
fn crashes(rig: &mut Rig) -> Result<()> {
    let kernel = "kernel = \"/guest/crashes\"\nmemory = \"16M\"\n";
    rig.create("guest", kernel)?;
    rig.wait_for_domains(2)?;
    rig.create("guest", &format!("{kernel}on_crash = \"preserve\"\n"))?;
    rig.control().check("while ! lith list | grep -q crashed; do sleep 0.1; done")?;
    rig.lith("destroy guest")?;
    rig.wait_for_domains(2)?;
    rig.create("guest", &format!("{kernel}on_crash = \"restart\"\n"))?;
    rig.control()
        .check("while [ $(grep -c 'started again' /run/lith/guest.log) -lt 2 ]; do sleep 0.1; done")?;
    rig.lith("destroy guest")?;
    rig.wait_for_domains(2)
}

/// Files that describe no guest are refused with the place and the reason, and leave nothing behind.
fn bad_files(lab: &Lab) -> Result<()> {
    let image = root_disk(lab)?;
    let mut rig = Rig::start(lab, &setup(lab, Series::V6_12, &image, false)?)?;
    let tiny = "kernel = \"/guest/tiny\"\nmemory = \"16M\"\n";
    rig.control().check("head -c 100000 /bin/lith >/not-a-kernel")?;
    let free = rig.free_kib()?;
    for (text, words) in [
        ("memory = \"64M\"\n", "/bad.toml: kernel: is missing"),
        (
            "kernel = \"/guest/tiny\"\nmemroy = \"1M\"\n",
            "/bad.toml:2:1: memroy: is not known; did you mean \"memory\"?",
        ),
        (&format!("{tiny}vcpus = 129\n"), "/bad.toml:3:9: vcpus: must be from 1 to 128"),
        (&format!("{tiny}vcpus = [\n"), "/bad.toml:3:"),
        ("kernel = \"/none\"\nmemory = \"64M\"\n", "kernel /none: No such file"),
        ("kernel = \"/not-a-kernel\"\nmemory = \"64M\"\n", "it is an ELF file"),
        (&format!("{tiny}memory = \"100G\"\n"), "/bad.toml:3:"),
        ("kernel = \"/guest/tiny\"\nmemory = \"100G\"\n", "the guest needs 102400 MiB, and "),
        (&format!("{tiny}{}", disk("/none.img", "")), "disk /none.img: domain 1 cannot serve it: "),
        (
            &format!("{tiny}{}", disk("/dev/vda", "format = \"qcow2\"\n")),
            "disk /dev/vda: domain 1 cannot serve it: ",
        ),
        (
            &format!("{tiny}[[disk]]\nimage = \"/x\"\nbackend = 9\n"),
            "disk /x: its backend, domain 9, is not there; ",
        ),
        (
            &format!("{tiny}[[disk]]\nimage = \"/x\"\nbackend = \"web\"\n"),
            "disk /x: its backend: no guest is ",
        ),
    ] {
        rig.write("/bad.toml", text)?;
        let line = rig.refused("create /bad.toml")?;
        ensure!(line.contains(words), "of {text:?} lith said {line:?} and not {words:?}");
        rig.wait_for_domains(2)?;
    }
    ensure!(rig.free_kib()? == free, "{} KiB are free, and were {free} before", rig.free_kib()?);
    deaf(&mut rig, tiny)?;
    ensure!(rig.free_kib()? == free, "{} KiB are free, and were {free} before", rig.free_kib()?);
    ensure!(rig.refused("create /nowhere.toml")?.contains("/nowhere.toml"), "a file that is not there");
    rig.power_off()
}

/// A guest that does not listen is not said to have been asked; what does not ask it works.
fn deaf(rig: &mut Rig, kernel: &str) -> Result<()> {
    rig.create("deaf", kernel)?;
    for command in ["reboot", "shutdown --wait"] {
        let line = rig.refused(&format!("{command} deaf"))?;
        ensure!(line.contains("it does not listen") && line.contains("`lith destroy deaf`"), "{line}");
        ensure!(line.contains("`lith reset deaf`") == (command == "reboot"), "{line}");
    }
    let first = rig.json("info deaf")?["domain"].clone();
    rig.lith("reset deaf")?;
    let second = rig.json("info deaf")?;
    ensure!(second["domain"] != first && second["record"]["restarts"] == 1, "{first} became {second}");
    rig.lith("destroy deaf")?;
    ensure!(rig.state("deaf")?.is_none(), "a guest that was destroyed is {:?}", rig.state("deaf")?);
    Ok(())
}
