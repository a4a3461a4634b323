use alloc::string::{String, ToString};

use proptest::prelude::*;

use super::*;

fn parse(line: &str) -> Options {
    let (options, complaints) = Options::parse(line);
    assert_eq!(complaints, [], "{line}");
    options
}

fn complaint(line: &str) -> String {
    let (_, complaints) = Options::parse(line);
    assert_eq!(complaints.len(), 1, "{line}");
    complaints[0].to_string()
}

#[test]
fn sve_of_the_first_domain() {
    use VectorLength::{Granules, Longest};
    let vectors = |line: &str| parse(line).dom0_vectors;
    assert_eq!(vectors(""), None);
    for line in ["dom0=sve", "dom0=sve=-1", "dom0=sve=yes"] {
        assert_eq!(vectors(line), Some(Longest), "{line}");
    }
    assert_eq!((vectors("dom0=sve=256"), vectors("dom0=sve=2048")), (Some(Granules(2)), Some(Granules(16))));
    assert_eq!((vectors("dom0=sve dom0=no-sve"), vectors("dom0=sve,sve=0")), (None, None));
    for bad in ["dom0=sve=100", "dom0=sve=4096", "dom0=sve=", "dom0=pvh", "dom0=sve=-x", "dom0"] {
        assert!(complaint(bad).contains("multiple of 128"), "{bad}");
    }
}

#[test]
fn an_empty_line_gives_the_defaults() {
    assert_eq!(parse(""), Options::default());
    assert_eq!(parse(" \t  "), Options::default());
}

#[test]
fn each_option_does_what_it_says() {
    let options = parse(
        "console=none dtuart=/pl011@9000000 dom0_mem=512M,max:1G dom0_max_vcpus=4 loglvl=debug sched=pinned \
         bootscrub=no guest_console panic=halt on_crash=halt test=faults,stress xen_version=4.20",
    );
    assert_eq!(
        options,
        Options {
            console_switch: Some(1),
            console: false,
            uart_path: Some("/pl011@9000000".into()),
            dom0_memory: Some(512 << 20),
            dom0_memory_limit: Some(1 << 30),
            dom0_vcpus: Some(4),
            dom0_vectors: None,
            guest_console: true,
            log_level: LevelFilter::Debug,
            scheduler: Scheduler::Pinned,
            scrub: false,
            after_panic: CrashAction::Halt,
            after_crash: CrashAction::Halt,
            tests: vec!["faults".into(), "stress".into()],
            xen_version: XenVersion::V4_20,
        }
    );
}

#[test]
fn a_hyphen_in_a_name_is_as_good_as_an_underscore() {
    assert_eq!(parse("xen-version=4.20").xen_version, XenVersion::V4_20);
    assert_eq!(parse("dom0-max-vcpus=3").dom0_vcpus, Some(3));
    assert!(!parse("no-guest-console").guest_console);
}

#[test]
fn the_switch_key_is_a_letter_or_none() {
    assert_eq!(parse("").console_switch, Some(1));
    assert_eq!(parse("conswitch=o").console_switch, Some(0xf));
    assert_eq!(parse("conswitch=bx").console_switch, Some(2));
    assert_eq!(parse("conswitch=none").console_switch, None);
}

#[test]
fn booleans_are_written_as_for_xen() {
    for yes in
        ["bootscrub", "bootscrub=yes", "bootscrub=on", "bootscrub=true", "bootscrub=enable", "bootscrub=1"]
    {
        assert!(parse(yes).scrub, "{yes}");
    }
    for no in [
        "no-bootscrub",
        "bootscrub=no",
        "bootscrub=off",
        "bootscrub=false",
        "bootscrub=disable",
        "bootscrub=0",
    ] {
        assert!(!parse(no).scrub, "{no}");
    }
    assert_eq!(parse("noreboot").after_panic, CrashAction::Halt);
    assert_eq!(parse("noreboot").after_crash, CrashAction::Halt);
    assert_eq!(parse("noreboot no-noreboot").after_crash, CrashAction::Reboot);
    assert_eq!(parse("no-reboot_on_panic").after_panic, CrashAction::Halt);
}

#[test]
fn sizes_have_units_and_count_kib_without() {
    let memory = |line: &str| parse(line).dom0_memory;
    assert_eq!(memory("dom0_mem=4096"), Some(4 << 20));
    assert_eq!(memory("dom0_mem=4096b"), Some(4096));
    assert_eq!(memory("dom0_mem=1g"), Some(1 << 30));
    assert_eq!(memory("dom0_mem=0x10M"), Some(16 << 20));
    assert_eq!(memory("dom0_mem=0x1b"), Some(27 << 10));
    assert_eq!(memory("dom0_mem=max:2G"), None);
    assert_eq!(memory("dom0_mem=max:2G,min:1G,1G"), Some(1 << 30));
    for bad in
        ["dom0_mem=M", "dom0_mem=-1M", "dom0_mem=+1M", "dom0_mem=512MB", "dom0_mem=99999999T", "dom0_mem="]
    {
        assert!(complaint(bad).contains("dom0_mem takes SIZE"), "{bad}");
        assert_eq!(Options::parse(bad).0, Options::default(), "{bad}");
    }
}

#[test]
fn names_of_xen_are_taken_and_told() {
    let (options, complaints) = Options::parse("sched=null loglvl=all");
    assert_eq!(options.scheduler, Scheduler::Pinned);
    assert_eq!(options.log_level, LevelFilter::Trace);
    assert_eq!(complaints.len(), 1);
    assert_eq!(complaints[0].to_string(), "option `sched=null` is taken as sched=pinned");
    assert_eq!(parse("loglvl=warning/error").log_level, LevelFilter::Warn);
}

#[test]
fn a_complaint_names_the_option_and_what_it_takes() {
    assert_eq!(complaint("dom0_men=1G"), "option `dom0_men` is unknown and ignored");
    assert_eq!(
        complaint("no-console=none"),
        "option `no-console=none` is ignored: `no-` and a value exclude each other"
    );
    assert_eq!(complaint("sched=lottery"), "option `sched=lottery` is ignored: sched takes fair or pinned");
    assert_eq!(complaint("dom0_max_vcpus"), "option `dom0_max_vcpus` is ignored: it needs a value, a number");
    assert!(!complaint("\u{1b}[2J").contains('\u{1b}'));
}

#[test]
fn what_no_domain_can_have_is_refused() {
    let check = |line| parse(line).validate(8);
    assert_eq!(check("dom0_max_vcpus=8 dom0_mem=512M,max:512M"), Ok(()));
    assert_eq!(check("dom0_max_vcpus=0"), Err(InvalidOptions::NoVcpus));
    assert!(InvalidOptions::NoVcpus.to_string().contains("zero vCPUs"));
    assert_eq!(check("dom0_max_vcpus=9"), Err(InvalidOptions::TooManyVcpus { vcpus: 9, max_vcpus: 8 }));
    assert_eq!(check("dom0_mem=0"), Err(InvalidOptions::NoMemory));
    let above = InvalidOptions::MemoryAboveLimit { size: 1 << 30, limit: 1 << 20 };
    assert_eq!(check("dom0_mem=1G,max:1M"), Err(above));
}

#[test]
fn the_user_documentation_has_each_option() {
    let text = include_str!("../../../../docs/command-line.md");
    for known in &OPTIONS {
        assert!(text.contains(&format!("`{}", known.name)), "{} is not documented", known.name);
    }
}

#[test]
fn what_follows_two_dashes_is_not_ours() {
    assert_eq!(parse("-- console=hvc0 root=/dev/vda"), Options::default());
}

proptest! {
    #[test]
    fn any_line_gives_options_and_few_complaints(line in any::<String>()) {
        let (_, complaints) = Options::parse(&line);
        prop_assert!(complaints.len() <= MAX_COMPLAINTS);
        for complaint in complaints {
            prop_assert!(complaint.to_string().chars().count() < 300);
        }
    }

    #[test]
    fn wrong_options_do_not_hide_right_ones(
        before in prop::collection::vec("[a-z_=0-9,:]{1,12}", 0..40),
        vcpus in 1u32..100,
    ) {
        let line = format!("{} dom0_max_vcpus={vcpus}", before.join(" "));
        prop_assert_eq!(Options::parse(&line).0.dom0_vcpus, Some(vcpus));
    }

    #[test]
    fn any_value_of_any_option_is_taken_or_complained_about(index in 0..OPTIONS.len(), value in "[ -~]{0,12}") {
        let name = OPTIONS[index].name;
        let (options, complaints) = Options::parse(&format!("{name}={value}"));
        prop_assert!(options != Options::default() || !complaints.is_empty() || is_default(name, &value));
    }
}

fn is_default(name: &str, value: &str) -> bool {
    // A value of few letters may well be the default's own name, or blank.
    let (options, complaints) = Options::parse(&format!("{name}={}", value.split(' ').next().unwrap_or("")));
    complaints.is_empty() && options == Options::default()
}
