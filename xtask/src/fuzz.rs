//! Fuzz targets, run for a bounded time with the stable compiler.
//!
//! The package `fuzz` has the layout of `cargo fuzz`, so that `cargo fuzz run TARGET` works on it too. Here the coverage
//! instrumentation is asked of LLVM directly, and no sanitizer is used: neither needs a nightly compiler. Overflow checks
//! and debug assertions are on.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use testbed::paths;
use testbed::process::{open_step, pass_through};
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

/// Runs a target for a number of seconds.
///
/// # Errors
/// An input was found that makes it panic or hang; libFuzzer says under which name it keeps that input.
pub fn run(target: &str, seconds: u32) -> Result<()> {
    let corpus = folder().join("corpus").join(target);
    let artifacts = folder().join("artifacts").join(target);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let mut command = cargo("run");
    // A named target keeps the flags away from build scripts, which run without libFuzzer.
    command
        .current_dir(folder())
        .args(["--release", "--target", &host_triple()?, "--bin", target, "--"])
        .args([format!("-max_total_time={seconds}"), format!("-artifact_prefix={}/", artifacts.display())])
        .args(LIMITS)
        .arg(&corpus)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    open_step(&format!("Fuzz {target} for {seconds} s"), || pass_through(&mut command))
}

fn folder() -> PathBuf {
    paths::workspace().join("fuzz")
}

fn host_triple() -> Result<String> {
    Ok(Compiler::ask()?.host().to_owned())
}
