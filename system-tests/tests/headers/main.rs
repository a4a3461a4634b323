//! The types and numbers of `abi/` against Xen's own public headers, as Debian ships them for both versions.
//!
//! A C compiler for arm64 turns each question (a size, an offset, a value) into a word of an object file, and the words are
//! read from there: nothing is run. Every structure of `abi/` must be in `structures`, with every field that is no padding;
//! every call that a header names must be in `calls::families`.

mod compiler;
mod constants;
mod names;
mod pointers;
mod sources;
mod structures;

use compiler::{Headers, Version};

#[test]
fn structures_are_laid_out_as_in_the_headers() {
    for version in Version::ALL {
        let headers = Headers::fetch(version).expect("Debian's headers");
        let mut asked = structures::questions(version);
        asked.extend(pointers::questions(version));
        let expressions: Vec<&str> = asked.iter().map(|question| question.c.as_str()).collect();
        let found = headers.values("structures", &expressions).expect("the headers know all of it");
        let faults: Vec<String> = asked
            .iter()
            .zip(found)
            .filter(|(question, found)| question.ours != *found)
            .map(|(question, found)| format!("{}: {} here, {found} there", question.c, question.ours))
            .collect();
        assert!(faults.is_empty(), "Xen {version}:\n{}", faults.join("\n"));
    }
}

#[test]
fn numbers_are_those_of_the_headers() {
    for version in Version::ALL {
        let headers = Headers::fetch(version).expect("Debian's headers");
        let seen = headers.macros().expect("the headers can be read");
        let hidden = constants::hidden(&headers, version, &seen).expect("the headers can be read");
        assert!(hidden.is_empty(), "not in the text of Xen {version}:\n{}", hidden.join("\n"));
        let asked = constants::questions(version, &seen);
        let expressions: Vec<&str> = asked.iter().map(|(c, _)| c.as_str()).collect();
        let found = headers.values("constants", &expressions).expect("the headers know all of it");
        let faults: Vec<String> = asked
            .iter()
            .zip(found)
            .filter(|((_, ours), found)| ours != found)
            .map(|((c, ours), found)| format!("{c}: {ours} here, {found} there"))
            .collect();
        assert!(faults.is_empty(), "Xen {version}:\n{}", faults.join("\n"));
    }
}

#[test]
fn no_structure_and_no_field_is_left_out() {
    let faults = sources::left_out(&structures::names());
    assert!(faults.is_empty(), "without an entry in structures.rs:\n{}", faults.join("\n"));
}

#[test]
fn no_call_of_the_headers_is_left_out() {
    for version in Version::ALL {
        let headers = Headers::fetch(version).expect("Debian's headers");
        let macros = headers.macros().expect("the headers can be read");
        let faults = names::left_out(&macros, version);
        assert!(faults.is_empty(), "Xen {version} has more:\n{}", faults.join("\n"));
    }
}

#[test]
fn each_number_of_a_call_has_its_name() {
    let faults = names::without_name();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
