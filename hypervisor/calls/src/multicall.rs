//! `multicall`: a list of calls, in order. A failing one does not stop the list; a list within a list is refused.

use xenolith_abi::Errno;
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::multicall::MulticallEntry;
use zerocopy::IntoBytes;

use crate::caller::{Answer, Arguments, Caller, DONE, Reply};

/// Makes one call, by number.
type Dispatch = fn(&mut Caller<'_>, u64, Arguments) -> Answer;

/// Arguments: the list; its length. What is done is taken off both when the call is made again.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments, dispatch: Dispatch) -> Answer {
    let [list, count, ..] = arguments;
    for index in 0..count {
        let address = Caller::element::<MulticallEntry>(list, index)?;
        let again = Ok(Reply::Continue([address, count - index, 0, 0, 0]));
        if index > 0 && caller.should_pause() {
            return again;
        }
        let mut entry: MulticallEntry = caller.read(address)?;
        let answer = if entry.op == Hypercall::Multicall.number() {
            Err(Errno::EINVAL)
        } else {
            let [a, b, c, d, e, _] = entry.args;
            dispatch(caller, entry.op, [a, b, c, d, e])
        };
        match answer {
            Ok(Reply::Value(value)) => entry.result = value,
            Err(errno) => entry.result = errno.to_register(),
            Ok(Reply::Continue(rest)) => {
                entry.args[..rest.len()].copy_from_slice(&rest);
                caller.write(address, &entry)?;
                return again;
            }
        }
        let result = Caller::element::<u64>(address, 1)?;
        caller.write_bytes(result, entry.result.as_bytes())?;
    }
    DONE
}
