//! `XEN_SYSCTL_readconsole`: the hypervisor's log (`xl dmesg`).

use super::Reply;
use crate::domains::hypervisor::Hypervisor;
use crate::hypercalls::Call;
use crate::lifecycle::event_domain::raise_for_handler;
use core::sync::atomic::Ordering;
use xen_abi::Errno;
use xen_abi::sysctl::{Sysctl, SysctlReadconsole};
use xen_abi::virq::VIRQ_CON_RING;
use xenolith_hal::Machine;

/// The number of bytes copied at a time.
const CHUNK: usize = 256;

/// Notifies the control domain that the log has grown (`VIRQ_CON_RING`).
pub fn ring_grew<M: Machine>(hv: &Hypervisor<M>) {
    raise_for_handler(hv, VIRQ_CON_RING);
}

/// Implements `XEN_SYSCTL_readconsole`: copies from the log: from its beginning, or with `incremental` from the index
/// that an earlier call returned, if that is further on. With `clear` the log begins after what was read.
///
/// **Errors:** `EFAULT`.
pub(super) fn read_console<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let asked = op.u.read::<SysctlReadconsole>();
    let log_start = &call.hv.sysctl.log_start;
    let start = log_start.load(Ordering::SeqCst);
    let mut next = start;
    // The interface counts in 32 bits, which wrap: the index is one near the beginning.
    let ahead = asked.index.wrapping_sub(start as u32).cast_signed();
    if asked.incremental != 0
        && let Ok(ahead) = u64::try_from(ahead)
    {
        next = start.saturating_add(ahead);
    }
    let mut done: u32 = 0;
    while done < asked.count {
        let mut buffer = [0; CHUNK];
        let wanted = (asked.count.saturating_sub(done) as usize).min(CHUNK);
        let (got, after) = call.hv.machine.read_console_ring(next, buffer.get_mut(..wanted).ok_or(Errno::EFAULT)?);
        let Some(bytes) = buffer.get(..got).filter(|bytes| !bytes.is_empty()) else { break };
        let to = asked.buffer.checked_add(done.into()).ok_or(Errno::EFAULT)?;
        call.memory().write_bytes(to.address, bytes)?;
        done = done.saturating_add(got as u32);
        next = after;
    }
    if asked.clear != 0 {
        log_start.fetch_max(next, Ordering::SeqCst);
    }
    op.set_readconsole(SysctlReadconsole { index: next as u32, count: done, ..asked });
    Ok(Reply::Structure)
}
