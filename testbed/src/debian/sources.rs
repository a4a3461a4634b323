//! The host's package sources, read and widened by the suites that the project needs.
//!
//! The mirror and the keys stay the host's: this file knows suites, not places.

use std::collections::BTreeSet;

/// Suites of the main archive, beside the host's own: Debian 12 has kernel 6.1, its backports have 6.12, and
/// Debian 13's backports have the sources of recent Rust versions.
const ARCHIVE_SUITES: [&str; 3] = ["bookworm", "bookworm-backports", "trixie-backports"];
/// Suites of the security archive: a superseded kernel leaves the main archive for good.
const SECURITY_SUITES: [&str; 1] = ["bookworm-security"];
/// Part of the name of the key ring that signs Debian's archive.
const KEYRING: &str = "debian-archive";
/// Debian's releases: what an entry without a named key ring must be about to be taken for Debian's.
const RELEASES: [&str; 8] =
    ["bullseye", "bookworm", "trixie", "forky", "duke", "oldstable", "stable", "testing"];

/// A release of Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Release {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl Release {
    /// Its name in the archive.
    pub fn name(self) -> &'static str {
        match self {
            Release::Bookworm => "bookworm",
            Release::Trixie => "trixie",
        }
    }
}

/// One package source: places, suites, and the rest of its fields as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    uris: Vec<String>,
    suites: BTreeSet<String>,
    signed_by: Option<String>,
}

/// Reads the stanzas of a `.sources` file (deb822 form, sources.list(5)) that offer binary packages.
pub fn parse_sources(text: &str) -> Vec<Source> {
    let without_comments: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    without_comments.split(|line| line.trim().is_empty()).filter_map(parse_stanza).collect()
}

fn parse_stanza(lines: &[&str]) -> Option<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if let (true, Some((_, value))) = (line.starts_with([' ', '\t']), fields.last_mut()) {
            value.push('\n');
            value.push_str(line);
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let words = |name: &str| field(name).unwrap_or_default().split_whitespace().map(str::to_owned);
    if field("enabled") == Some("no") || !words("types").any(|word| word == "deb") {
        return None;
    }
    Some(Source {
        uris: words("uris").collect(),
        suites: words("suites").collect(),
        signed_by: field("signed-by").map(str::to_owned),
    })
}

/// Reads the entries of a `.list` file (one-line form) that offer binary packages.
pub fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let rest = line.split('#').next()?.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(Source {
        uris: vec![uri.to_owned()],
        suites: BTreeSet::from([suite.to_owned()]),
        signed_by: signed_by.map(|files| files.replace(',', " ")),
    })
}

/// Debian's own among `sources`, each with the suites added that the project needs.
pub fn widen(sources: &[Source]) -> Vec<Source> {
    sources.iter().filter(|source| source.is_debian()).map(Source::widened).collect()
}

/// Debian's own among `sources`, with the suites of one release in the place of theirs: packages from there fit
/// together.
pub fn narrow(sources: &[Source], release: Release) -> Vec<Source> {
    let mut narrowed: Vec<Source> = Vec::new();
    for source in sources.iter().filter(|source| source.is_debian()) {
        let source = source.of_release(release);
        if !narrowed.contains(&source) {
            narrowed.push(source);
        }
    }
    narrowed
}

/// The `.sources` file that says `sources`.
pub fn render(sources: &[Source]) -> String {
    sources.iter().map(Source::stanza).collect::<Vec<_>>().join("\n")
}

impl Source {
    fn is_debian(&self) -> bool {
        match &self.signed_by {
            Some(keys) if keys.contains(KEYRING) => true,
            Some(keys) if keys.trim_start().starts_with('/') => false,
            _ => self.suites.iter().any(|suite| RELEASES.contains(&release_of(suite))),
        }
    }

    fn is_security(&self) -> bool {
        self.suites.iter().any(|suite| suite.ends_with("-security") || suite.ends_with("/updates"))
    }

    fn widened(&self) -> Source {
        let added: &[&str] = if self.is_security() { &SECURITY_SUITES } else { &ARCHIVE_SUITES };
        let mut source = self.clone();
        source.suites.extend(added.iter().map(|suite| (*suite).to_owned()));
        source
    }

    fn of_release(&self, release: Release) -> Source {
        let name = release.name();
        let suites = if self.is_security() {
            vec![format!("{name}-security")]
        } else {
            vec![name.to_owned(), format!("{name}-updates")]
        };
        Source { suites: suites.into_iter().collect(), ..self.clone() }
    }

    fn stanza(&self) -> String {
        let suites: Vec<&str> = self.suites.iter().map(String::as_str).collect();
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\n",
            self.uris.join(" "),
            suites.join(" ")
        );
        if let Some(keys) = &self.signed_by {
            text.push_str(&format!("Signed-By: {keys}\n"));
        }
        text
    }
}

fn release_of(suite: &str) -> &str {
    suite.split(['-', '/']).next().unwrap_or(suite)
}

#[cfg(test)]
mod tests;
