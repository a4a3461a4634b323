//! Hypercalls as data, for tests that make them: on the model machine, in domains under this hypervisor, and in domains under a
//! real Xen.
//!
//! [`families`] names every call and sub-operation of Xen's public headers. [`probe`] makes each of them once with zeroes
//! for arguments, so that two hypervisors can be compared by their answers. [`attack`] makes them with arguments of all kinds. Nothing here makes a call itself: whoever does
//! puts [`Call::memory`] where it belongs first.

pub mod attack;
pub mod families;
pub mod probe;
pub mod random;

/// A hypercall and what must stand in the caller's memory when it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// What is in x16.
    pub number: u64,
    /// What is in x0 to x4.
    pub arguments: [u64; 5],
    /// Addresses, and bytes to be written there first.
    pub memory: Vec<(u64, Vec<u8>)>,
}

/// The name of an answer: `ok`, an error's name, or an error's number if it has no name here.
pub fn answer_name(result: i64) -> String {
    use xenolith_abi::Errno;
    let named = Errno::ALL.iter().find(|errno| errno.to_register() as i64 == result);
    match named {
        _ if result >= 0 => "ok".into(),
        Some(errno) => format!("{errno:?}"),
        None => format!("error {}", result.unsigned_abs()),
    }
}
