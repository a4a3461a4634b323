//! `multicall`: a list of calls, in order. A failing one does not stop the list; a list within a list is refused.

use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::multicall::MulticallEntry;
use xenolith_abi::{Errno, GuestPtr};

use crate::caller::{Answer, Arguments, Caller, DONE, Reply};

/// Makes one call, by number.
type Dispatch = fn(&mut Caller<'_>, u64, Arguments) -> Answer;

/// Arguments: the list; its length. A continuation has the rest of both.
///
/// Each entry has a result of its own: that of its call, `EINVAL` for a multicall in it, `ENOSYS` for a number that is none.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments, dispatch: Dispatch) -> Answer {
    let [list, count, ..] = arguments;
    let list = GuestPtr::<MulticallEntry>::new(list);
    for index in 0..count {
        let place = Caller::element(list, index)?;
        let again = Ok(Reply::Continue([place.address(), count - index, 0, 0, 0]));
        // One entry at least, so that a list is done some time, whatever interrupts come.
        if index > 0 && caller.should_pause() {
            return again;
        }
        // Copied once: another vCPU may write the list meanwhile.
        let mut entry = caller.read(place)?;
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
                // The call's own continuation goes into its entry, and the list's begins with that entry.
                let [a, b, c, d, e] = rest;
                let [.., last] = entry.args;
                entry.args = [a, b, c, d, e, last];
                caller.write(place, &entry)?;
                return again;
            }
        }
        // The result alone, behind the number (multicall_entry in xen.h): what the guest has written to the rest of the
        // entry meanwhile is its own.
        caller.write_element(place.cast(), 1, &entry.result)?;
    }
    DONE
}
