//! All scenarios, in one place. A name is `area/what`, and a filter takes any part of it.

mod attack;
mod backend;
mod bad_input;
mod bare_guest;
mod boot;
mod boot_domain;
mod disk;
mod dist;
mod domain;
mod driver;
mod faults;
mod guest;
mod hostile;
mod power;
mod run;
mod static_shm;

use system_tests::harness::Scenario;

/// Every scenario there is.
pub fn all() -> Vec<Scenario> {
    [
        boot::all(),
        boot_domain::all(),
        power::all(),
        domain::all(),
        disk::all(),
        driver::all(),
        static_shm::all(),
        guest::all(),
        backend::all(),
        attack::all(),
        hostile::all(),
        bare_guest::all(),
        bad_input::all(),
        faults::all(),
        run::all(),
        dist::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
