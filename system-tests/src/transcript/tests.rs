//! Transcripts are read, and answers judged.

use super::*;

fn place(version: &str, xen: bool) -> Place {
    Place { version: version.to_owned(), xen }
}

fn judge(text: &str, output: &str, status: i32) -> Option<String> {
    let steps = parse(text, &place("4.17", false)).unwrap();
    assert_eq!(steps.len(), 1);
    steps[0].judge(&Answer { output: output.to_owned(), status })
}

#[test]
fn holes_take_what_fits_and_nothing_else() {
    let text = "$ xl list\nguest <n> 128 -b- <n>\n";
    assert_eq!(judge(text, "guest   7  128\t-b-  0.3\n\n", 0), None);
    assert!(judge(text, "guest 7 128 -b- \n", 0).is_some());
    assert!(judge(text, "guest x 128 -b- 0.3\n", 0).is_some());
    assert!(judge(text, "guest 7 128 -b- 0.3\nmore\n", 0).is_some());
    assert!(judge(text, "", 0).is_some());
    assert_eq!(judge("$ uuid\nid <uuid>(<any>)\n", "id 0a1b2c3d-0000-1111-2222-0123456789ab()\n", 0), None);
}

#[test]
fn a_failure_is_seen_unless_it_is_expected() {
    assert!(judge("$ false\n", "", 1).unwrap().contains("[status 1]"));
    assert_eq!(judge("$ false\n[status 1]\n", "", 1), None);
    assert!(judge("$ false\n[status 1]\n", "", 0).is_some());
}

#[test]
fn any_number_of_lines_may_be_left_open() {
    let text = "$ dmesg\nfirst\n<lines>\nlast\n";
    assert_eq!(judge(text, "first\nlast\n", 0), None);
    assert_eq!(judge(text, "first\n1\n2\nlast\n", 0), None);
    assert!(judge(text, "first\nlast\n1\n", 0).is_some());
}

#[test]
fn lines_hold_where_their_marks_say() {
    let text =
        "$ caps\n# Why.\nxen| a b\nours| a\n4.17 xen| old\n4.20| new\n4.17| $ more\n4.17| > and more\n";
    let at = |version, xen| {
        let steps = parse(text, &place(version, xen)).unwrap();
        steps
            .iter()
            .map(|step| {
                let lines: Vec<String> = step.expected.iter().map(Line::to_string).collect();
                (step.command.clone(), lines.join(","))
            })
            .collect::<Vec<_>>()
    };
    let step = |command: &str, lines: &str| (command.to_owned(), lines.to_owned());
    assert_eq!(at("4.20", false), [step("caps", "a,new")]);
    assert_eq!(at("4.20", true), [step("caps", "a b,new")]);
    assert_eq!(at("4.17", false), [step("caps", "a"), step("more\nand more", "")]);
}

#[test]
fn a_difference_without_a_reason_is_refused() {
    let error = |text: &str| parse(text, &place("4.17", true)).unwrap_err().to_string();
    assert!(error("$ caps\nxen| a\n").contains("line 2"));
    assert!(error("$ caps\n# Why.\nboth\nours| a\n").contains("line 4"));
    assert!(error("output\n$ caps\n").contains("no command"));
}

#[test]
fn what_came_is_written_as_a_transcript() {
    let steps = parse("$ for x in 1; do\n> echo $x; done\n1\n", &place("4.17", false)).unwrap();
    let answer = Answer { output: "1\n".into(), status: 3 };
    assert_eq!(steps[0].with(&answer), "$ for x in 1; do\n> echo $x; done\n1\n[status 3]\n");
}
