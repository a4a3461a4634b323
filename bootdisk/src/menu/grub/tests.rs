//! What `grub-mkconfig` writes, shortened.

use super::*;
use proptest::prelude::*;

const DEBIAN: &str = r#"
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="DEFAULT"
fi

if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
function load_video {
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  fi
}
menuentry 'Debian GNU/Linux' --class debian --class gnu-linux $menuentry_id_option 'gnulinux-simple-7f' {
	load_video
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	if [ x$feature_platform_search_hint = xy ]; then
	  search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt1  7f
	else
	  search --no-floppy --fs-uuid --set=root 7f
	fi
	echo	'Loading Linux 6.1.0-41-arm64 ...'
	linux	/boot/vmlinuz-6.1.0-41-arm64 root=UUID=7f ro  console=tty0 "note=a b" ${unset}
	echo	'Loading initial ramdisk ...'
	initrd	/boot/initrd.img-6.1.0-41-arm64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-7f' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-41-arm64' --class debian $menuentry_id_option 'gnulinux-41-7f' {
		linux	/boot/vmlinuz-6.1.0-41-arm64 root=UUID=7f ro
		initrd	/boot/initrd.img-6.1.0-41-arm64
	}
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-37-arm64' --class debian $menuentry_id_option 'gnulinux-37-7f' {
		linux	/boot/vmlinuz-6.1.0-37-arm64 root=UUID=7f ro
		initrd	/boot/a.img /boot/b.img
	}
}
menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' { fwsetup; }
"#;

fn first(default: &str, variables: &Variables) -> Entry {
    menu(&DEBIAN.replace("DEFAULT", default), variables).entries.remove(0)
}

fn saved(entry: &str) -> Variables {
    [("saved_entry".to_owned(), entry.to_owned())].into()
}

#[test]
fn the_first_entry_of_debian_is_started() {
    let entry = first("0", &Variables::new());
    let expected = Entry {
        id: "gnulinux-simple-7f".into(),
        title: "Debian GNU/Linux".into(),
        linux: "/boot/vmlinuz-6.1.0-41-arm64".into(),
        initrd: vec!["/boot/initrd.img-6.1.0-41-arm64".into()],
        options: "root=UUID=7f ro console=tty0 note=a b".into(),
        place: Some(Place::Uuid("7f".into())),
        ..Entry::default()
    };
    assert_eq!(entry, expected);
    let all = menu(&DEBIAN.replace("DEFAULT", "0"), &Variables::new());
    assert_eq!(all.entries.len(), 3, "the firmware's settings start no Linux");
}

#[test]
fn the_default_is_a_number_an_id_or_a_title_and_may_be_saved() {
    let older = "/boot/vmlinuz-6.1.0-37-arm64";
    for default in [
        "1>1",
        "gnulinux-advanced-7f>gnulinux-37-7f",
        "Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1.0-37-arm64",
        "gnulinux-advanced-7f>1",
    ] {
        assert_eq!(first(default, &Variables::new()).linux, older, "{default}");
        assert_eq!(first("${saved_entry}", &saved(default)).linux, older, "{default}");
    }
    assert_eq!(first("1>1", &Variables::new()).initrd, ["/boot/a.img", "/boot/b.img"]);
    // What is chosen for one boot only is not: nobody could take it back.
    let next = [("next_entry".to_owned(), "1>1".to_owned())].into();
    assert_eq!(first("0", &next).id, "gnulinux-simple-7f");
    for nonsense in ["99", "gone", "${saved_entry}", "1>99", ">"] {
        assert!(!first(nonsense, &Variables::new()).linux.is_empty(), "{nonsense}");
    }
}

#[test]
fn small_configurations_are_read() {
    let text = "search --label --set=root BOOT\nmenuentry \"One\" { linux ($root)/Image console=hvc0; initrd /i }\n\
        menuentry Two --id two {\nlinux /k \\\n  quiet # not this\n}";
    let menu = menu(text, &Variables::new());
    let [one, two] = menu.entries.as_slice() else { panic!("{menu:?}") };
    assert_eq!((one.linux.as_str(), one.options.as_str(), one.initrd.len()), ("/Image", "console=hvc0", 1));
    assert_eq!((two.id.as_str(), two.options.as_str()), ("two", "quiet"));
    assert_eq!(two.place, Some(Place::Label("BOOT".into())));
    assert!(super::menu("configfile $prefix/grub.cfg\n", &Variables::new()).entries.is_empty());
}

#[test]
fn a_script_without_end_ends() {
    assert!(menu(&"submenu x {\n".repeat(10_000), &Variables::new()).entries.is_empty());
    let many = "menuentry x {\nlinux /k\n}\n".repeat(10_000);
    assert_eq!(menu(&many, &Variables::new()).entries.len(), MOST_ENTRIES);
}

proptest! {
    #[test]
    fn any_script_is_a_menu(words in prop::collection::vec("(menuentry|submenu|linux|initrd|set|search|\\{|\\}|;|\n|'|\"|\\$|\\\\|default=|\\PC{0,4})", 0..40)) {
        let _ = menu(&words.join(" "), &Variables::new());
    }
}
