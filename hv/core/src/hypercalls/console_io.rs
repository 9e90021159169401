//! `console_io`: the hypervisor's console, for the control domain. **Source:** `xen.h`, `CONSOLEIO_*`.

use crate::budget::Budget;
use crate::components::access::Action;
use crate::domains::hypervisor::Hypervisor;
use crate::hypercalls::{Call, Handler, Operation, permitted};
use crate::lifecycle::event_domain::raise_for_handler;
use crate::outcome::{Answer, Outcome};
use xen_abi::console_io::{CONSOLEIO_READ, CONSOLEIO_WRITE};
use xen_abi::virq::VIRQ_CONSOLE;
use xen_abi::{Errno, GuestHandle};
use xenolith_hal::Machine;

/// The number of bytes copied at a time; the most of a line that is written under one hold of the console's lock. At
/// 115,200 baud they take 11 ms to leave the port.
const CHUNK: usize = 128;

/// Returns the operations: first argument the operation, second a count of bytes, third a buffer.
pub const fn operations<M: Machine>() -> &'static [Operation<Handler<M>>] {
    const {
        &[
            permitted(Action::UseConsole, CONSOLEIO_WRITE, "CONSOLEIO_write", write),
            permitted(Action::UseConsole, CONSOLEIO_READ, "CONSOLEIO_read", read),
        ]
    }
}

/// Implements `CONSOLEIO_write`: writes bytes unchanged, a line at a time. Where the port is slow, the caller gets its
/// interrupts between two lines.
///
/// **Errors:** `EFAULT`; what came before was written.
fn write<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let (mut at, mut left) = (call.arg(2), call.arg_u32(1));
    let budget = Budget::start(&call.hv.machine);
    while left > 0 {
        let mut buffer = [0; CHUNK];
        let bytes = buffer.get_mut(..CHUNK.min(left as usize)).ok_or(Errno::EFAULT)?;
        call.memory().read_bytes(at, bytes)?;
        let line = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        call.hv.machine.console_write(line);
        at = at.checked_add(line.len() as u64).ok_or(Errno::EFAULT)?;
        left = left.saturating_sub(line.len() as u32);
        if left > 0 && budget.is_over(&call.hv.machine) {
            let [op, _, _, d, e, f] = call.args;
            return Ok(Outcome::Again([op, u64::from(left), at, d, e, f]));
        }
    }
    Ok(Outcome::OK)
}

/// Implements `CONSOLEIO_read`: reads console input, at most as many bytes as asked for; returns how many.
///
/// **Errors:** `EFAULT`, and the input is lost; `E2BIG` for a count that is negative as C's `int`, since what is
/// returned could not be told from an error.
fn read<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let (to, wanted): (GuestHandle, _) = (call.handle(2), call.arg_u32(1));
    if i32::try_from(wanted).is_err() {
        return Err(Errno::E2BIG);
    }
    let mut done: u64 = 0;
    while done < u64::from(wanted) {
        let mut buffer = [0; CHUNK];
        let part = u64::from(wanted).saturating_sub(done).min(CHUNK as u64) as usize;
        let got = call.hv.machine.console_read(buffer.get_mut(..part).ok_or(Errno::EFAULT)?);
        let Some(bytes) = buffer.get(..got).filter(|bytes| !bytes.is_empty()) else { break };
        call.memory().write_bytes(to.address.checked_add(done).ok_or(Errno::EFAULT)?, bytes)?;
        done = done.saturating_add(got as u64);
    }
    Ok(Outcome::Done(done))
}

/// Notifies the control domain that the console has input.
pub fn input_arrived<M: Machine>(hv: &Hypervisor<M>) {
    raise_for_handler(hv, VIRQ_CONSOLE);
}
