use super::*;
use proptest::prelude::*;

#[test]
fn little_is_needed() {
    let config = DiskConfig::from_blob(br#"{"image": "/disk.img"}"#).unwrap();
    assert_eq!(config, DiskConfig::new("/disk.img", None));
    assert_eq!(config.format(), Format::Raw);
}

#[test]
fn everything_can_be_said() {
    let text =
        br#"{"image": "/top.qcow2", "format": "qcow2", "read_only": true, "discard": false, "queues": 4, "serial": "root",
        "backing": [{"image": "/mid.qcow2", "format": "qcow2"}, {"image": "/base.img"}]}"#;
    let config = DiskConfig::from_blob(text).unwrap();
    assert_eq!(config.backing.len(), 2);
    assert_eq!((config.format, config.backing[1].format), (Some(Format::Qcow2), None));
    assert_eq!(config.backing[1].format(), Format::Raw);
    assert!(config.read_only && !config.discard);
}

#[test]
fn errors_name_the_key() {
    let said = |text: &str| DiskConfig::from_blob(text.as_bytes()).unwrap_err().to_string();
    assert!(said(r#"{"image": "disk"}"#).starts_with("image: "));
    assert!(said(r#"{"image": "/d", "queues": 0}"#).starts_with("queues: "));
    assert!(said(r#"{"image": "/d", "queues": 17}"#).starts_with("queues: "));
    assert!(said(r#"{"image": "/d", "serial": "a-serial-number-too-long"}"#).starts_with("serial: "));
    assert!(said(r#"{"image": "/d", "backing": [{"image": "/b"}]}"#).starts_with("backing: "));
    assert!(said(r#"{"image": "/d", "speed": 3}"#).contains("speed"));
    assert!(said("").contains("cannot be read"));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        image in "/[a-z/.é]{0,40}", qcow in any::<Option<bool>>(), read_only in any::<bool>(), discard in any::<bool>(),
        queues in 1..=MAX_QUEUES, serial in "[ -~]{0,20}", padding in 0..64usize,
    ) {
        let format = qcow.map(|qcow| if qcow { Format::Qcow2 } else { Format::Raw });
        let config = DiskConfig { read_only, discard, queues, serial, ..DiskConfig::new(image, format) };
        let mut blob = config.to_blob().unwrap();
        blob.resize(blob.len() + padding, 0);
        prop_assert_eq!(DiskConfig::from_blob(&blob).unwrap(), config);
    }

    #[test]
    fn nothing_panics(blob in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = DiskConfig::from_blob(&blob);
    }
}
