//! The whole protocol, against a store in memory: this side with processes that are shell scripts, and the tools' side as
//! libxl was seen to do it.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tempfile::TempDir;
use virtio::config::DiskConfig;
use xenstore::Permissions as Allowed;
use xenstore::mock::Mock;

use super::permit::Permissions;
use super::*;
use crate::job::Job;
use crate::process::Child;

/// The disk that a job is about.
fn disk(job: &Job) -> DiskConfig {
    DiskConfig::from_blob(job.config.as_bytes()).unwrap()
}

/// A process that serves until it is told to end.
const SERVES: &str = "echo ready serves it; read line; exit 0";
/// Longer than anything takes here.
const LIMIT: Duration = Duration::from_secs(30);

/// What the hypervisor was told, in order.
type Calls = Arc<Mutex<Vec<(bool, u16, u16)>>>;

struct Recorder(Calls);

impl Permissions for Recorder {
    fn allow(&self, guest: DomId, backend: DomId) -> Result<(), backend::Error> {
        self.0.lock().unwrap().push((true, guest.0, backend.0));
        Ok(())
    }

    fn forbid(&self, guest: DomId, backend: DomId) -> Result<(), backend::Error> {
        self.0.lock().unwrap().push((false, guest.0, backend.0));
        Ok(())
    }
}

/// A backend's domain with its lithd, and the tools' domain, 0.
struct World {
    mock: Mock,
    own: u16,
    supervisor: Supervisor,
    lithd: Client,
    tools: Client,
    jobs: Arc<Mutex<Vec<Job>>>,
    script: Arc<Mutex<&'static str>>,
    calls: Calls,
    disks: TempDir,
}

impl World {
    fn new(own: u16) -> World {
        let mock = Mock::new();
        let mut tools = mock.connect(0).unwrap();
        if own != 0 {
            mock.introduce(own);
            let home = format!("/local/domain/{own}");
            let readable: Allowed = format!("n0,r{own}").parse().unwrap();
            for path in [home.clone(), format!("{home}/backend")] {
                tools.make(&path).unwrap();
                tools.set_permissions(&path, &readable).unwrap();
            }
            tools.write(&format!("{home}/domid"), own.to_string().as_bytes()).unwrap();
        }
        let (jobs, script) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(SERVES)));
        let calls = Calls::default();
        let disks = tempfile::tempdir().unwrap();
        let mut world = World {
            own,
            supervisor: supervisor(own, &disks, &jobs, &script, &calls),
            lithd: mock.connect(own).unwrap(),
            mock,
            tools,
            jobs,
            script,
            calls,
            disks,
        };
        assert_eq!(own_domain(&mut world.lithd).unwrap(), DomId(own));
        world.watch();
        world
    }

    fn watch(&mut self) {
        self.supervisor.watch(&mut self.lithd).unwrap();
        self.supervisor.look_at_all(&mut self.lithd).unwrap();
    }

    /// Another lithd after this one.
    fn start_anew(&mut self) {
        self.supervisor = supervisor(self.own, &self.disks, &self.jobs, &self.script, &self.calls);
        self.lithd = self.mock.connect(self.own).unwrap();
        self.watch();
    }

    fn path(&self, kind: &str, guest: u16, device: u32) -> String {
        format!("/local/domain/{}/backend/{kind}/{guest}/{device}", self.own)
    }

    /// What libxl does to give a guest a disk.
    fn attach(&mut self, guest: u16, device: u32, changes: &[(&str, &str)]) -> String {
        let path = self.path("virtio_disk", guest, device);
        let mut keys = BTreeMap::from([
            ("frontend-id", guest.to_string()),
            ("params", "/images/a.img".to_owned()),
            ("online", "1".to_owned()),
            ("state", "1".to_owned()),
            ("dev", "xvda".to_owned()),
            ("type", "standalone".to_owned()),
            ("mode", "w".to_owned()),
            ("specification", "virtio".to_owned()),
            ("transport", "mmio".to_owned()),
            ("base", "33554432".to_owned()),
            ("irq", "33".to_owned()),
        ]);
        keys.extend(changes.iter().map(|&(name, value)| (name, value.to_owned())));
        self.put("virtio_disk", guest, device, &path, &keys);
        path
    }

    fn put(&mut self, kind: &str, guest: u16, device: u32, path: &str, keys: &BTreeMap<&str, String>) {
        self.mock.introduce(guest);
        let permissions: Allowed = format!("n{},r{guest}", self.own).parse().unwrap();
        let written = self.tools.transaction(|store| {
            store.write(&format!("/libxl/{guest}/device/{kind}/{device}/backend"), path.as_bytes())?;
            store.make(path)?;
            store.set_permissions(path, &permissions)?;
            for (name, value) in keys {
                let key = format!("{path}/{name}");
                store.write(&key, value.as_bytes())?;
                store.set_permissions(&key, &permissions)?;
            }
            Ok(())
        });
        written.unwrap();
    }

    /// What libxl does to take a device away.
    fn detach(&mut self, path: &str) {
        let marked = self.tools.transaction(|store| {
            store.write(&format!("{path}/online"), b"0")?;
            store.write(&format!("{path}/state"), b"5")
        });
        marked.unwrap();
        if self.own == 0 {
            self.until(|world| world.state(path).as_deref() == Some("6"));
            self.tools.remove(path).unwrap();
        } else {
            self.until(|world| world.state(path).is_none());
        }
        let mut names = path.rsplit('/');
        let (device, guest, kind) = (names.next().unwrap(), names.next().unwrap(), names.next().unwrap());
        self.tools.remove(&format!("/libxl/{guest}/device/{kind}/{device}")).unwrap();
        self.until(|world| world.supervisor.devices.len() == 0);
    }

    fn state(&mut self, path: &str) -> Option<String> {
        self.tools.find_text(&format!("{path}/state")).unwrap()
    }

    fn mark(&mut self, path: &str) -> Option<String> {
        self.tools.find_text(&format!("{path}/lithd")).unwrap()
    }

    /// Lets lithd do what there is to do.
    fn turn(&mut self) {
        while let Some(event) = self.lithd.event().unwrap() {
            self.supervisor.follow(&mut self.lithd, &event).unwrap();
        }
        self.supervisor.devices.drain_events(Some(&mut self.lithd)).unwrap();
    }

    fn until(&mut self, mut is_so: impl FnMut(&mut World) -> bool) {
        let begun = Instant::now();
        loop {
            self.turn();
            if is_so(self) {
                return;
            }
            assert!(begun.elapsed() < LIMIT, "it never comes to that");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn until_state(&mut self, path: &str, state: &str) {
        self.until(|world| world.state(path).as_deref() == Some(state));
    }

    /// Everything is done that lithd does by itself.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.turn();
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn jobs(&self) -> Vec<Job> {
        self.jobs.lock().unwrap().clone()
    }
}

fn supervisor(
    own: u16,
    disks: &TempDir,
    jobs: &Arc<Mutex<Vec<Job>>>,
    script: &Arc<Mutex<&'static str>>,
    calls: &Calls,
) -> Supervisor {
    let (jobs, script) = (Arc::clone(jobs), Arc::clone(script));
    let start = move |job: &Job| {
        jobs.lock().unwrap().push(job.clone());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", *script.lock().unwrap()]);
        Child::spawn(command)
    };
    Supervisor {
        own: DomId(own),
        devices: Devices::new(DomId(own), disks.path().to_owned(), Box::new(start)),
        permits: Permits::new(Some(Box::new(Recorder(Arc::clone(calls))))),
    }
}

#[test]
fn a_disk_is_served_from_its_making_to_its_end() {
    for own in [0, 2] {
        let mut world = World::new(own);
        let path = world.attach(5, 51712, &[]);
        world.until_state(&path, "2");
        assert_eq!(world.mark(&path).as_deref(), Some("serves it"));
        let jobs = world.jobs();
        assert_eq!(
            (jobs.len(), jobs[0].guest, disk(&jobs[0]).image.as_str()),
            (1, DomId(5), "/images/a.img")
        );
        world.detach(&path);
        assert!(!world.mock.paths().contains(&path));
    }
}

#[test]
fn a_disk_that_was_there_first_is_served() {
    let mut world = World::new(0);
    let path = world.attach(5, 51712, &[]);
    world.start_anew();
    world.until_state(&path, "2");
}

#[test]
fn a_guest_that_reboots_comes_back_as_another() {
    let mut world = World::new(2);
    for guest in 5..8 {
        let path = world.attach(guest, 51712, &[]);
        world.until_state(&path, "2");
        world.detach(&path);
    }
    assert_eq!(world.jobs().iter().map(|job| job.guest).collect::<Vec<_>>(), [5, 6, 7].map(DomId));
}

#[test]
fn what_the_store_said_while_it_was_asked_is_not_slept_over() {
    let mut world = World::new(2);
    world.attach(5, 51712, &[]);
    // The change is read before the answer, and so is not in the descriptor any more.
    assert_eq!(world.lithd.find_text("domid").unwrap().as_deref(), Some("2"));
    let mut other = world.mock.connect(0).unwrap();
    let woken = std::thread::spawn(move || {
        // What comes later would wake it in any case.
        std::thread::sleep(Duration::from_secs(1));
        other.write("/local/domain/2/backend/virtio_disk/later", b"").unwrap();
        Instant::now()
    });
    world.supervisor.wait(&world.lithd, &StopSignal::new().unwrap()).unwrap();
    let returned = Instant::now();
    assert!(returned < woken.join().unwrap());
}

#[test]
fn one_disk_that_fails_is_no_matter_to_others() {
    let mut world = World::new(0);
    let odd = [
        [("base", "nowhere")],
        [("irq", "")],
        [("params", "relative")],
        [("frontend-id", "6")],
        [("mode", "\u{1f4a5}")],
    ];
    let bad: Vec<String> = (1..).zip(&odd).map(|(device, change)| world.attach(5, device, change)).collect();
    let good = world.attach(6, 1, &[]);
    world.until_state(&good, "2");
    // libxl does not wait for what is gone.
    world.until(|world| bad.iter().all(|path| world.state(path).is_none()));
    world.until(|world| world.supervisor.devices.len() == 1);
    assert_eq!(world.jobs().len(), 1);
}

#[test]
fn an_image_that_does_not_open_is_told_at_once() {
    let mut world = World::new(2);
    *world.script.lock().unwrap() = "echo failed no such file; exit 1";
    let path = world.attach(5, 51712, &[]);
    world.until(|world| world.state(&path).is_none() && world.supervisor.devices.len() == 0);
    assert_eq!(world.jobs().len(), 1, "it is tried once");
    *world.script.lock().unwrap() = "exit 3";
    let path = world.attach(5, 51728, &[]);
    world.until(|world| world.state(&path).is_none() && world.supervisor.devices.len() == 0);
}

#[test]
fn a_process_that_dies_leaves_word_and_its_device_can_end() {
    for own in [0, 2] {
        let mut world = World::new(own);
        *world.script.lock().unwrap() = "echo ready serves it; echo failed the disk broke; exit 1";
        let path = world.attach(5, 51712, &[]);
        world.until(|world| world.mark(&path).as_deref() == Some("gone: the disk broke"));
        world.settle();
        assert_eq!((world.jobs().len(), world.state(&path).is_some()), (1, true));
        world.detach(&path);
    }
}

#[test]
fn keys_that_are_taken_away_end_the_process_and_stay_away() {
    let mut world = World::new(0);
    let path = world.attach(5, 51712, &[]);
    world.until_state(&path, "2");
    world.tools.remove(&path).unwrap();
    world.until(|world| world.supervisor.devices.len() == 0);
    // Also while the process starts.
    let path = world.attach(5, 51712, &[]);
    world.turn();
    world.tools.remove(&path).unwrap();
    world.until(|world| world.supervisor.devices.len() == 0);
    world.settle();
    assert_eq!(world.state(&path), None);
}

#[test]
fn a_guest_that_ends_without_the_tools_frees_its_disk() {
    let mut world = World::new(0);
    let (path, other) = (world.attach(5, 51712, &[]), world.attach(6, 51712, &[]));
    world.until_state(&path, "2");
    world.until_state(&other, "2");
    world.mock.release(5);
    world.until(|world| world.mark(&path).as_deref() == Some("gone: its guest has ended"));
    assert_eq!(world.mark(&other).as_deref(), Some("serves it"));
    world.mock.release(6);
    world.until_state(&other, "6");
}

#[test]
fn a_lithd_that_is_told_to_end_ends_its_processes_and_says_so() {
    for own in [0, 2] {
        let mut world = World::new(own);
        let file = world.disks.path().join("ended");
        let script = format!("echo ready serves it; read line; sleep 0.1; echo >{}; exit 0", file.display());
        *world.script.lock().unwrap() = script.leak();
        let path = world.attach(5, 51712, &[]);
        world.until_state(&path, "2");
        world.supervisor.devices.stop(Some(&mut world.lithd)).unwrap();
        assert!(file.exists(), "its process has come to its end");
        assert_eq!(world.mark(&path).as_deref(), Some("gone: lithd was told to end"));
        assert_eq!(world.state(&path).as_deref(), Some("6"));
        world.detach(&path);
    }
}

#[test]
fn a_lithd_that_starts_anew_knows_what_was_its_own() {
    for own in [0, 2] {
        let mut world = World::new(own);
        let path = world.attach(5, 51712, &[]);
        world.until_state(&path, "2");
        let other = world.attach(5, 51728, &[("state", "2")]);
        world.start_anew();
        world.until_state(&path, "6");
        assert!(world.mark(&path).unwrap().contains("started anew"));
        // Another program's.
        assert_eq!((world.state(&other).as_deref(), world.mark(&other)), (Some("2"), None));
        assert_eq!(world.jobs().len(), 1);
        world.detach(&path);
    }
}

#[test]
fn a_store_that_comes_back_finds_the_processes_running() {
    let mut world = World::new(0);
    let path = world.attach(5, 51712, &[]);
    world.until_state(&path, "2");
    world.mock.hang_up();
    assert!(world.supervisor.look_at_all(&mut world.lithd).unwrap_err().is_loss());
    world.lithd = world.mock.connect(0).unwrap();
    world.tools = world.mock.connect(0).unwrap();
    let new = world.attach(6, 51712, &[]);
    world.watch();
    world.until_state(&new, "2");
    assert_eq!(world.jobs().len(), 2);
    world.tools.remove(&new).unwrap();
    world.until(|world| world.supervisor.devices.len() == 1);
    world.detach(&path);
}

#[test]
fn changes_by_others_at_the_same_time_are_no_matter() {
    let mut world = World::new(0);
    let path = world.attach(5, 51712, &[]);
    world.mock.conflicts(3);
    world.until_state(&path, "2");
    world.mock.conflicts(3);
    world.detach(&path);
}

#[test]
fn what_happens_while_events_are_missed_is_found() {
    let mut world = World::new(0);
    let path = world.attach(5, 51712, &[]);
    while world.lithd.event().unwrap().is_some() {}
    assert_eq!(world.jobs().len(), 0);
    world.supervisor.follow(&mut world.lithd, &Event::Missed).unwrap();
    world.until_state(&path, "2");
}

#[test]
fn a_generic_device_is_what_a_file_says() {
    let mut world = World::new(0);
    let keys = BTreeMap::from([
        ("frontend-id", "5".to_owned()),
        ("online", "1".to_owned()),
        ("state", "1".to_owned()),
        ("type", "virtio,device2".to_owned()),
        ("transport", "mmio".to_owned()),
        ("base", "0x2000000".to_owned()),
        ("irq", "33".to_owned()),
    ]);
    let put = |world: &mut World, device: u32| {
        let path = world.path("virtio", 5, device);
        world.put("virtio", 5, device, &path, &keys);
        path
    };
    let file = |world: &World, name: &str, text: &str| {
        std::fs::write(world.disks.path().join(name), text).unwrap();
    };
    let path = put(&mut world, 0);
    world.until(|world| world.state(&path).is_none());
    file(&world, "0.json", r#"{"image": "/any.img"}"#);
    file(&world, "web.1.json", r#"{"image": "/web.qcow2", "format": "qcow2", "queues": 2}"#);
    file(&world, "1.json", r#"{"image": "/any.img"}"#);
    file(&world, "2.json", r#"{"image": "/any.img", "speed": 3}"#);
    world.tools.write("/local/domain/5/name", b"web").unwrap();
    for device in 0..2 {
        let path = put(&mut world, device);
        world.until_state(&path, "2");
    }
    let images: Vec<_> = world
        .jobs()
        .into_iter()
        .map(|job| {
            let disk = disk(&job);
            (disk.image, disk.queues)
        })
        .collect();
    assert_eq!(images, [("/any.img".to_owned(), 1), ("/web.qcow2".to_owned(), 2)]);
    let path = put(&mut world, 2);
    world.until(|world| world.state(&path).is_none());
    // A name leads to no other folder.
    world.tools.write("/local/domain/5/name", b"../web").unwrap();
    let path = put(&mut world, 3);
    world.until(|world| world.state(&path).is_none());
}

#[test]
fn a_backend_elsewhere_is_allowed_while_it_has_a_device() {
    let mut world = World::new(0);
    let calls = |world: &mut World, expected: &[(bool, u16, u16)]| {
        world.settle();
        assert_eq!(std::mem::take(&mut *world.calls.lock().unwrap()), expected);
    };
    let note = |guest: u16, device: u32| format!("/libxl/{guest}/device/virtio_disk/{device}");
    let backend =
        |by: u16, guest: u16, device: u32| format!("/local/domain/{by}/backend/virtio_disk/{guest}/{device}");
    let put = |world: &mut World, guest: u16, device: u32, value: String| {
        world.tools.write(&format!("{}/backend", note(guest, device)), value.as_bytes()).unwrap();
    };
    put(&mut world, 5, 1, backend(2, 5, 1));
    calls(&mut world, &[(true, 5, 2)]);
    put(&mut world, 5, 2, backend(2, 5, 2));
    put(&mut world, 5, 3, backend(3, 5, 3));
    put(&mut world, 5, 4, backend(0, 5, 4));
    calls(&mut world, &[(true, 5, 3)]);
    // Nothing that does not say what libxl would say.
    put(&mut world, 6, 1, backend(6, 6, 1));
    put(&mut world, 6, 2, backend(2, 5, 2));
    put(&mut world, 6, 3, "/local/domain/2".into());
    put(&mut world, 6, 4, "/local/domain/x/backend/virtio_disk/6/4".into());
    calls(&mut world, &[]);
    world.tools.remove(&note(5, 1)).unwrap();
    calls(&mut world, &[]);
    world.tools.remove(&note(5, 2)).unwrap();
    calls(&mut world, &[(false, 5, 2)]);
    put(&mut world, 5, 3, backend(2, 5, 3));
    calls(&mut world, &[(false, 5, 3), (true, 5, 2)]);
    world.tools.remove("/libxl/5").unwrap();
    calls(&mut world, &[(false, 5, 2)]);
}

#[test]
fn a_backend_that_is_not_the_tools_domain_allows_nobody() {
    let mut world = World::new(2);
    world
        .tools
        .write("/libxl/5/device/virtio_disk/1/backend", b"/local/domain/3/backend/virtio_disk/5/1")
        .unwrap();
    world.settle();
    assert!(world.calls.lock().unwrap().is_empty());
}
