//! Fuzz targets, run for a bounded time with the stable compiler.
//!
//! The package `fuzz` has the layout of `cargo fuzz`, so that `cargo fuzz run TARGET` works on it too. Here the coverage
//! instrumentation is asked of LLVM directly, and no sanitizer is used: neither needs a nightly compiler. Overflow checks
//! and debug assertions are on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use testbed::paths;
use testbed::process::{line_of, pass_through};
use testbed::toolchain::{Compiler, cargo};

/// The instrumentation that libFuzzer is guided by: what `cargo fuzz` passes.
const FLAGS: [&str; 9] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// The longest input in bytes, and the longest that one input may take in seconds.
const LIMITS: [&str; 2] = ["-max_len=16384", "-timeout=5"];

/// Lines of a failed target's log that are shown.
const TAIL: usize = 80;

/// The names of the fuzz targets: one file each.
pub fn targets() -> Result<Vec<String>> {
    let files = folder().join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&files).with_context(|| format!("cannot read {}", files.display()))? {
        let path = entry?.path();
        if let (Some("rs"), Some(stem)) = (path.extension().and_then(|e| e.to_str()), path.file_stem()) {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds targets; returns the folder of the programs.
pub fn build(targets: &[String]) -> Result<PathBuf> {
    let triple = Compiler::ask()?.host().to_owned();
    let mut command = cargo("build");
    // A named target keeps the flags away from build scripts, which run without libFuzzer.
    command
        .current_dir(folder())
        .args(["--release", "--target", &triple])
        .args(targets.iter().flat_map(|target| ["--bin", target]))
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    pass_through(&mut command)?;
    Ok(folder().join("target").join(triple).join("release"))
}

/// Runs a target, built into that folder, for a number of seconds.
///
/// # Errors
/// An input was found that makes it panic or hang; the end of libFuzzer's log is shown, which says under which name that
/// input is kept.
pub fn run(programs: &Path, target: &str, seconds: u32) -> Result<()> {
    let corpus = folder().join("corpus").join(target);
    let artifacts = folder().join("artifacts").join(target);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let log = artifacts.join("log");
    let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(programs.join(target));
    command
        .current_dir(folder())
        .args([format!("-max_total_time={seconds}"), format!("-artifact_prefix={}/", artifacts.display())])
        .args(LIMITS)
        .arg(&corpus)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    let status = command.status().with_context(|| line_of(&command))?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read(&log)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n  ");
    bail!("{} ended with {status}\n  {tail}\n  (all of it: {})", line_of(&command), log.display())
}

fn folder() -> PathBuf {
    paths::workspace().join("fuzz")
}
