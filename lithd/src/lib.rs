//! What others may know of `lithd`, the daemon that serves devices of guests: its command line.

#![forbid(unsafe_code)]

pub mod cli;
