//! `multicall`: a list of calls in one.

use super::{Call, make};
use crate::budget::Budget;
use crate::outcome::{Answer, Outcome};
use xen_abi::hypercall::MulticallEntry;
use xen_abi::{Errno, GuestHandle};
use xenolith_hal::Machine;

/// Implements `multicall(list, count)`: makes each call of the list and writes its result beside it. A preempted entry
/// leaves its progress in its own arguments, and the list continues at that entry.
///
/// **Errors:** `EFAULT` when an entry cannot be read or its result not written; the entries before it were made.
/// **Source:** `xen.h`.
pub fn multicall<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    if call.in_multicall {
        return Err(Errno::EINVAL);
    }
    let budget = Budget::start(&call.hv.machine);
    let (mut at, mut left) = (call.handle::<MulticallEntry>(0), call.arg_u32(1));
    while left > 0 {
        if budget.is_over(&call.hv.machine) {
            return Ok(again(call, at, left));
        }
        let mut entry: MulticallEntry = call.memory().read(at)?;
        let outer = core::mem::replace(&mut call.args, entry.args);
        call.in_multicall = true;
        let answer = make(entry.op, call);
        call.in_multicall = false;
        call.args = outer;
        match answer {
            Ok(Outcome::Done(value) | Outcome::Yield(value) | Outcome::Block(value)) => entry.result = value,
            Ok(Outcome::Again(args)) => {
                entry.args = args;
                call.memory().write(at, &entry)?;
                return Ok(again(call, at, left));
            }
            Ok(other) => return Ok(other),
            Err(errno) => entry.result = errno.as_return().cast_unsigned(),
        }
        call.memory().write(at, &entry)?;
        at = call.memory().element(at, 1)?;
        left = left.wrapping_sub(1);
    }
    Ok(Outcome::OK)
}

fn again<M: Machine>(call: &Call<'_, M>, at: GuestHandle<MulticallEntry>, left: u32) -> Outcome {
    let [_, _, rest @ ..] = call.args;
    let [c, d, e, f] = rest;
    Outcome::Again([at.address, u64::from(left), c, d, e, f])
}
