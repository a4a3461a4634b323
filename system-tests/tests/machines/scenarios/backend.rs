//! Device models and backends, good and bad: what they do to their guest's device, and that nobody else is hurt.

mod confined;
mod held;
mod hostile;
mod layers;
mod rounds;

use anyhow::{Result, ensure};
use system_tests::guests::{self, STRANGER};
use system_tests::setup::Setup;
use system_tests::shell::{PROGRAM, READY};
use testbed::disk_image::make_ext4;
use testbed::kernel::Series;
use testbed::qemu::{BootDomain, Gic};
use testbed::roles::{DRIVER_BOOTARGS, DRIVER_DOMAIN};

use crate::rig::{self, Rig};
use system_tests::harness::{Lab, Scenario};

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("backend/accesses-6.12-gicv3", |lab| accesses(lab, Series::V6_12, Gic::V3)),
        Scenario::new("backend/accesses-6.1-gicv2", |lab| accesses(lab, Series::V6_1, Gic::V2)),
        Scenario::new("backend/qcow2-over-raw", layers::run),
        Scenario::new("backend/killed", killed),
        Scenario::new("backend/confined-6.12", |lab| confined::run(lab, Series::V6_12)),
        Scenario::new("backend/confined-6.1", |lab| confined::run(lab, Series::V6_1)),
        Scenario::new("backend/weakly-confined", confined::weakly),
        Scenario::new("backend/kills-under-load", rounds::kills),
        Scenario::new("backend/rounds-under-load", rounds::all_ends),
        Scenario::new("backend/silent", silent),
        Scenario::new("backend/driver-domain-destroyed", driver_domain_destroyed),
        Scenario::new("backend/requests-held", held::run),
        Scenario::new("backend/hostile-driver-domain", hostile::run),
        Scenario::new("backend/stranger", stranger),
        Scenario::new("backend/no-forwarding", no_forwarding),
    ]
}

/// How often the hostile device model is started.
const HOSTILE_MODELS: u32 = 2;

/// The guest whose kernel tries an emulated device.
const BARE: &str = "name = \"bare\"\nkernel = \"/guest/bare\"\nmemory = \"16M\"\n";

/// A machine whose only backend is the control domain.
pub(super) fn control_alone(lab: &Lab, series: Series) -> Result<Setup> {
    let mut setup = lab.linux(series)?.bootarg("quiet").option("loglvl=warn");
    setup.initrd = Some(guests::control_file(&lab.assets.output, series));
    Ok(setup)
}

/// A domain beside the control domain that owns no device and runs this program.
pub(super) fn another(lab: &Lab, series: Series, program: &str) -> Result<BootDomain> {
    Ok(BootDomain {
        bootargs: format!("{DRIVER_BOOTARGS} run={program}"),
        memory_mib: 128,
        direct_map: false,
        passthrough: Vec::new(),
        ..guests::driver(&lab.assets.output, series, false)?
    })
}

/// Starts a device model in the control domain, and waits until it serves. It is no child of the shell, since an
/// interactive shell takes the end of a child for the end of its input.
fn serve(rig: &mut Rig, model: &str) -> Result<()> {
    rig.control().check(&format!("(guest-tests {model} >/tmp/model & echo $! >/tmp/pid)"))?;
    rig.control().check("until grep -q serves /tmp/model; do sleep 0.1; done").map(drop)
}

/// Every form of access comes to the device model and back as it should. Then device models that are hostile serve the
/// same guest: its vCPU goes on, and whoever may stop, pause and show it still can.
fn accesses(lab: &Lab, series: Series, gic: Gic) -> Result<()> {
    let mut setup = control_alone(lab, series)?.option("guest_console");
    setup.gic = gic;
    let mut rig = Rig::start(lab, &setup)?;
    rig.write("/bare.toml", BARE)?;
    let free = rig.free_kib()?;
    rig.lith("create --paused /bare.toml")?;
    serve(&mut rig, "echo-model 1")?;
    // What the guest says may come before the answer to the command.
    rig.control().last("lith unpause bare")?;
    let said = rig.expect("forwarded: waits for the end")?;
    let failures: Vec<&str> = said.lines().filter(|line| line.contains("FAILED")).collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    rig.control().check("kill -9 $(cat /tmp/pid)")?;
    for seed in 1..=HOSTILE_MODELS {
        let outcome = rig.control().run(&format!("guest-tests hostile-model 1 {seed}"))?;
        ensure!(outcome.status == 0, "seed {seed}: {}", outcome.output);
        rig.lith("pause bare")?;
        ensure!(rig.state("bare")?.as_deref() == Some("paused"), "the guest cannot be paused");
        rig.lith("unpause bare")?;
    }
    rig.control().last("(guest-tests last-echo-model 1 >/tmp/model & echo $! >/tmp/pid)")?;
    let result = rig.expect(" failed")?;
    ensure!(result.ends_with(" 0"), "{result}");
    // The device model still holds the page by which it was asked.
    rig.control().check("kill -9 $(cat /tmp/pid)")?;
    rig.wait_for_domains(1)?;
    ensure!(rig.free_kib()? == free, "memory of the guest is missing");
    rig.power_off()
}

/// A guest whose system is in its ramdisk, so that it does not need the disk that it has.
pub(super) fn description(disk: &str) -> String {
    format!(
        "name = \"guest\"\nkernel = \"/guest/kernel\"\nramdisk = \"/guest/shell\"\n\
         cmdline = \"console=hvc0 quiet run={PROGRAM}\"\nmemory = \"128M\"\n{disk}"
    )
}

/// A disk that the control domain serves.
const DISK: &str = "[[disk]]\nimage = \"/disk.img\"\n";
/// What the guest does to its disk until that fails, in no child of its shell.
const LOAD: &str = "(while dd if=/dev/zero of=/dev/vda bs=64k count=99 conv=fsync; do :; done 2>/tmp/load &)";
/// Ends when the guest has written to its disk.
const UNDER_LOAD: &str = "for i in $(seq 200); do grep records /tmp/load && break; sleep 0.1; done";
/// The process that serves the only disk.
const DEVICE: &str = "$(ps | awk '/ device --[s]lot/ { print $1 }')";

/// Starts lithd in the control domain, which must have ended before.
fn start_lithd(rig: &mut Rig) -> Result<()> {
    start_lithd_with(rig, "")
}

fn start_lithd_with(rig: &mut Rig, options: &str) -> Result<()> {
    rig.control().check(&format!("(lithd serve {options} 2>>/tmp/lithd.log & echo $! >/tmp/serve)")).map(drop)
}

/// Makes the guest, and waits for its shell.
fn boot(rig: &mut Rig, disk: &str) -> Result<()> {
    rig.create("guest", &description(disk))?;
    rig.at("guest", |at| at.expect(READY).map(drop))
}

/// Has the guest use its disk, and comes back when it does.
fn load(rig: &mut Rig) -> Result<()> {
    rig.at("guest", |at| {
        let mut shell = at.shell();
        ensure!(shell.check("cat /sys/block/vda/size")? == "65536", "the disk has another size");
        shell.check(LOAD)?;
        ensure!(!shell.check(UNDER_LOAD)?.is_empty(), "nothing is written to the disk");
        Ok(())
    })
}

/// The guest's kernel and its shell are well, though its disk may not be.
fn lives_on(rig: &mut Rig) -> Result<()> {
    rig.at("guest", |at| {
        let mut shell = at.shell();
        // A request to a device that is gone.
        shell.check("(dd if=/dev/vda of=/dev/null bs=4k skip=5000 count=1 2>/tmp/read &)")?;
        ensure!(shell.check("sleep 1; seq 1 1000 | tail -n 1")? == "1000");
        let trouble = shell.run("dmesg | grep -E 'Internal error|Unable to handle|SError|Oops|BUG'")?;
        ensure!(trouble.status == 1, "the guest's kernel is unwell: {}", trouble.output);
        Ok(())
    })?;
    obeys(rig)
}

/// The guest can be shown, paused and let go on.
fn obeys(rig: &mut Rig) -> Result<()> {
    rig.lith("pause guest")?;
    ensure!(rig.state("guest")?.as_deref() == Some("paused"), "the guest cannot be paused");
    ensure!(rig.json("info guest")?["domain"].is_number(), "the guest cannot be shown");
    rig.lith("unpause guest")?;
    ensure!(rig.state("guest")?.as_deref() != Some("paused"), "the guest does not go on");
    Ok(())
}

/// The guest ends, and all that it had is free again.
fn ends(rig: &mut Rig, free: u64) -> Result<()> {
    rig.lith("destroy guest")?;
    rig.wait_for_domains(1)?;
    let now = rig.free_kib()?;
    ensure!(now == free, "{free} KiB were free before the guest, {now} KiB after it");
    Ok(())
}

/// Waits until the disk's backend is said to be in this state.
fn wait_for_backend(rig: &mut Rig, state: &str) -> Result<()> {
    rig.control().check(&format!("until lith disk list | grep -q {state}; do sleep 0.1; done")).map(drop)
}

/// What the hypervisor says of a server that nobody has ended.
const DESERTED: &str = "grep -c 'its device model is gone'";

/// The daemon, and then the process that serves a disk, is told to end under load, and then they are killed. Only a process that
/// is killed leaves its server for the hypervisor to end.
fn killed(lab: &Lab) -> Result<()> {
    let mut rig = Rig::start(lab, &control_alone(lab, Series::V6_12)?)?;
    rig.control().check("truncate -s 32M /disk.img")?;
    start_lithd(&mut rig)?;
    const DAEMON: &str = "$(cat /tmp/serve)";
    for (signal, victim, deserted) in
        [("TERM", DAEMON, "0"), ("TERM", DEVICE, "0"), ("KILL", DEVICE, "1"), ("KILL", DAEMON, "1")]
    {
        let free = rig.free_kib()?;
        boot(&mut rig, DISK)?;
        load(&mut rig)?;
        rig.control().check(&format!("kill -{signal} {victim}"))?;
        if signal == "TERM" {
            wait_for_backend(&mut rig, "'lithd was told to end'")?;
        }
        if victim == DAEMON {
            rig.control().check(&format!("while kill -0 {DAEMON} 2>/dev/null; do sleep 0.1; done"))?;
            start_lithd(&mut rig)?;
        }
        wait_for_backend(&mut rig, "gone")?;
        let said = rig.control().run(&format!("lith dmesg | {DESERTED}"))?;
        ensure!(
            said.output == deserted,
            "after {signal} the hypervisor has said {} times that a model is gone",
            said.output
        );
        is_shown(&mut rig)?;
        lives_on(&mut rig)?;
        ends(&mut rig, free)?;
    }
    rig.power_off()
}

/// Who looks at the guest in any way sees that its disk has no backend any more.
fn is_shown(rig: &mut Rig) -> Result<()> {
    let list = rig.lith("list")?;
    ensure!(list.lines().any(|line| line.ends_with("disk /disk.img gone")), "lith list shows {list}");
    let info = rig.lith("info guest")?;
    ensure!(info.contains("disk /disk.img gone: `lith reset guest`"), "lith info guest shows {info}");
    rig.at("guest", |at| at.expect("has lost the backend of its disk /disk.img").map(drop))
}

/// A backend that never answers: the guest's vCPU waits for it, and everybody else for nobody. So it is when it is asked
/// to let go of memory that the guest gives back, which is free only then.
fn silent(lab: &Lab) -> Result<()> {
    let mut rig = Rig::start(lab, &control_alone(lab, Series::V6_12)?)?;
    rig.control().check("truncate -s 32M /disk.img")?;
    start_lithd(&mut rig)?;
    let free = rig.free_kib()?;
    boot(&mut rig, DISK)?;
    load(&mut rig)?;
    for again in [true, false] {
        rig.control().check(&format!("kill -STOP {DEVICE}"))?;
        rig.at("guest", |at| at.shell().last("dd if=/dev/vda of=/dev/null bs=4k count=1; echo went on"))?;
        ensure!(rig.control().check("seq 1 1000 | tail -n 1")? == "1000", "the control domain is unwell");
        obeys(&mut rig)?;
        if again {
            rig.control().check(&format!("kill -CONT {DEVICE}"))?;
            rig.at("guest", |at| at.expect("went on").map(drop))?;
            lets_go_of_memory(&mut rig)?;
        }
    }
    ends(&mut rig, free)?;
    rig.power_off()
}

/// The guest gives memory back while its backend is stopped, and when that goes on, the memory is free. A backend maps
/// what it uses: of what the guest gives, some pages may be such as it never had, and those are free at once.
fn lets_go_of_memory(rig: &mut Rig) -> Result<()> {
    const GIVEN_KIB: u64 = 4 << 10;
    let free = rig.free_kib()?;
    rig.control().check(&format!("kill -STOP {DEVICE}"))?;
    let give_back = format!("guest-tests give-back {GIVEN_KIB} && echo gave it back");
    rig.at("guest", |at| at.shell().last(&give_back))?;
    rig.control().check("sleep 1")?;
    obeys(rig)?;
    let during = rig.free_kib()?;
    ensure!(
        (free..free + GIVEN_KIB / 2).contains(&during),
        "{free} KiB were free, and {during} KiB while the backend had what was given still mapped"
    );
    rig.control().check(&format!("kill -CONT {DEVICE}"))?;
    rig.at("guest", |at| at.expect("gave it back").map(drop))?;
    let now = rig.free_kib()?;
    ensure!(now == free + GIVEN_KIB, "{free} KiB were free, {now} KiB after the guest gave {GIVEN_KIB} KiB");
    Ok(())
}

/// The domain that serves a disk is destroyed under load.
fn driver_domain_destroyed(lab: &Lab) -> Result<()> {
    const DRIVER_KIB: u64 = 256 << 10;
    let image = lab.folder.join("disk.img");
    make_ext4(&image, 32, None)?;
    let mut rig = Rig::start(lab, &rig::setup(lab, Series::V6_12, &image, false)?)?;
    let free = rig.free_kib()?;
    boot(&mut rig, &rig::disk("/dev/vda", ""))?;
    load(&mut rig)?;
    let refused = rig.refused(&format!("destroy {DRIVER_DOMAIN}"))?;
    ensure!(refused.contains("guest guest loses its disk /dev/vda"), "lith destroy says {refused}");
    let said = rig.lith(&format!("destroy --force {DRIVER_DOMAIN}"))?;
    ensure!(said.contains("guest guest loses its disk /dev/vda"), "lith destroy --force says {said}");
    lives_on(&mut rig)?;
    rig.lith("destroy guest")?;
    rig.wait_for_domains(1)?;
    let now = rig.free_kib()?;
    ensure!(now >= free + DRIVER_KIB, "{free} KiB were free with the driver domain, {now} KiB without");
    rig.power_off()
}

/// A domain that is not a guest's device model is refused all that one may do.
fn stranger(lab: &Lab) -> Result<()> {
    let series = Series::V6_12;
    let mut setup = control_alone(lab, series)?;
    setup.domains.push(another(lab, series, STRANGER)?);
    let mut rig = Rig::start(lab, &setup)?;
    rig.write("/bare.toml", BARE)?;
    // What the other domain says may come before the answer to the command.
    rig.control().last("lith create --paused /bare.toml")?;
    let said = rig.expect("stranger: done, with status ")?;
    ensure!(rig.expect("\n")?.trim() == "0", "{said}");
    rig.power_off()
}

/// A hypervisor that was built without I/O forwarding runs its domains, and says of disks that it cannot have them.
fn no_forwarding(lab: &Lab) -> Result<()> {
    let mut setup = control_alone(lab, Series::V6_12)?;
    setup.hypervisor = lab.assets.without_forwarding()?;
    let mut rig = Rig::start(lab, &setup)?;
    rig.control().check("truncate -s 32M /disk.img")?;
    let lithd = rig.control().run("lithd serve")?;
    ensure!(lithd.status == 1 && lithd.output.contains("no device slots"), "lithd says {:?}", lithd.output);
    let free = rig.free_kib()?;
    rig.write("/disk.toml", &description(DISK))?;
    let line = rig.refused("create /disk.toml")?;
    ensure!(
        line.contains("disk /disk.img: the hypervisor is one without I/O forwarding"),
        "lith says {line:?}"
    );
    boot(&mut rig, "")?;
    let outcome = rig.control().run("guest-tests echo-model $(lith list | awk '/^guest/ { print $2 }')")?;
    ensure!(outcome.output.contains("not implemented"), "a device model is told {:?}", outcome.output);
    obeys(&mut rig)?;
    ends(&mut rig, free)?;
    rig.power_off()
}
