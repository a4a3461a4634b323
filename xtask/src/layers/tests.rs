//! Small made-up trees.

use std::path::PathBuf;

use super::report::Breach;
use super::tree::Dependency;
use super::*;

/// A package `house` whose files are given; `lib.rs` is added, and declares those of one name.
fn house(files: &[(&str, &str)]) -> (Vec<Package>, Sources) {
    let mut sources = Sources::new();
    let mut root = String::new();
    for (name, text) in files {
        if !name.contains('/') {
            root.push_str(&format!("pub mod {};\n", name.trim_end_matches(".rs")));
        }
        sources.insert(PathBuf::from("house/src").join(name), (*text).to_owned());
    }
    sources.entry("house/src/lib.rs".into()).or_insert(root);
    let package = Package {
        name: "house".into(),
        manifest: "house/Cargo.toml".into(),
        roots: vec!["house/src/lib.rs".into()],
        dependencies: Vec::new(),
    };
    (vec![package], sources)
}

/// A table with a layer for each of these, the lowest first.
fn layers(members: &[&str]) -> Table {
    let layer = |member: &&str| format!("[[layer]]\nname = \"{member}\"\nmembers = [\"{member}\"]\n");
    Table::parse(&members.iter().map(layer).collect::<String>()).unwrap()
}

fn checked(files: &[(&str, &str)], members: &[&str]) -> Report {
    let (packages, sources) = house(files);
    check(&packages, &sources, &layers(members)).unwrap()
}

/// Where the breaches are.
fn places(report: &Report) -> Vec<String> {
    report.breaches.iter().map(|Breach { file, line, .. }| format!("{}:{line}", file.display())).collect()
}

#[test]
fn an_import_that_points_upwards_is_found_with_its_line_and_rule() {
    let low = "//! Low.\nuse core::fmt;\n\nuse crate::high::{self, Roof};\n";
    let report =
        checked(&[("low.rs", low), ("high.rs", "pub struct Roof;\n")], &["house::low", "house::high"]);
    assert_eq!(places(&report), ["house/src/low.rs:4"]);
    let rule = &report.breaches[0].rule;
    assert!(rule.contains("crate::high"), "{rule}");
    assert!(rule.contains("layer `house::high` is above `house::low`"), "{rule}");
    assert!(report.to_string().starts_with("house/src/low.rs:4: crate::high"), "{report}");
}

#[test]
fn what_points_downwards_or_within_a_layer_is_allowed() {
    let high = "use crate::low::Floor;\nuse crate::high::Roof as Tiles;\npub struct Roof(Floor, Tiles);\n";
    let report =
        checked(&[("low.rs", "pub struct Floor;\n"), ("high.rs", high)], &["house::low", "house::high"]);
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.files, 3);
}

#[test]
fn paths_in_code_and_in_macros_count_as_imports_do() {
    let low = "fn a() {\n    crate::high::roof();\n}\nfn b() {\n    assert!(super::attic::dusty());\n}\n";
    let files = [
        ("low.rs", low),
        ("high.rs", "pub fn roof() {}\n"),
        ("attic.rs", "pub fn dusty() -> bool { true }\n"),
    ];
    let report = checked(&files, &["house::low", "house::high", "house::attic"]);
    assert_eq!(places(&report), ["house/src/low.rs:2", "house/src/low.rs:5"]);
}

#[test]
fn what_only_tests_name_does_not_count() {
    let low = "#[cfg(test)]\nmod tests {\n    use crate::high::Roof;\n}\n\
               #[cfg(all(test, feature = \"x\"))]\nfn f(_: crate::high::Roof) {}\n#[cfg(test)]\nmod more;\n";
    let files =
        [("low.rs", low), ("high.rs", "pub struct Roof;\n"), ("low/more.rs", "use crate::high::Roof;\n")];
    let report = checked(&files, &["house::low", "house::high"]);
    assert!(report.is_clean(), "{report}");
    let low = "#[cfg(not(test))]\nuse crate::high::Roof;\n";
    let report =
        checked(&[("low.rs", low), ("high.rs", "pub struct Roof;\n")], &["house::low", "house::high"]);
    assert_eq!(places(&report), ["house/src/low.rs:2"]);
}

#[test]
fn an_item_belongs_to_the_layer_where_it_is_defined() {
    // `mid` is allowed to everyone here, and passes on what is not.
    let files = [
        ("low.rs", "use crate::mid::Roof;\n"),
        ("mid.rs", "pub use crate::high::Roof;\n"),
        ("high.rs", "pub struct Roof;\n"),
    ];
    let table = "[[layer]]\nname = \"a\"\nmembers = [\"house::low\", \"house::mid\"]\n\
                 [[layer]]\nname = \"b\"\nmembers = [\"house::high\"]\n";
    let (packages, sources) = house(&files);
    let report = check(&packages, &sources, &Table::parse(table).unwrap()).unwrap();
    assert_eq!(places(&report), ["house/src/low.rs:1", "house/src/mid.rs:1"]);
}

#[test]
fn a_module_may_stand_above_its_parent_which_passes_it_on() {
    let files = [("a.rs", "mod build;\npub use build::Plan;\n"), ("a/build.rs", "pub struct Plan;\n")];
    let report = checked(&files, &["house::a", "house::a::build"]);
    assert!(report.is_clean(), "{report}");
    let files = [("a.rs", "mod build;\nuse build::Plan;\n"), files[1]];
    let report = checked(&files, &["house::a", "house::a::build"]);
    assert_eq!(places(&report), ["house/src/a.rs:2"]);
}

#[test]
fn a_circle_is_found_with_its_way_round() {
    let files = [
        ("a.rs", "use crate::b::B;\npub struct A(B);\n"),
        ("b.rs", "pub struct B;\nfn next() {\n    crate::c::turn();\n}\n"),
        ("c.rs", "use crate::a;\npub fn turn() -> a::A {\n    todo()\n}\n"),
        ("d.rs", "use crate::a::A;\n"),
    ];
    let report = checked(&files, &["house"]);
    assert!(report.breaches.is_empty(), "{report}");
    let [circle] = report.circles.as_slice() else { panic!("{report}") };
    assert_eq!(circle.files, ["a", "b", "c"].map(|name| PathBuf::from(format!("house/src/{name}.rs"))));
    let mut steps: Vec<String> = circle.shortest.iter().map(ToString::to_string).collect();
    steps.sort();
    assert_eq!(
        steps,
        [
            "house/src/a.rs:1: crate::b::B is in house/src/b.rs",
            "house/src/b.rs:3: crate::c::turn is in house/src/c.rs",
            "house/src/c.rs:2: a::A is in house/src/a.rs",
        ]
    );
}

#[test]
fn a_parent_that_passes_its_children_on_is_no_circle() {
    let files = [
        ("a.rs", "mod one;\nmod two;\npub use one::One;\npub use two::*;\n"),
        ("a/one.rs", "use super::two::Two;\npub struct One(Two);\n"),
        ("a/two.rs", "pub struct Two;\n"),
        ("b.rs", "use crate::a::{One, Two};\n"),
    ];
    let report = checked(&files, &["house"]);
    assert!(report.is_clean(), "{report}");
}

#[test]
fn names_are_followed_through_globs_and_configurations() {
    // `machine` is one of two modules; what `arch` passes on is used by `b`, which the fake needs.
    let files = [
        (
            "arch.rs",
            "#[cfg(unix)]\nmod fake;\n#[cfg(unix)]\npub use fake as machine;\n#[cfg(not(unix))]\nmod real;\n\
                     #[cfg(not(unix))]\npub use real as machine;\npub use machine::*;\n",
        ),
        ("arch/fake.rs", "pub fn now() -> crate::b::Time {}\n"),
        ("arch/real.rs", "pub fn now() -> u64 {}\n"),
        ("b.rs", "pub struct Time;\nfn f() {\n    crate::arch::now();\n}\n"),
    ];
    let report = checked(&files, &["house"]);
    let [circle] = report.circles.as_slice() else { panic!("{report}") };
    assert_eq!(circle.files, [PathBuf::from("house/src/arch/fake.rs"), PathBuf::from("house/src/b.rs")]);
}

#[test]
fn a_type_and_its_parts_are_a_circle_only_where_the_table_says_so() {
    let with = |parts: &str| {
        let files = [
            ("a.rs", "mod one;\nmod two;\nuse one::One;\npub struct A(One);\n"),
            ("a/one.rs", parts),
            ("a/two.rs", "use super::one::One;\npub struct Two(One);\n"),
        ];
        let (packages, sources) = house(&files);
        let table = |first: &str| {
            Table::parse(&format!("{first}\n[[layer]]\nname = \"a\"\nmembers = [\"house\"]\n")).unwrap()
        };
        ["", "circles_in_rooms = true"]
            .map(|first| check(&packages, &sources, &table(first)).unwrap().circles.len())
    };
    assert_eq!(with("pub struct One;\n"), [0, 0]);
    assert_eq!(with("pub struct One;\nimpl super::A {}\n"), [1, 0]);
    // Two parts that need each other are a circle in any case.
    assert_eq!(with("pub struct One;\nimpl super::A {\n    fn f(_: super::two::Two) {}\n}\n"), [1, 1]);
}

#[test]
fn dependencies_of_manifests_are_held_against_the_table() {
    let package = |name: &str, needs: &[&str]| Package {
        name: name.into(),
        manifest: format!("{name}/Cargo.toml").into(),
        roots: Vec::new(),
        dependencies: needs
            .iter()
            .map(|other| Dependency { package: (*other).into(), alias: (*other).into(), line: 7 })
            .collect(),
    };
    let packages = [package("low", &["high"]), package("high", &["low"]), package("stray", &[])];
    let report = check(&packages, &Sources::new(), &layers(&["low", "high"])).unwrap();
    assert_eq!(places(&report), ["low/Cargo.toml:7", "stray/Cargo.toml:1"]);
    assert!(report.breaches[0].rule.contains("depends on high"), "{report}");
}

#[test]
fn paths_into_other_packages_are_held_against_the_table() {
    let (mut packages, mut sources) = house(&[("low.rs", "use tower::top::Flag;\n"), ("high.rs", "")]);
    packages[0].dependencies =
        vec![Dependency { package: "the-tower".into(), alias: "tower".into(), line: 3 }];
    packages.push(Package {
        name: "the-tower".into(),
        manifest: "tower/Cargo.toml".into(),
        roots: vec!["tower/lib.rs".into()],
        dependencies: Vec::new(),
    });
    sources.insert("tower/lib.rs".into(), "pub mod top {\n    pub struct Flag;\n}\n".into());
    let table = layers(&["house::low", "the-tower", "house::high"]);
    let report = check(&packages, &sources, &table).unwrap();
    assert_eq!(places(&report), ["house/src/low.rs:1"]);
}

#[test]
fn what_the_table_has_no_place_for_is_an_error() {
    let report = checked(&[("low.rs", ""), ("new.rs", "")], &["house::low", "house::gone"]);
    let rules: Vec<&str> = report.breaches.iter().map(|breach| breach.rule.as_str()).collect();
    assert_eq!(
        rules,
        ["no layer has the module house::new", "the table has house::gone, which does not exist"]
    );
    assert!(Table::parse("[[layer]]\nname = \"a\"\nmembers = [\"x\", \"x\"]\n").is_err());
    assert!(Table::parse("[[layer]]\nname = \"a\"\nmembers = []\nhigher = 1\n").is_err());
}

#[test]
fn a_module_without_a_file_is_named() {
    let (packages, mut sources) = house(&[("low.rs", "mod inner;\n")]);
    let error = check(&packages, &sources, &layers(&["house"])).unwrap_err().to_string();
    assert!(error.contains("house/src/low.rs") && error.contains("inner"), "{error}");
    sources.insert("house/src/low/inner.rs".into(), "fn (\n".into());
    let error = check(&packages, &sources, &layers(&["house"])).unwrap_err().to_string();
    assert!(error.contains("house/src/low/inner.rs:1"), "{error}");
}

#[test]
fn a_neutral_file_names_no_architecture() {
    let files = [
        (
            "low.rs",
            "mod metal;\nuse metal as guest;\nfn f() {\n    let list_registers = PL011_SPI;\n}\nstruct VgicActions;\n\
             // A GIC, in a comment; and \"gic\" in a string.\nfn magic() -> &'static str { \"gic\" }\n\
             fn g() {\n    log!(\"{}\", spis);\n}\n#[cfg(test)]\nmod tests {\n    fn gic() {}\n}\n",
        ),
        ("low/metal.rs", "pub fn gic() {}\n"),
        ("high.rs", "use crate::low::metal;\npub fn gic() {}\n"),
    ];
    let rule = "[neutral_words]\nmembers = [\"house::low\", \"house::gone\"]\nexcept = [\"house::low::metal\"]\n\
                words = [\"gic\", \"vgic\", \"spi\", \"list_register\", \"metal\"]\n\
                [[layer]]\nname = \"a\"\nmembers = [\"house\"]\n";
    let (packages, sources) = house(&files);
    let report = check(&packages, &sources, &Table::parse(rule).unwrap()).unwrap();
    let mut places = places(&report);
    places.sort();
    let expected =
        ["low.rs:10", "low.rs:4", "low.rs:4", "low.rs:6"].map(|place| format!("house/src/{place}"));
    assert_eq!(places[..4], expected);
    assert_eq!(places[4..], ["hypervisor/layers.toml:1"]);
    assert!(report.to_string().contains("`VgicActions` is a word of an architecture (`vgic`)"), "{report}");
    // Elsewhere than where it is declared, the architecture's part may not be named.
    let everywhere = rule.replace("house::gone", "house::high");
    let report = check(&packages, &sources, &Table::parse(&everywhere).unwrap()).unwrap();
    let high = report.breaches.iter().filter(|breach| breach.file.ends_with("high.rs"));
    assert_eq!(high.map(|breach| breach.line).collect::<Vec<_>>(), [2, 1]);
}
