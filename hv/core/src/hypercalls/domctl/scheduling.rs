//! Weight and cap of a domain.

use super::Request;
use crate::components::control::Share;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::domctl::{
    DomctlSchedCredit2, XEN_DOMCTL_SCHEDOP_GETINFO, XEN_DOMCTL_SCHEDOP_PUTINFO, XEN_SCHEDULER_CREDIT2,
};
use xenolith_hal::Machine;
use xenolith_sched::Settings;

/// Implements `XEN_DOMCTL_scheduler_op`: gets or sets a domain's weight and cap. A weight of 0 leaves the weight
/// unchanged.
///
/// **Errors:** `EINVAL` for another scheduler than credit2, and for an operation that it does not have; `EFAULT`.
pub(super) fn scheduler_op<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let mut op = request.op.scheduler_op();
    if op.sched_id != XEN_SCHEDULER_CREDIT2 {
        return Err(Errno::EINVAL);
    }
    let control = &request.domain()?.control;
    match op.cmd {
        XEN_DOMCTL_SCHEDOP_GETINFO => {
            let Share { weight, cap } = control.state().share;
            op.set_credit2(DomctlSchedCredit2 { weight, cap });
        }
        XEN_DOMCTL_SCHEDOP_PUTINFO => {
            let DomctlSchedCredit2 { weight, cap } = op.credit2();
            let share = control.change(|state| {
                let weight = if weight == 0 { state.share.weight } else { weight };
                state.share = Share { weight, cap };
                state.share
            });
            apply_share(request.call.hv, request.domain()?, share);
            return Ok(Outcome::OK);
        }
        _ => return Err(Errno::EINVAL),
    }
    request.op.set_scheduler_op(op);
    request.copy_back()
}

/// Sets each vCPU's part of the domain's weight and cap: the weight unchanged, the cap divided among them.
pub(super) fn apply_share<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, share: Share) {
    let count = u16::try_from(domain.vcpus.len()).unwrap_or(u16::MAX).max(1);
    let cap = share.cap.div_ceil(count);
    for vcpu in &domain.vcpus {
        let before = vcpu.schedule.settings();
        if let Ok(settings) = Settings::new(share.weight, cap, before.hard(), before.soft()) {
            hv.scheduler.set(&hv.machine, domain, vcpu, settings);
        }
    }
}
