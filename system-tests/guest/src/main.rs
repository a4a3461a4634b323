//! One program with many tests: `guest-tests grants` runs those of grants, and so on.
//!
//! Each prints `ok <name>` or `FAILED <name>: <reason>` per test, and the program fails if one did. It runs
//! on Linux in a domain, static, with nothing but the kernel and its device files under it.

#![deny(unsafe_code)]

mod attack;
mod device_model;
mod disk;
mod events;
mod float;
mod grants;
mod hotplug;
mod hypercalls;
mod memory;
mod pages;
mod probe;
mod report;
mod smp;
mod static_shm;
mod sve;
mod xen;

use std::process::ExitCode;
use xenolith_abi::DomId;

use device_model::held;
use report::Report;

const USAGE: &str = "usage: guest-tests grants | events | hypercalls | memory | probe | crash | \
                     attack [SEED [CALLS [DOMAIN]]] | disk FOLDER | \
                     write FOLDER | check FOLDER | punch FILE AT BYTES | zero FILE AT BYTES | give-back KIB | \
                     smp [SECONDS] | sve [SECONDS] | hotplug [ROUNDS] | echo-model GUEST | last-echo-model GUEST | \
                     hostile-model GUEST [SEED] | hostile-backend VCPU | stranger GUEST | held-requests GUEST | \
                     hold-request GUEST STATE | leave-request GUEST STATE | shut-down GUEST | \
                     static-shm asks|answers MEMORY PORT";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let argument = arguments.next();
    let number = |default| argument.as_deref().map_or(Some(default), |text| text.parse().ok());
    let mut report = Report::default();
    if what != "attack"
        && let Some(guest) = argument.as_deref().and_then(|text| text.parse().map(DomId).ok())
    {
        let seed = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1);
        match what.as_str() {
            "echo-model" => return device_model::echo(guest, false),
            "last-echo-model" => return device_model::echo(guest, true),
            "hostile-model" => return device_model::hostile(report, guest, seed),
            "stranger" => return device_model::stranger(report, guest),
            "hostile-backend" => return device_model::hostile_backend(report, guest.0),
            "held-requests" => return held::run(report, guest),
            "shut-down" => return held::shut_down(guest),
            "hold-request" => return held::hold(guest, u8::try_from(seed).unwrap_or(0)),
            held::LEAVE => return held::hold_to_the_end(guest, u8::try_from(seed).unwrap_or(0)),
            _ => {}
        }
    }
    match (what.as_str(), &argument) {
        ("grants", None) => grants::run(&mut report),
        (grants::WRITER, None) => return grants::write_through_read_only_map(),
        ("crash", None) => return hypercalls::crash(),
        ("events", None) => events::run(&mut report),
        ("hypercalls", None) => hypercalls::run(&mut report),
        ("memory", None) => memory::run(&mut report),
        ("probe", None) => {
            return match probe::run() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("probe: {error:#}");
                    ExitCode::FAILURE
                }
            };
        }
        ("attack", _) => {
            let mut number = |default| match arguments.next() {
                Some(text) => text.parse().ok(),
                None => Some(default),
            };
            let seed = argument.as_deref().map_or(Some(1), |text| text.parse().ok());
            let (Some(seed), Some(calls), Some(own)) = (seed, number(100_000), number(0)) else {
                return usage();
            };
            let Ok(own) = u16::try_from(own) else { return usage() };
            report.test("no call breaks anything", || attack::run(seed, calls, DomId(own)));
        }
        ("disk", Some(folder)) => disk::run(&mut report, folder.as_ref()),
        ("write", Some(folder)) => report.test("files are written", || disk::write_files(folder.as_ref())),
        ("check", Some(folder)) => report.test("files are as written", || disk::check_files(folder.as_ref())),
        ("punch" | "zero", Some(file)) => {
            let mut number = || arguments.next().and_then(|text| text.parse().ok());
            let (Some(at), Some(len)) = (number(), number()) else { return usage() };
            report.test("a range is cleared", || disk::clear(file.as_ref(), at, len, what == "punch"));
        }
        ("static-shm", Some(role)) => {
            let (memory, port) = (arguments.next(), arguments.next().and_then(|text| text.parse().ok()));
            let (Some(memory), Some(port)) = (memory, port) else { return usage() };
            report.test("memory and events pass between domains", || static_shm::run(role, &memory, port));
        }
        ("give-back", Some(kib)) => match kib.parse() {
            Ok(kib) => report.test("the balloon reaches its target", || memory::give_back(kib)),
            Err(_) => return usage(),
        },
        ("smp", _) if number(5).is_some() => smp::run(&mut report, number(5).unwrap_or(5)),
        ("sve", _) if number(5).is_some() => sve::run(&mut report, number(5).unwrap_or(5)),
        ("hotplug", _) if number(10).is_some() => hotplug::run(&mut report, number(10).unwrap_or(10)),
        _ => return usage(),
    }
    report.finish()
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
