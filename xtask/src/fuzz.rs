//! Fuzz targets, run for a bounded time with the stable compiler.
//!
//! The package `fuzz` has the layout of `cargo fuzz`, so that `cargo fuzz run TARGET` works on it too. Here the coverage
//! instrumentation is asked of LLVM directly, and no sanitizer is used: neither needs a nightly compiler. Overflow checks
//! and debug assertions are on. What is built, found and said stands under `target/fuzz`; libFuzzer's words are shown when it
//! fails.

mod corpus;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use testbed::paths;
use testbed::process::{line_of, open_step, pass_through};
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

/// What is fuzzed.
#[derive(Args)]
pub struct Options {
    /// Only these targets [default: all, one after the other]
    targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    time: u32,
    /// Keep what was found: make the corpora in fuzz/corpus anew of it, as small as reach the same code
    #[arg(long)]
    keep: bool,
}

/// Runs targets until their time is over or an input fails.
pub fn fuzz(options: &Options) -> Result<()> {
    let all = targets()?;
    for name in &options.targets {
        ensure!(all.contains(name), "there is no fuzz target {name}: they are {}", all.join(", "));
    }
    let chosen = if options.targets.is_empty() { all } else { options.targets.clone() };
    let programs = open_step("Build the fuzz targets", || build(&chosen))?;
    let mut failed = Vec::new();
    for target in &chosen {
        if let Err(error) = open_step(&format!("Fuzz {target} for {} s", options.time), || {
            run(&programs, target, options.time)
        }) {
            eprintln!("error: {error:#}");
            failed.push(target.as_str());
        } else if options.keep {
            let (count, bytes) =
                corpus::keep(&folder(), &programs.join(target), target, &found(&folder(), target))?;
            println!("  {target}: {count} inputs of {bytes} bytes are kept");
        }
    }
    ensure!(failed.is_empty(), "inputs were found that fail: {}", failed.join(", "));
    Ok(())
}

/// The names of the fuzz targets: one file each.
pub fn targets() -> Result<Vec<String>> {
    let files = paths::workspace().join("fuzz/fuzz_targets");
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
        .args(["--release", "--target", &triple, "--manifest-path"])
        .arg(paths::workspace().join("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(folder())
        .args(targets.iter().flat_map(|target| ["--bin", target]))
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    pass_through(&mut command)?;
    Ok(folder().join(triple).join("release"))
}

/// Runs a target, built into that folder, for a number of seconds.
///
/// # Errors
/// An input was found that makes it panic or hang; the end of libFuzzer's log is shown, which says under which name that
/// input is kept.
pub fn run(programs: &Path, target: &str, seconds: u32) -> Result<()> {
    run_in(&folder(), programs, target, seconds)
}

fn run_in(folder: &Path, programs: &Path, target: &str, seconds: u32) -> Result<()> {
    let corpus = found(folder, target);
    let artifacts = folder.join("artifacts").join(target);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let log = artifacts.join("log");
    let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(programs.join(target));
    command
        .current_dir(&artifacts)
        .args([format!("-max_total_time={seconds}"), format!("-artifact_prefix={}/", artifacts.display())])
        .args(LIMITS)
        .arg(&corpus)
        .args(corpus::seeds(folder, target)?)
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

/// Where the inputs of a target are that led to new code on this machine.
fn found(folder: &Path, target: &str) -> PathBuf {
    folder.join("corpus").join(target)
}

/// Where it all stands.
fn folder() -> PathBuf {
    paths::target().join("fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use testbed::process::capture;

    /// A target that talks as libFuzzer does, and then ends so.
    fn fuzzer(folder: &Path, name: &str, status: i32) {
        let file = folder.join(name);
        let script =
            format!("#!/bin/sh\nseq -f '#%g NEW cov: 7' 500 >&2\necho SUMMARY: it ends\nexit {status}\n");
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn the_end_of_the_log_of_a_target_that_fails_is_shown() {
        let folder = std::env::temp_dir().join(format!("xtask-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fuzzer(&folder, "sound", 0);
        fuzzer(&folder, "broken", 77);
        run_in(&folder, &folder, "sound", 1).unwrap();
        let error = run_in(&folder, &folder, "broken", 1).unwrap_err().to_string();
        for part in ["broken", "exit status: 77", "#450 NEW", "SUMMARY: it ends", "artifacts/broken/log"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("#100 NEW"), "{error}");
        // What a target says goes to its log, whether it fails or not.
        for target in ["sound", "broken"] {
            let log = fs::read_to_string(folder.join("artifacts").join(target).join("log")).unwrap();
            assert_eq!(log.lines().count(), 501);
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn whatever_builds_the_targets_leaves_them_under_target() {
        assert_eq!(
            targets().unwrap().len(),
            fs::read_dir(paths::workspace().join("fuzz/fuzz_targets")).unwrap().count()
        );
        let mut command = cargo("metadata");
        command.current_dir(paths::workspace().join("fuzz"));
        command.args(["--no-deps", "--format-version", "1"]).env_remove("CARGO_TARGET_DIR");
        let metadata: serde_json::Value = serde_json::from_str(&capture(&mut command).unwrap()).unwrap();
        let folder = Path::new(metadata["target_directory"].as_str().unwrap());
        assert!(folder.starts_with(paths::target()), "{}", folder.display());
    }
}
