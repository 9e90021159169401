//! What CPUID tells a domain, and which virtual interrupts of the machine it handles.

use super::{Request, cpu_policy};
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xenolith_hal::Machine;

/// **Errors:** as [`cpu_policy::get_cpu_policy`].
pub(super) fn get_cpu_policy<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let mut policy = request.op.cpu_policy();
    cpu_policy::get_cpu_policy(request.call, request.domain()?, &mut policy)?;
    request.op.set_cpu_policy(policy);
    request.copy_back()
}

/// **Errors:** `EINVAL` for the caller; `EEXIST` for a domain that was let go once; and as
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

/// Lets a domain handle a virtual interrupt of the machine from now on.
///
/// **Errors:** `EINVAL` for one that is not the machine's, and for a domain that is ending.
pub(super) fn set_virq_handler<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let domain = request.domain()?;
    if domain.is_dying() {
        return Err(Errno::EINVAL);
    }
    request.call.hv.global_virqs.set_handler(request.op.set_virq_handler().virq, domain.id)?;
    Ok(Outcome::OK)
}
