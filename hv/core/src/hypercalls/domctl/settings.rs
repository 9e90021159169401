//! Settings of a domain: its UUID, its clocks, whether a debugger is attached.

use super::Request;
use crate::lifecycle::time::update_wall_clock;
use crate::outcome::{Answer, Outcome};
use crate::x86::chipset;
use core::sync::atomic::Ordering;
use xen_abi::Errno;
use xen_abi::domctl::DomctlTscInfo;
use xenolith_hal::Machine;

/// The last mode of the time stamp counter: never emulated. **Source:** Xen's `docs/man/xen-tscmode.7`.
const LAST_TSC_MODE: u32 = 2;
const TSC_NEVER_EMULATED: u32 = 2;

pub(super) fn set_domain_handle<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let handle = request.op.setdomainhandle().handle;
    request.domain()?.control.change(|state| state.handle = handle);
    Ok(Outcome::OK)
}

/// Implements `XEN_DOMCTL_setdebugging`: records that a debugger is attached, which has no effect.
///
/// **Errors:** `EINVAL` for the caller.
pub(super) fn set_debugging<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let debugged = request.op.setdebugging().enable != 0;
    request.other_domain()?.control.change(|state| state.debugged = debugged);
    Ok(Outcome::OK)
}

/// Implements `XEN_DOMCTL_settimeoffset`: sets the offset of the domain's wall clock from the machine's.
pub(super) fn set_time_offset<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let seconds = request.op.settimeoffset().time_offset_seconds;
    let domain = request.domain()?;
    domain.time_offset_seconds.store(seconds.cast_unsigned(), Ordering::SeqCst);
    update_wall_clock(request.call.hv, domain);
    let _ = chipset::with(request.call.hv, domain, |platform, now| platform.set_clock_offset(seconds, now));
    Ok(Outcome::OK)
}

/// Implements `XEN_DOMCTL_gettscinfo`: returns the TSC mode as it was set, and the machine's age.
///
/// **Errors:** `EINVAL` for the caller; `EFAULT`.
pub(super) fn get_tsc_info<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let hv = request.call.hv;
    let set = request.other_domain()?.control.state().tsc;
    let native = set.tsc_mode == TSC_NEVER_EMULATED;
    let told = DomctlTscInfo {
        gtsc_khz: if native { 0 } else { hv.settings.tsc_khz },
        elapsed_nsec: if native { 0 } else { hv.machine.now().0 },
        ..set
    };
    request.op.set_tsc_info(told);
    request.copy_back()
}

/// Implements `XEN_DOMCTL_settscinfo`: records the TSC mode. The counter is the machine's in every mode, so only a
/// domain that came from a machine of another rate could tell the difference.
///
/// **Errors:** `EINVAL` for the caller, and for a mode that does not exist.
pub(super) fn set_tsc_info<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let wanted = request.op.tsc_info();
    let domain = request.other_domain()?;
    if wanted.tsc_mode > LAST_TSC_MODE {
        return Err(Errno::EINVAL);
    }
    let incarnation = wanted.incarnation.wrapping_add(1);
    domain.control.change(|state| state.tsc = DomctlTscInfo { incarnation, pad: 0, ..wanted });
    Ok(Outcome::OK)
}
