//! The hypervisor as a whole.

mod advisories;
mod alarms;
#[cfg(feature = "ioreq")]
mod attack;
mod boot;
mod boot_domains;
mod common;
mod console;
mod control;
#[cfg(feature = "ioreq")]
mod coverage;
mod create;
mod cuts;

mod destroy;
mod dying;
mod errata;
mod events;
mod failing;
mod first;
mod foreign;
#[cfg(feature = "ioreq")]
mod forward;
mod grants;
mod heap;
mod hostile;
mod interrupt_time;
mod last_words;
mod lifecycle;
mod memory;
mod multicall;
#[cfg(not(feature = "ioreq"))]
mod no_forward;
mod permission;
mod poll;
mod power;
mod promised;
mod scheduling;
mod slow_uart;
mod stage2_spec;
mod stay;
mod storm;
mod support;
mod sve;
mod system_errors;
mod time;
mod timer_line;
mod whole_boot;
