//! `lith completion`.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::output;

/// Prints a shell's completion script.
pub fn print(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "lith", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
