//! Manual pages and completions, made from the command lines themselves.

use std::io::Write;

use anyhow::Result;
use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use flate2::Compression;
use flate2::write::GzEncoder;
use testbed::programs::Extra;

/// A section of the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What users type.
    Commands,
    /// What the administrator runs.
    Administration,
}

impl Section {
    fn number(self) -> &'static str {
        match self {
            Section::Commands => "1",
            Section::Administration => "8",
        }
    }
}

/// A page for a command and one for each of its subcommands, compressed as they are installed.
pub fn manual(mut command: Command, section: Section) -> Result<Vec<Extra>> {
    command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&command, section, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, section: Section, pages: &mut Vec<Extra>) -> Result<()> {
    let number = section.number();
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = Man::new(command.clone()).section(number).title(name.to_uppercase());
    let mut text = Vec::new();
    man.render(&mut text)?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&text)?;
    pages.push(Extra {
        path: format!("usr/share/man/man{number}/{name}.{number}.gz"),
        permissions: 0o644,
        data: packed.finish()?,
    });
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.into_iter().try_for_each(|command| add(command, section, pages))
}

/// Completion scripts, where each shell looks for them.
pub fn completions(command: &mut Command) -> Vec<Extra> {
    let name = command.get_name().to_owned();
    let places = [
        (Shell::Bash, format!("usr/share/bash-completion/completions/{name}")),
        (Shell::Zsh, format!("usr/share/zsh/vendor-completions/_{name}")),
        (Shell::Fish, format!("usr/share/fish/vendor_completions.d/{name}.fish")),
    ];
    let script = |(shell, path): (Shell, String)| {
        let mut data = Vec::new();
        generate(shell, command, &name, &mut data);
        Extra { path, permissions: 0o644, data }
    };
    places.into_iter().map(script).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn each_command_that_is_shown_has_a_page() {
        let pages = manual(lith::cli::Cli::command(), Section::Commands).unwrap();
        let page = |name: &str| {
            let path = format!("usr/share/man/man1/{name}.1.gz");
            let page = pages.iter().find(|page| page.path == path)?;
            let mut text = String::new();
            GzDecoder::new(page.data.as_slice()).read_to_string(&mut text).unwrap();
            Some(text)
        };
        let create = page("lith-create").unwrap();
        assert!(create.contains(".TH LITH-CREATE 1") && create.contains("Leave it paused"), "{create}");
        assert!(page("lith").unwrap().contains("lith\\-create(1)"));
        assert!(page("lith-disk-list").is_some());
        assert!(page("lith-monitor").is_none(), "a page of what nobody types");
    }

    #[test]
    fn completions_stand_where_shells_look_for_them() {
        let scripts = completions(&mut lithd::cli::Arguments::command());
        let bash = &scripts[0];
        assert_eq!(bash.path, "usr/share/bash-completion/completions/lithd");
        assert!(String::from_utf8_lossy(&bash.data).contains("xenstore"));
        assert_eq!(scripts.len(), 3);
    }
}
