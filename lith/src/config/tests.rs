use super::*;
use proptest::prelude::*;
use virtio::config::{Format, Layer};
use xenolith_abi::DomId;

const SMALL: &str = "kernel = \"Image\"\nmemory = \"256M\"\n";

fn parse(text: &str) -> Result<GuestConfig, ConfigError> {
    GuestConfig::parse(Path::new("/etc/lith/web.toml"), text)
}

fn says(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn little_is_needed() {
    let expected = GuestConfig {
        name: "web".into(),
        boot: Boot::Files { kernel: "/etc/lith/Image".into(), ramdisk: None },
        cmdline: String::new(),
        memory: 256 << 20,
        vcpus: 1,
        sve: Sve::IfThere,
        kaslr: true,
        devices: Devices::default(),
        autostart: false,
        on_poweroff: Action::Destroy,
        on_reboot: Action::Restart,
        on_crash: Action::Destroy,
    };
    assert_eq!(parse(SMALL), Ok(expected));
}

#[test]
fn everything_can_be_said() {
    let text = r#"
        name = "db-1"
        kernel = "/boot/vmlinuz"
        ramdisk = "initrd.img"
        cmdline = "console=hvc0 root=/dev/vda"
        memory = "2G"
        vcpus = 4
        sve = 256
        kaslr = false
        on_poweroff = "preserve"
        on_reboot = "destroy"
        on_crash = "restart"
        autostart = true

        [[disk]]
        image = "/images/db.qcow2"
        format = "qcow2"
        backend = "driver"
        serial = "db-root"
        backing = [{ image = "/images/base.img" }]

        [[disk]]
        image = "/dev/vdb"
        read_only = true
        queues = 1
        backend = 3
    "#;
    let config = parse(text).unwrap();
    assert!(config.autostart && !config.kaslr);
    assert_eq!(config.sve, Sve::Bits(256));
    assert_eq!((config.name.as_str(), config.vcpus, config.memory), ("db-1", 4, 2 << 30));
    let (kernel, ramdisk) = ("/boot/vmlinuz".into(), Some("/etc/lith/initrd.img".into()));
    assert_eq!(config.boot, Boot::Files { kernel, ramdisk });
    assert_eq!(
        [config.on_poweroff, config.on_reboot, config.on_crash],
        [Action::Preserve, Action::Destroy, Action::Restart]
    );
    let [first, second] = config.devices.disks.try_into().unwrap();
    assert_eq!(
        (first.config.format, first.config.queues, first.config.read_only),
        (Some(Format::Qcow2), 4, false)
    );
    assert_eq!(first.backend, Backend::Name("driver".into()));
    assert_eq!(first.config.backing, [Layer { image: "/images/base.img".into(), format: None }]);
    assert_eq!(
        (second.config.queues, second.config.read_only, second.backend),
        (1, true, Backend::Number(DomId(3)))
    );
}

#[test]
fn a_kernel_may_come_from_the_first_disk_in_the_control_domain() {
    let guest = |boot: &str, backend: &str| {
        format!(
            "memory = \"256M\"\n{boot}\n[[disk]]\nimage = \"/a.img\"\nbackend = {backend}\n[[disk]]\nimage = \"/b\"\nbackend = 3\n"
        )
    };
    let boot = |keys: &str| parse(&guest(keys, "0")).unwrap().boot;
    assert_eq!(boot("boot = \"disk\""), Boot::Disk { boot_entry: None });
    assert_eq!(boot("boot = \"disk\"\nboot_entry = \"old\""), Boot::Disk { boot_entry: Some("old".into()) });
    for (text, words) in [
        (
            guest("boot = \"disk\"", "1"),
            ":2:8: boot: reads the first disk in the control domain, and domain 1 has its image /a.img",
        ),
        (guest("boot = \"disk\"", "\"store\""), "guest store has its image"),
        (guest("boot = \"disk\"\nkernel = \"k\"", "0"), "`kernel` and `ramdisk` must go"),
        (guest("boot = \"disc\"", "0"), "did you mean \"disk\"?"),
        (guest("kernel = \"k\"\nboot_entry = \"x\"", "0"), "goes with `boot = \"disk\"` only"),
        ("memory = \"256M\"\nboot = \"disk\"\n".into(), "must have a `[[disk]]`"),
    ] {
        let said = says(&text);
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn errors_name_file_line_and_key() {
    assert_eq!(
        says("kernel = \"Image\"\nmemroy = \"256M\"\n"),
        "/etc/lith/web.toml:2:1: memroy: is not known; did you mean \"memory\"?"
    );
    assert_eq!(says("memory = \"1G\"\n"), "/etc/lith/web.toml: kernel: is missing");
    assert_eq!(
        says("kernel = \"Image\"\nmemory = 256\n"),
        "/etc/lith/web.toml:2:10: memory: must be a text in quotes, and is a whole number"
    );
    assert_eq!(
        says(&format!("{SMALL}vcpus = 129\n")),
        "/etc/lith/web.toml:3:9: vcpus: must be from 1 to 128"
    );
    let disk = format!("{SMALL}[[disk]]\nimage = \"/a\"\n[[disk]]\nimage = \"b\"\n");
    assert_eq!(
        says(&disk),
        "/etc/lith/web.toml:6:9: disk[1].image: must be an absolute path: the backend's domain opens it"
    );
    let no_image = says(&format!("{SMALL}[[disk]]\nread_only = true\n"));
    assert!(no_image.starts_with("/etc/lith/web.toml:3:") && no_image.ends_with("disk[0].image: is missing"));
    let action = says(&format!("{SMALL}on_crash = \"restert\"\n"));
    assert!(action.contains(":3:12: on_crash:") && action.contains("did you mean \"restart\"?"), "{action}");
}

#[test]
fn what_is_no_toml_has_a_place_too() {
    let error = parse("kernel = \"Image\"\nmemory 256M\n").unwrap_err();
    assert_eq!((error.line(), error.key()), (Some(2), None));
    assert!(parse("kernel = \"a\"\nkernel = \"b\"\n").unwrap_err().line() == Some(2));
}

#[test]
fn a_name_is_no_number_and_no_path() {
    for name in
        ["0", "7up", "-x", "a/b", "", "control", "domain-1", "a b", "abcdefghijabcdefghijabcdefghijabc"]
    {
        assert!(says(&format!("{SMALL}name = \"{name}\"\n")).contains(" name: "), "{name}");
    }
    let nameless = GuestConfig::parse(Path::new("/etc/7.toml"), SMALL).unwrap_err();
    assert_eq!(nameless.to_string(), "/etc/7.toml: name: is missing");
}

#[test]
fn disks_are_checked_as_their_backend_would() {
    let disk = |rest: &str| says(&format!("{SMALL}[[disk]]\nimage = \"/a\"\n{rest}\n"));
    assert!(disk("format = \"vmdk\"").contains("disk[0].format: \"vmdk\" is not known; there are \"raw\""));
    assert!(disk("format = \"qcow\"").contains("did you mean \"qcow2\"?"));
    assert!(disk("backend = 32752").contains("disk[0].backend: must be from 0 to 32751"));
    assert!(disk("serial = \"a serial number that is long\"").contains("at most 20"));
    assert!(disk("backing = [{ image = \"/b\" }]").contains("a raw image has no file below it"));
    assert!(disk("queues = 0").contains("disk[0].queues: must be from 1 to 16"));
    assert!(disk("raed_only = true").contains("did you mean \"read_only\"?"));
    let long = "x".repeat(1100);
    assert!(says(&format!("{SMALL}[[disk]]\nimage = \"/{long}\"\n")).contains("use shorter paths"));
    let twelve = "[[disk]]\nimage = \"/a\"\n".repeat(12);
    assert!(says(&format!("{SMALL}{twelve}")).contains("there may be 11 of them at most"));
    assert!(says(&format!("{SMALL}disk = 3\n")).contains("disk: must be a list of tables, and is a whole"));
}

#[test]
fn memory_is_whole_and_in_range() {
    for (memory, reason) in [("1M", "16M to"), ("1025K", "1 MiB"), ("2000G", "1019G"), ("lots", "unit")] {
        let error = says(&format!("kernel = \"Image\"\nmemory = \"{memory}\"\n"));
        assert!(error.contains(":2:10: memory: ") && error.contains(reason), "{error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z_\\[\\]{}=\"',.#\n 0-9]{0,200}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.to_string().starts_with("/etc/lith/web.toml"));
        }
    }

    #[test]
    fn a_config_survives_its_way_to_the_monitor(vcpus in 1u16..=128, memory in 16u64..4096) {
        let config = parse(&format!("kernel = \"k\"\nmemory = \"{memory}M\"\nvcpus = {vcpus}\n[[disk]]\nimage = \"/d\"\n")).unwrap();
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(serde_json::from_str::<GuestConfig>(&json).unwrap(), config);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&json["disks"][0]["config"]["image"], "/d");
    }
}
