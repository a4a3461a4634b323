//! The readers of both file forms, and what is added to them.

use super::*;

const DEB822: &str = "\
Types: deb deb-src
# a comment inside a stanza
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://mirror.example/sources-only
Suites: bookworm

Types: deb
Enabled: no
URIs: http://mirror.example/disabled
Suites: bookworm

Types: deb
URIs: http://vendor.example/apt
Suites: stable
Signed-By: /usr/share/keyrings/vendor.gpg
";

fn suites(source: &Source) -> Vec<&str> {
    source.suites.iter().map(String::as_str).collect()
}

#[test]
fn debians_own_stanzas_are_taken_and_widened() {
    let widened = widen(&parse_sources(DEB822));
    assert_eq!(widened.len(), 2, "{widened:?}");
    assert_eq!(
        suites(&widened[0]),
        ["bookworm", "bookworm-backports", "bookworm-updates", "trixie-backports"]
    );
    assert_eq!(suites(&widened[1]), ["bookworm-security"]);
}

#[test]
fn one_release_takes_the_place_of_the_hosts() {
    let twice = format!("{DEB822}\n{DEB822}");
    let narrowed = narrow(&parse_sources(&twice), Release::Trixie);
    assert_eq!(narrowed.len(), 2, "{narrowed:?}");
    assert_eq!(suites(&narrowed[0]), ["trixie", "trixie-updates"]);
    assert_eq!(suites(&narrowed[1]), ["trixie-security"]);
}

#[test]
fn what_is_rendered_reads_back_the_same() {
    let widened = widen(&parse_sources(DEB822));
    assert_eq!(parse_sources(&render(&widened)), widened);
}

#[test]
fn an_embedded_key_survives() {
    let text = "Types: deb\nURIs: http://m.example/debian\nSuites: trixie\nSigned-By:\n -----BEGIN KEY-----\n .\n abc\n";
    let widened = widen(&parse_sources(text));
    assert!(render(&widened).contains("\n -----BEGIN KEY-----\n .\n abc\n"), "{}", render(&widened));
}

#[test]
fn one_line_entries_are_read() {
    let text = "\
# deb http://m.example/debian bookworm main
deb http://m.example/debian trixie main contrib # trailing
deb-src http://m.example/debian trixie main
deb [arch=amd64 signed-by=/k/vendor.gpg] http://vendor.example/apt stable main
deb [ signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] http://m.example/debian-security trixie-security main
deb http://ubuntu.example/ubuntu noble main
";
    let parsed = parse_list(text);
    assert_eq!(parsed.len(), 4, "{parsed:?}");
    let widened = widen(&parsed);
    assert_eq!(widened.len(), 2, "{widened:?}");
    assert!(widened[0].suites.contains("trixie-backports") && widened[0].suites.contains("trixie"));
    assert_eq!(suites(&widened[1]), ["bookworm-security", "trixie-security"]);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "(deb|Types|URIs|Suites|[ \\[\\]:#a-z=,\n]){0,40}") {
        let _ = widen(&parse_sources(&text));
        let _ = widen(&parse_list(&text));
    }
}
