//! Control groups of devices' processes, where the domain's Linux has them (cgroup v2): each device has the same share of
//! the CPUs, however many threads it has, and no more than so many threads.
//!
//! Principle: only what is ours to divide is divided: the root of all groups, where no service manager runs, or a group that
//! one has handed over (systemd's `Delegate=`). Memory has no limit there: what Linux keeps of an image in its page cache
//! would count as the process's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The share of a device among others, by Linux's scale of 1 to 10000.
const WEIGHT: &str = "100";
/// The most threads of a process, those that Linux starts for its ring included.
const THREADS: &str = "64";
/// What the names of devices' groups begin with.
const DEVICE: &str = "device-";
/// The group of the supervisor, which may not be in a group that has others (cgroup-v2.rst, "No Internal Process
/// Constraint").
const SUPERVISOR: &str = "supervisor";
/// What systemd marks a group with that it has handed over (`Delegate=`), from version 251 on.
const MARKS: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// The group in which devices get theirs.
pub struct Parent {
    folder: PathBuf,
}

/// The group of one device. It goes with the value.
pub struct Group {
    folder: PathBuf,
}

impl Parent {
    /// The group of this process, made ready to be divided. `None`: there are no groups, or it is not ours to divide.
    pub fn open() -> Option<Parent> {
        let read = |path| fs::read_to_string(path).ok();
        let (folder, is_root) = place(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)?;
        if !is_root && !is_delegated(&folder) {
            return None;
        }
        Parent::prepare(folder, is_root).inspect_err(|error| log::warn!("no control groups: {error}")).ok()
    }

    fn prepare(folder: PathBuf, is_root: bool) -> io::Result<Parent> {
        let parent = Parent { folder };
        parent.sweep();
        if !is_root {
            let own = parent.folder.join(SUPERVISOR);
            make(&own)?;
            enter(&own, std::process::id())?;
        }
        let enable = |controller: &str| fs::write(parent.folder.join("cgroup.subtree_control"), controller);
        // Each by itself: a kernel may lack one of them.
        let enabled = ["+cpu", "+pids"].map(enable);
        if enabled.iter().all(Result::is_err) {
            let [first, _] = enabled;
            first?;
        }
        Ok(parent)
    }

    /// Removes the groups that a supervisor before this one has left, but for those with a process in them.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(DEVICE)) {
            let _ = fs::remove_dir(entry.path());
        }
    }

    /// Puts a device's process into a group of its own.
    ///
    /// # Errors
    /// What the system says.
    pub fn take(&self, process: u32) -> io::Result<Group> {
        let group = Group { folder: self.folder.join(format!("{DEVICE}{process}")) };
        make(&group.folder)?;
        // Those of a controller that is not there are none that can be set.
        for (file, value) in [("cpu.weight", WEIGHT), ("pids.max", THREADS)] {
            let _ = fs::write(group.folder.join(file), value);
        }
        enter(&group.folder, process)?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its process has ended; if not, the next supervisor sweeps it away.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Moves a process with all of its threads.
fn enter(folder: &Path, process: u32) -> io::Result<()> {
    fs::write(folder.join("cgroup.procs"), process.to_string())
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn is_delegated(folder: &Path) -> bool {
    MARKS.iter().any(|mark| {
        let mut value = [0; 8];
        rustix::fs::getxattr(folder, *mark, &mut value).is_ok_and(|len| value.get(..len) == Some(b"1"))
    })
}

/// The folder of a process's group, and whether it is the root of all, by what proc(5) says of its mounts and its groups.
fn place(mounts: &str, groups: &str) -> Option<(PathBuf, bool)> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // A mount may show a part of the groups only.
        let below = Path::new(group).strip_prefix(root).ok()?;
        Some((Path::new(point).join(below), group == "/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "22 1 0:20 / /proc rw,nosuid - proc proc rw\n\
        31 1 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn a_group_is_found_by_the_mounts() {
        let found = |mounts: &str, groups: &str| place(mounts, groups);
        let at = |path: &str, is_root| Some((PathBuf::from(path), is_root));
        assert_eq!(found(MOUNTS, "0::/\n"), at("/sys/fs/cgroup/", true));
        let service = "1:name=x:/other\n0::/system.slice/lithd.service\n";
        assert_eq!(found(MOUNTS, service), at("/sys/fs/cgroup/system.slice/lithd.service", false));
        assert_eq!(found("", "0::/\n"), None);
        assert_eq!(found(MOUNTS, "4:cpu:/\n"), None);
        let part = "31 1 0:27 /box /cg rw - cgroup2 cgroup2 rw";
        assert_eq!(found(part, "0::/box/lithd\n"), at("/cg/lithd", false));
        assert_eq!(found(part, "0::/elsewhere\n"), None);
    }

    #[test]
    fn a_process_gets_a_group_with_limits() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("device-7");
        fs::create_dir(&left).unwrap();
        let parent = Parent::prepare(folder.path().into(), false).unwrap();
        assert!(!left.exists(), "the last supervisor's");
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!(read("supervisor/cgroup.procs"), std::process::id().to_string());
        let group = parent.take(77).unwrap();
        assert_eq!(read("device-77/cgroup.procs"), "77");
        assert_eq!(
            (read("device-77/cpu.weight"), read("device-77/pids.max")),
            (WEIGHT.into(), THREADS.into())
        );
        // Those files come and go with a real group.
        for file in ["cgroup.procs", "cpu.weight", "pids.max"] {
            fs::remove_file(folder.path().join("device-77").join(file)).unwrap();
        }
        drop(group);
        assert!(!folder.path().join("device-77").exists());
    }

    #[test]
    fn a_folder_that_nobody_has_handed_over_is_not_ours() {
        assert!(!is_delegated(tempfile::tempdir().unwrap().path()));
    }
}
