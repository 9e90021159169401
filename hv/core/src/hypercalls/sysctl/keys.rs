//! `XEN_SYSCTL_debug_keys`.

use super::Reply;
use crate::hypercalls::Call;
use crate::lifecycle::debug_keys;
use xen_abi::Errno;
use xen_abi::sysctl::Sysctl;
use xenolith_hal::Machine;

/// The most keys of one call.
const MOST_KEYS: u32 = 256;

/// Implements `XEN_SYSCTL_debug_keys`: presses keys as if they were typed on the hypervisor's console: both the machine
/// and the core report.
///
/// **Errors:** `EFAULT`, after the keys before; `E2BIG` for more than 256 of them.
pub(super) fn debug_keys<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let asked = op.debug_keys();
    // What they write may take longer than the watchdog waits.
    let _not_stuck = call.hv.watchdog.is_on().then(|| call.hv.watchdog.suspend());
    if asked.nr_keys > MOST_KEYS {
        return Err(Errno::E2BIG);
    }
    for index in 0..u64::from(asked.nr_keys) {
        let key: u8 = call.memory().read_at(asked.keys, index)?;
        call.hv.machine.press_key(key);
        debug_keys::press(call.hv, key);
    }
    Ok(Reply::Nothing)
}
