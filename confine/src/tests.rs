//! Each test confines a child of its own: this test program, run again. What serving takes is tested where it is served.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use proptest::prelude::*;
use rustix::process::{getrlimit, getuid};

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

/// Where a filter finds what it looks at: `struct seccomp_data` of `linux/seccomp.h`.
const ARCH_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;
/// `linux/audit.h`
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// What the kernel would make of a call with these arguments: the instructions of classic BPF (`linux/bpf_common.h`) that
/// filters consist of.
fn verdict(program: &BpfProgram, call: i64, arguments: [u64; 6]) -> u32 {
    let word = |at: u32| match at {
        0 => u32::try_from(call).unwrap(),
        ARCH_AT => ARCH,
        _ => {
            let argument = arguments[((at - ARGUMENTS_AT) / 8) as usize];
            (if at.is_multiple_of(8) { argument } else { argument >> 32 }) as u32
        }
    };
    let (mut accumulator, mut next) = (0, 0);
    loop {
        let instruction = &program[next];
        let constant = instruction.k;
        next += 1;
        let holds = match u32::from(instruction.code) {
            0x20 => {
                accumulator = word(constant);
                continue;
            }
            0x54 => {
                accumulator &= constant;
                continue;
            }
            0x05 => {
                next += constant as usize;
                continue;
            }
            0x06 => return constant,
            0x15 => accumulator == constant,
            0x25 => accumulator > constant,
            0x35 => accumulator >= constant,
            0x45 => accumulator & constant != 0,
            other => panic!("instruction {other:#x}"),
        };
        next += usize::from(if holds { instruction.jt } else { instruction.jf });
    }
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | EPERM;

proptest! {
    #[test]
    fn a_signal_goes_to_the_process_itself_alone(
        process in 1..1u32 << 22,
        other in 0..1u32 << 22,
        rest in any::<[u64; 5]>(),
        upper in any::<u32>(),
    ) {
        let filter = program(&[], process).unwrap();
        let to = |whom: u32| {
            let [a, b, c, d, e] = rest;
            [u64::from(upper) << 32 | u64::from(whom), a, b, c, d, e]
        };
        prop_assert_eq!(verdict(&filter, libc::SYS_tgkill, to(process)), ALLOW);
        let expected = if other == process { ALLOW } else { REFUSE };
        prop_assert_eq!(verdict(&filter, libc::SYS_tgkill, to(other)), expected);
        // To all, or to a group.
        prop_assert_eq!(verdict(&filter, libc::SYS_tgkill, to(u32::MAX)), REFUSE);
        let calls =
            [libc::SYS_kill, libc::SYS_tkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo, libc::SYS_pidfd_send_signal];
        for call in calls {
            prop_assert_eq!(verdict(&filter, call, to(process)), REFUSE);
        }
    }
}

#[test]
fn what_a_filter_names_is_allowed_and_nothing_else() {
    let filter = program(&[7], 1).unwrap();
    let conditional = [libc::SYS_tgkill, libc::SYS_ioctl, libc::SYS_mmap, libc::SYS_mprotect];
    for call in 0..1000 {
        let expected = if ALLOWED.contains(&call) { ALLOW } else { REFUSE };
        if !conditional.contains(&call) {
            assert_eq!(verdict(&filter, call, [0; 6]), expected, "call {call}");
        }
    }
    assert_eq!(verdict(&filter, libc::SYS_ioctl, [0, 7, 0, 0, 0, 0]), ALLOW);
    assert_eq!(verdict(&filter, libc::SYS_ioctl, [0, 8, 0, 0, 0, 0]), REFUSE);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        assert_eq!(verdict(&filter, call, [0, 0, 3, 0, 0, 0]), ALLOW);
        assert_eq!(verdict(&filter, call, [0, 0, 5, 0, 0, 0]), REFUSE);
    }
}

#[test]
fn root_becomes_a_user_that_nobody_else_is() {
    if !inside("tests::root_becomes_a_user_that_nobody_else_is") {
        return;
    }
    let was_root = getuid().is_root();
    let lacks = give_up_root().unwrap();
    match (was_root, lacks) {
        (true, None) => assert_eq!(getuid().as_raw(), OWN_USERS + std::process::id()),
        (true, Some(_)) => assert_eq!(getuid().as_raw(), NOBODY),
        (false, lacks) => assert!(lacks.is_some() && !getuid().is_root()),
    }
    // A namespace that knows all users is no excuse.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let whole = map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"];
    assert!(!(was_root && whole) || lacks.is_none(), "{lacks:?}");
    assert!(become_user(NOBODY).is_err());
}

#[test]
fn a_landlock_of_linux_6_1_is_enough_and_none_is_not() {
    let of = |abi| missing(&LandlockStatus::Available { effective_abi: abi, kernel_abi: None });
    assert!(of(ABI::V1).is_some());
    for abi in [ABI::V2, ABI::V3, ABI::V5, ABI::V6] {
        assert_eq!(of(abi), None, "{abi:?}");
    }
    assert!(missing(&LandlockStatus::NotEnabled).is_some_and(|text| text.contains("lsm=")));
    assert!(missing(&LandlockStatus::NotImplemented).is_some());
}
