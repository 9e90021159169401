//! Keys that make the hypervisor say something of itself.

use super::Reply;
use crate::hypercall::Call;
use crate::hypervisor::Hypervisor;
use xen_abi::Errno;
use xen_abi::sysctl::Sysctl;
use xenolith_hal::{LogLevel, Machine};

/// More keys than these are not pressed at once.
const MOST_KEYS: u32 = 256;
/// The key that tells of the machine's memory: the core answers it itself.
const MEMORY: u8 = b'm';

/// Presses keys as if they were typed on the console while it listens to the hypervisor.
///
/// **Errors:** `EFAULT`, after the keys before; `E2BIG` for more than 256 of them.
pub(super) fn debug_keys<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let asked = op.debug_keys();
    if asked.nr_keys > MOST_KEYS {
        return Err(Errno::E2BIG);
    }
    for index in 0..u64::from(asked.nr_keys) {
        let key: u8 = call.memory().read_at(asked.keys, index)?;
        if key == MEMORY {
            tell_memory(call.hv);
        } else {
            call.hv.machine.press_key(key);
        }
    }
    Ok(Reply::Nothing)
}

fn tell_memory<M: Machine>(hv: &Hypervisor<M>) {
    let say = |line: core::fmt::Arguments<'_>| hv.machine.log(LogLevel::Info, false, line);
    say(format_args!("'m' pressed -> memory info"));
    let (free, waiting, dirty) = (hv.frames.free_pages(), hv.frames.waiting(), hv.frames.scrub_pending());
    say(format_args!("frames: {free} free, {waiting} soon free; {dirty} to be cleared"));
}
