//! Pausing, unpausing and destroying domains.

use super::Request;
use crate::components::event_channel::Progress;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::lifecycle::destruction;
use crate::lifecycle::stopped::wait_until_stopped;
use crate::lifecycle::waking;
use crate::outcome::{Answer, Outcome};
use crate::x86::chipset;
use xen_abi::Errno;
use xen_abi::domctl::{XEN_DOMCTL_SENDTRIGGER_NMI, XEN_DOMCTL_SENDTRIGGER_POWER, XEN_DOMCTL_SENDTRIGGER_SLEEP};
use xenolith_devices::platform::PowerEvent;
use xenolith_hal::Machine;

/// How often the toolstack may pause a domain. **Source:** Xen's `domain_pause_by_systemcontroller`.
const MOST_PAUSES: u32 = 255;

/// Implements `XEN_DOMCTL_pausedomain`: pauses a domain until it was unpaused as often.
///
/// **Errors:** `EINVAL` for the caller; `EOVERFLOW` for the 256th pause.
pub(super) fn pause<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let hv = request.call.hv;
    let domain = request.other_domain()?;
    let counted = domain.control.change(|state| {
        let more = state.pauses.saturating_add(1);
        let fits = more <= MOST_PAUSES;
        if fits {
            state.pauses = more;
        }
        fits
    });
    if !counted {
        return Err(Errno::EOVERFLOW);
    }
    waking::pause_all(hv, domain);
    if wait_until_stopped(hv, &domain.vcpus) {
        return Ok(Outcome::OK);
    }
    // A caller that pauses a domain may rely on it: the call is made again, as if it had not been made yet.
    domain.control.change(|state| state.pauses = state.pauses.saturating_sub(1));
    waking::unpause_all(hv, domain);
    request.again()
}

/// Implements `XEN_DOMCTL_unpausedomain`: takes one pause back.
///
/// **Errors:** `EINVAL` if the toolstack has not paused it.
pub(super) fn unpause<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let domain = request.domain()?;
    domain.control.change(|state| {
        state.pauses = state.pauses.checked_sub(1).ok_or(Errno::EINVAL)?;
        state.started |= state.pauses == 0;
        Ok::<(), Errno>(())
    })?;
    waking::unpause_all(request.call.hv, domain);
    Ok(Outcome::OK)
}

/// Implements `XEN_DOMCTL_resumedomain`: resumes a domain that has shut down.
///
/// **Errors:** `EINVAL` for the caller.
pub(super) fn resume<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    waking::resume(request.call.hv, request.other_domain()?);
    Ok(Outcome::OK)
}

/// Implements `XEN_DOMCTL_soft_reset`: see [`soft_reset()`](crate::lifecycle::soft_reset::soft_reset).
///
/// **Errors:** `EINVAL` for the caller, and for a domain that has not shut down; `EAGAIN`, `ENOMEM`, `EPERM`.
pub(super) fn soft_reset<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    match crate::lifecycle::soft_reset::soft_reset(request.call.hv, request.other_domain()?)? {
        Progress::Done => Ok(Outcome::OK),
        Progress::Again => request.again(),
    }
}

/// Implements `XEN_DOMCTL_destroydomain`: destroys a domain. Called again and again until nothing is left to be done.
///
/// **Errors:** `EINVAL` for the caller.
pub(super) fn destroy<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let domain = request.other_domain()?;
    match destruction::destroy(request.call.hv, domain) {
        destruction::Progress::Done => Ok(Outcome::OK),
        destruction::Progress::Again => request.again(),
    }
}

/// Implements `XEN_DOMCTL_sendtrigger`: presses a button. A PVH domain has none for power and sleep: they do nothing.
///
/// **Errors:** `ESRCH` for a vCPU that does not exist; `ENOSYS` for reset, INIT and triggers that do not exist.
pub(super) fn send_trigger<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let wanted = request.op.sendtrigger();
    let domain = request.domain()?;
    let vcpu = domain.vcpu(wanted.vcpu).ok_or(Errno::ESRCH)?;
    match wanted.trigger {
        XEN_DOMCTL_SENDTRIGGER_NMI => {
            vcpu.requests.post_nmi();
            waking::notify_number(request.call.hv, domain, vcpu.id);
            Ok(Outcome::OK)
        }
        XEN_DOMCTL_SENDTRIGGER_POWER => Ok(press(request.call.hv, domain, PowerEvent::PowerButton)),
        XEN_DOMCTL_SENDTRIGGER_SLEEP => Ok(press(request.call.hv, domain, PowerEvent::SleepButton)),
        _ => Err(Errno::ENOSYS),
    }
}

fn press<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, button: PowerEvent) -> Outcome {
    let _ = chipset::with(hv, domain, |platform, _| platform.note_power_event(button));
    Outcome::OK
}
