//! What is wrong with a command line, in words that name the option.

use alloc::string::String;
use core::fmt;

/// Characters of a wrong word that a complaint repeats.
const MAX_WORD: usize = 64;

/// What is wrong with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no such option.
    Unknown,
    /// The value is not one of these, or is missing.
    Value(&'static str),
    /// `no-` before the name and a value behind it.
    NegatedWithValue,
    /// The value is a name of Xen's for what has this name here, and was taken as that.
    TakenAs(&'static str),
}

/// An option that was not understood, or not as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The word of the command line, without what cannot be printed, cut if it is very long.
    pub word: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl Complaint {
    pub(super) fn new(word: &str, problem: Problem) -> Complaint {
        let printable = |letter: char| if letter.is_control() { '?' } else { letter };
        Complaint { word: word.chars().take(MAX_WORD).map(printable).collect(), problem }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Complaint { word, problem } = self;
        let name = word.split('=').next().unwrap_or(word);
        match problem {
            Problem::Unknown => write!(f, "option `{name}` is unknown and ignored"),
            Problem::Value(accepted) if word.contains('=') => {
                write!(f, "option `{word}` is ignored: {name} takes {accepted}")
            }
            Problem::Value(accepted) => write!(f, "option `{name}` is ignored: it needs a value, {accepted}"),
            Problem::NegatedWithValue => {
                write!(f, "option `{word}` is ignored: `no-` and a value exclude each other")
            }
            Problem::TakenAs(taken) => write!(f, "option `{word}` is taken as {name}={taken}"),
        }
    }
}

/// Options that are written well, but with which no first domain can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidOptions {
    /// No vCPU.
    NoVcpus,
    /// More vCPUs than the interrupt controller serves.
    TooManyVcpus {
        /// vCPUs that were asked for.
        vcpus: u32,
        /// The most vCPUs that the domain may have.
        max_vcpus: u32,
    },
    /// No memory.
    NoMemory,
    /// More memory than its own limit.
    MemoryAboveLimit {
        /// Bytes asked for.
        size: u64,
        /// Bytes that it may grow to.
        limit: u64,
    },
}

impl fmt::Display for InvalidOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidOptions::NoVcpus => {
                write!(f, "dom0_max_vcpus=0: the first domain cannot have zero vCPUs, it needs at least one")
            }
            InvalidOptions::TooManyVcpus { vcpus, max_vcpus } => {
                write!(
                    f,
                    "dom0_max_vcpus={vcpus}: this machine's interrupt controller serves at most {max_vcpus}"
                )
            }
            InvalidOptions::NoMemory => write!(f, "dom0_mem: the first domain cannot have zero memory"),
            InvalidOptions::MemoryAboveLimit { size, limit } => {
                write!(
                    f,
                    "dom0_mem: {} KiB are more than the limit of {} KiB (max:)",
                    size >> 10,
                    limit >> 10
                )
            }
        }
    }
}

impl core::error::Error for InvalidOptions {}
