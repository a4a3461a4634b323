//! What is known of the guests besides what the hypervisor knows: files in one folder.
//!
//! For a guest `web` there are `web.json` (its record), `web.store` (what its monitor keeps for it), `web.sock` (its monitor's socket), `web.log` (its monitor's
//! log) and `web.lock`, which the monitor holds as long as it lives. So a name is free again even after a monitor that
//! was killed, and a record is believed only together with the hypervisor's word that the domain is the same.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::{CONTROL_DOMAIN, GuestConfig};
use xenolith_abi::DomId;

/// Where the files are.
pub const FOLDER: &str = "/run/lith";
/// How long a name that has no record any more may still be taken.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a name that has a record may be had by someone who only looks.
const INSTANT: Duration = Duration::from_millis(100);
/// How often it is tried meanwhile.
const PERIOD: Duration = Duration::from_millis(20);

/// A guest's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its domain now: a restart gives it another one.
    pub domain: DomId,
    /// The domain's UUID.
    pub uuid: Uuid,
    /// The domain's ends of the event channels of its console and its store.
    pub ports: [u32; 2],
    /// The process that looks after it.
    pub monitor: u32,
    /// Times that it was started again.
    pub restarts: u32,
    /// As its file describes it.
    pub config: GuestConfig,
}

/// A name that is taken as long as this lives, or the process that has it open.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Registry {
    folder: PathBuf,
}

impl Registry {
    /// The registry in a folder, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// The folder cannot be made.
    pub fn open(folder: &Path) -> Result<Registry> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("cannot make the folder {}; run lith as root", folder.display()))?;
        Ok(Registry { folder: folder.to_owned() })
    }

    /// Takes a name. One whose guest has just ended is waited for a moment: its monitor has it until its own end.
    ///
    /// # Errors
    ///
    /// It is taken.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        let path = self.path(name, "lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        let begun = Instant::now();
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            // Someone who only looks whether it is free has it for an instant.
            let most = if self.get(name).is_some() { INSTANT } else { PATIENCE };
            if begun.elapsed() >= most {
                bail!("there is a guest {name} already: see `lith list`");
            }
            std::thread::sleep(PERIOD);
        }
        Ok(Lock { _file: file })
    }

    /// Whether nobody has a name: no monitor, not even one that is about to end.
    pub fn is_free(&self, name: &str) -> bool {
        // Shared, so that two who ask at once are not in each other's way; what is locked here goes at once.
        let file = File::open(self.path(name, "lock"));
        file.map_or(true, |file| flock(&file, FlockOperation::NonBlockingLockShared).is_ok())
    }

    /// Writes a guest's record; a reader finds the old one or the new one.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, record: &Record) -> Result<()> {
        self.replace(&record.config.name, "json", &serde_json::to_vec_pretty(record)?)
    }

    /// Writes what a guest's monitor keeps for its guest, for a monitor that comes after it.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_store(&self, name: &str, state: &[u8]) -> Result<()> {
        self.replace(name, "store", state)
    }

    /// What a guest's monitor has kept for its guest; nothing if there is nothing.
    pub fn read_store(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name, "store")).unwrap_or_default()
    }

    fn replace(&self, name: &str, ending: &str, content: &[u8]) -> Result<()> {
        let (path, fresh) = (self.path(name, ending), self.path(name, &format!("{ending}.new")));
        let written = std::fs::write(&fresh, content).and_then(|()| std::fs::rename(&fresh, &path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes what belongs to a guest that is gone, but its log, and its lock, which ends with its holder.
    pub fn remove(&self, name: &str) {
        for ending in ["json", "json.new", "store", "store.new", "sock"] {
            // What is not there need not be removed, and nothing depends on the rest.
            let _ = std::fs::remove_file(self.path(name, ending));
        }
    }

    /// The record of a guest.
    pub fn get(&self, name: &str) -> Option<Record> {
        let bytes = std::fs::read(self.path(name, "json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// All records, by name.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<Record>> {
        let name = || format!("cannot read the folder {}", self.folder.display());
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(name),
        };
        let mut records = Vec::new();
        for entry in entries {
            let file = entry.with_context(name)?.file_name();
            let guest = file.to_str().and_then(|file| file.strip_suffix(".json"));
            records.extend(guest.and_then(|guest| self.get(guest)));
        }
        records.sort_by(|one, other| one.config.name.cmp(&other.config.name));
        Ok(records)
    }

    /// Where a guest's monitor listens.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.path(name, "sock")
    }

    /// Where a guest's monitor writes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path(name, "log")
    }

    /// The domain with a name.
    ///
    /// # Errors
    ///
    /// No domain has it.
    pub fn domain_called(&self, name: &str) -> Result<DomId> {
        if name == CONTROL_DOMAIN {
            return Ok(DomId::CONTROL);
        }
        let record = self.get(name);
        let record = record.with_context(|| {
            format!("no guest is called {name}; take a name or a number that `lith list` shows")
        })?;
        Ok(record.domain)
    }

    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{name}.{ending}"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A folder that goes when the test ends.
    pub struct Folder(pub PathBuf);

    impl Folder {
        pub fn new(name: &str) -> Folder {
            let folder = std::env::temp_dir().join(format!("lith-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            Folder(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn record(name: &str, domain: DomId) -> Record {
        let text = format!("name = \"{name}\"\nkernel = \"/k\"\nmemory = \"64M\"\n");
        let config = GuestConfig::parse(Path::new("/x.toml"), &text).unwrap();
        Record { domain, uuid: Uuid::from_bytes([1; 16]), ports: [2, 1], monitor: 1, restarts: 0, config }
    }

    #[test]
    fn records_are_kept_listed_and_removed() {
        let folder = Folder::new("registry");
        let registry = Registry::open(&folder.0).unwrap();
        registry.write(&record("web", DomId(4))).unwrap();
        registry.write(&record("db", DomId(5))).unwrap();
        registry.write(&record("web", DomId(6))).unwrap();
        let names: Vec<(String, DomId)> =
            registry.list().unwrap().into_iter().map(|record| (record.config.name, record.domain)).collect();
        assert_eq!(names, [("db".into(), DomId(5)), ("web".into(), DomId(6))]);
        assert_eq!(registry.domain_called("web").unwrap(), DomId(6));
        assert_eq!(registry.domain_called("control").unwrap(), DomId::CONTROL);
        assert!(registry.domain_called("mail").unwrap_err().to_string().contains("`lith list`"));
        assert!(registry.read_store("web").is_empty());
        registry.write_store("web", b"state").unwrap();
        assert_eq!(registry.read_store("web"), b"state");
        registry.remove("web");
        assert_eq!((registry.get("web"), registry.read_store("web")), (None, vec![]));
    }

    #[test]
    fn a_name_is_taken_while_its_lock_lives() {
        let folder = Folder::new("lock");
        let registry = Registry::open(&folder.0).unwrap();
        let lock = registry.lock("web").unwrap();
        registry.write(&record("web", DomId(4))).unwrap();
        let error = registry.lock("web").unwrap_err().to_string();
        assert_eq!(error, "there is a guest web already: see `lith list`");
        assert!(!registry.is_free("web") && registry.is_free("db"));
        drop(lock);
        assert!(registry.is_free("web"));
        assert!(registry.lock("web").is_ok() && registry.lock("db").is_ok());
    }

    #[test]
    fn the_name_of_a_guest_that_has_just_ended_is_waited_for() {
        let folder = Folder::new("ended");
        let registry = Registry::open(&folder.0).unwrap();
        let lock = registry.lock("web").unwrap();
        let ends = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(lock);
        });
        assert!(registry.lock("web").is_ok());
        ends.join().unwrap();
    }

    #[test]
    fn a_uuid_is_written_as_people_do() {
        let handle: [u8; 16] = std::array::from_fn(|index| u8::try_from(index).unwrap() * 0x11);
        let record = Record { uuid: Uuid::from_bytes(handle), ..record("web", DomId(4)) };
        assert_eq!(record.uuid.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(serde_json::to_value(record).unwrap()["uuid"], "00112233-4455-6677-8899-aabbccddeeff");
    }
}
