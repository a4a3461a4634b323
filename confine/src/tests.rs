//! Each test confines a child of its own: this test program, run again. What serving takes is tested where it is served.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use rustix::process::getrlimit;

use super::*;

const INSIDE: &str = "CONFINE_TEST_INSIDE";

/// Whether this is the child that is to confine itself. If not, runs it, for the test of this name.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let exe = std::env::current_exe().unwrap();
    let child =
        Command::new(exe).args(["--exact", test, "--test-threads=1"]).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
    false
}

#[test]
fn who_names_no_ioctl_has_none() {
    if !inside("tests::who_names_no_ioctl_has_none") {
        return;
    }
    let file = File::open("/dev/null").unwrap();
    let asked = || rustix::io::ioctl_fionread(&file);
    assert_ne!(asked(), Err(rustix::io::Errno::PERM));
    limit(1 << 30, 60).unwrap();
    give_up_root().unwrap();
    leave_file_system().unwrap();
    filter_system_calls(&[]).unwrap();
    assert_eq!(asked(), Err(rustix::io::Errno::PERM));
    assert_eq!(File::open("/dev/null").unwrap_err().raw_os_error(), Some(libc::EPERM));
    assert_eq!(file.read_at(&mut [0], 0).unwrap(), 0);
}

#[test]
fn limits_hold_for_good() {
    if !inside("tests::limits_hold_for_good") {
        return;
    }
    limit(512 << 20, 60).unwrap();
    let most = Some(512 << 20);
    assert_eq!(getrlimit(Resource::As), Rlimit { current: most, maximum: most });
    assert!(Vec::<u8>::new().try_reserve_exact(600 << 20).is_err());
    give_up_root().unwrap();
    assert!(limit(1 << 40, 60).is_err());
}
