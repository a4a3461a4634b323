//! `cargo xtask`: the project's commands. Each does the set-up that it needs.

mod bench;
mod build;
mod claims;
mod dist;
mod fuzz;
mod indices;
mod layers;
mod lint;
mod pictures;
mod proofs;
mod run;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set-up, build, run and test of Xenolith")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the image: target/xenolith.img, with symbols in target/xenolith.elf
    Build,
    /// Start the hypervisor in QEMU, with a guest whose disk a driver domain serves; its console is this terminal
    Run(Box<run::Options>),
    /// Run every test: on the host, the fuzz targets for a short time, and in whole machines
    Test(test::Options),
    /// Run the fuzz targets, each from the corpus that is kept of it
    Fuzz(fuzz::Options),
    /// Lint the layers, and the code for the host and for bare metal, with warnings denied
    Lint(lint::Options),
    /// Measure the present build, print the tables, keep and draw them
    Bench(bench::Options),
    /// Make what a board needs, in target/dist: image, programs for arm64, and Debian packages of them
    Dist(dist::Options),
    /// Draw the pictures of the pages anew: docs/pictures, from the texts there and the tables of docs/benchmark.md
    Pictures,
    /// Read kernel and ramdisk from a disk image; `run` starts it
    #[command(hide = true)]
    ReadBootDisk,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Task::Build => build::build().map(|_| ()),
        Task::Run(options) => run::run(&options),
        Task::Test(options) => test::test(&options),
        Task::Fuzz(options) => fuzz::fuzz(&options),
        Task::Lint(options) => lint::lint(&options),
        Task::Bench(options) => bench::bench(&options),
        Task::Dist(options) => dist::dist(&options),
        Task::Pictures => pictures::draw(),
        Task::ReadBootDisk => bootdisk::process::serve(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
