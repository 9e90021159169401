//! A domain's CPU policy, and the global VIRQs that it handles.

use super::{Request, cpu_policy};
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xenolith_hal::Machine;

/// Implements `XEN_DOMCTL_get_cpu_policy`.
///
/// **Errors:** as [`cpu_policy::get_cpu_policy`].
pub(super) fn get_cpu_policy<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let mut policy = request.op.cpu_policy();
    cpu_policy::get_cpu_policy(request.call, request.domain()?, &mut policy)?;
    request.op.set_cpu_policy(policy);
    request.copy_back()
}

/// Implements `XEN_DOMCTL_set_cpu_policy`.
///
/// **Errors:** `EINVAL` for the caller; `EEXIST` for a domain that was unpaused once; and as
/// [`cpu_policy::set_cpu_policy`], which come with the leaf, subleaf or MSR that is wrong.
pub(super) fn set_cpu_policy<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let mut policy = request.op.cpu_policy();
    let domain = request.other_domain()?;
    if domain.control.state().started {
        return Err(Errno::EEXIST);
    }
    if let Err(errno) = cpu_policy::set_cpu_policy(request.call, domain, &mut policy) {
        request.op.set_cpu_policy(policy);
        request.copy_back()?;
        return Err(errno);
    }
    Ok(Outcome::OK)
}

/// Implements `XEN_DOMCTL_set_virq_handler`: makes a domain handle a global VIRQ from now on.
///
/// **Errors:** `EINVAL` for one that is not global, and for a domain that is dying.
pub(super) fn set_virq_handler<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let domain = request.domain()?;
    if domain.is_dying() {
        return Err(Errno::EINVAL);
    }
    request.call.hv.global_virqs.set_handler(request.op.set_virq_handler().virq, domain.id)?;
    Ok(Outcome::OK)
}
