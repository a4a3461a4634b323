//! What a guest's end means.

use xenolith_abi::domctl::{DomainInfo, SHUTDOWN_REASON_SHIFT, info_flag};
use xenolith_abi::sched::ShutdownReason;

use crate::config::{Action, GuestConfig};

/// A domain's state, as far as its monitor acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It lives.
    Alive,
    /// It has suspended itself, and goes on when it is let.
    Suspended,
    /// It has ended by itself; it has all that it had.
    Ended(End),
    /// It was destroyed.
    Gone,
}

/// Why a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It turned itself off.
    Poweroff,
    /// It wants to start again.
    Reboot,
    /// It crashed.
    Crash,
    /// It did not answer its watchdog.
    Watchdog,
    /// A reason that has no name.
    Other(u8),
}

impl State {
    /// What the hypervisor says of a domain.
    pub fn of(info: Option<&DomainInfo>) -> State {
        info.map_or(State::Gone, |info| State::of_flags(info.flags))
    }

    /// What a domain's flags say.
    pub fn of_flags(flags: u32) -> State {
        if flags & info_flag::DYING != 0 {
            return State::Gone;
        }
        if flags & info_flag::SHUTDOWN == 0 {
            return State::Alive;
        }
        let [_, _, reason, _] = (flags >> SHUTDOWN_REASON_SHIFT << 16).to_le_bytes();
        State::Ended(match ShutdownReason::from_number(reason.into()) {
            Some(ShutdownReason::Suspend) => return State::Suspended,
            Some(ShutdownReason::Poweroff) => End::Poweroff,
            Some(ShutdownReason::Reboot | ShutdownReason::SoftReset) => End::Reboot,
            Some(ShutdownReason::Crash) => End::Crash,
            Some(ShutdownReason::Watchdog) => End::Watchdog,
            None => End::Other(reason),
        })
    }
}

impl End {
    /// The action that the guest's file names for it.
    pub fn action(self, config: &GuestConfig) -> Action {
        match self {
            End::Poweroff => config.on_poweroff,
            End::Reboot => config.on_reboot,
            End::Crash | End::Watchdog | End::Other(_) => config.on_crash,
        }
    }

    /// In words, after a guest's name.
    pub fn words(self) -> String {
        match self {
            End::Poweroff => "has turned itself off".into(),
            End::Reboot => "reboots".into(),
            End::Crash => "has crashed".into(),
            End::Watchdog => "has not answered its watchdog".into(),
            End::Other(reason) => format!("has ended for reason {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn info(flags: u32) -> DomainInfo {
        DomainInfo { flags, ..DomainInfo::default() }
    }

    #[test]
    fn a_domains_flags_tell_how_it_is() {
        let state = |flags| State::of(Some(&info(flags)));
        assert_eq!(State::of(None), State::Gone);
        assert_eq!(state(0x00ff_0120), State::Alive);
        assert_eq!(state(0x0001_0004), State::Ended(End::Reboot));
        assert_eq!(state(0x0000_0004), State::Ended(End::Poweroff));
        assert_eq!(state(0x0003_0004), State::Ended(End::Crash));
        assert_eq!(state(0x0009_0004), State::Ended(End::Other(9)));
        assert_eq!(state(0x0002_0004), State::Suspended);
        assert_eq!(state(0x0003_0005), State::Gone);
    }

    #[test]
    fn the_file_says_what_to_do() {
        let text = "kernel = \"k\"\nmemory = \"64M\"\non_crash = \"preserve\"\n";
        let config = GuestConfig::parse(Path::new("/web.toml"), text).unwrap();
        assert_eq!(End::Poweroff.action(&config), Action::Destroy);
        assert_eq!(End::Reboot.action(&config), Action::Restart);
        assert_eq!(End::Watchdog.action(&config), Action::Preserve);
    }
}
