//! Which plays a real Xen has answered as their transcripts say, beside the transcripts.
//!
//! A Xen is slow to play on and is not what is tested, so it is asked when a transcript changes: who plays on it
//! successfully writes the record, and every run compares the transcripts with that.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use system_tests::transcript::Step;
use testbed::tools::Version;

/// What stands at the head of the file.
const HEAD: &str =
    "# play, version of Xen, and the SHA-256 of the steps that it has answered; written by such a play\n";

/// One play at a time writes.
static WRITING: Mutex<()> = Mutex::new(());

/// The record: the digests of the steps, by play and version.
pub struct Record(BTreeMap<String, String>);

impl Record {
    /// Whether a Xen has answered just these steps.
    pub fn holds(&self, play: &str, version: Version, steps: &[Step]) -> bool {
        self.0.get(&key(play, version)).is_some_and(|its| *its == digest(steps))
    }
}

/// Reads the record.
pub fn read() -> Result<Record> {
    let file = file();
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let entries = lines.filter_map(|line| line.rsplit_once(' ').map(|(key, sum)| (key.into(), sum.into())));
    Ok(Record(entries.collect()))
}

/// Writes down that a Xen has answered these steps.
pub fn write(play: &str, version: Version, steps: &[Step]) -> Result<()> {
    let _writing = WRITING.lock();
    let mut record = read()?;
    record.0.insert(key(play, version), digest(steps));
    let lines: String = record.0.iter().map(|(key, sum)| format!("{key} {sum}\n")).collect();
    Ok(fs::write(file(), format!("{HEAD}{lines}"))?)
}

fn key(play: &str, version: Version) -> String {
    format!("{play} {version}")
}

fn digest(steps: &[Step]) -> String {
    let mut digest = Sha256::new();
    for step in steps {
        digest.update(step.to_string());
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tools/answered-by-xen")
}
