//! stub
use super::*;
/// x
pub fn call(_c: &mut Caller<'_>, _a: Arguments) -> Answer { Err(Errno::ENOSYS) }
