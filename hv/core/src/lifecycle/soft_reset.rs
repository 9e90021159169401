//! The soft reset of a domain: its memory and its vCPUs' registers stay, and a kernel that was loaded by `kexec` finds what it
//! shares with the hypervisor as at the start. **Source:** `domctl.h`, `XEN_DOMCTL_soft_reset`; `sched.h`, `SHUTDOWN_soft_reset`.

use crate::budget::Budget;
use crate::components::event_channel::{self as events, Progress, ResetStart};
use crate::components::grant::World;
use crate::domains::domain::{Domain, Shutdown};
use crate::domains::hypervisor::Hypervisor;
use crate::lifecycle::event_domain::HostedDomain;
use crate::lifecycle::stopped::wait_until_stopped;
use crate::lifecycle::{ioreq_servers, making, waking};
use crate::memory::frames::ANYWHERE;
use crate::memory::populate::{Extent, populate_extent};
use core::sync::atomic::Ordering;
use xen_abi::Errno;
use xenolith_hal::{Machine, NestedSpace, PageKind, PageOrder};

/// Resets a domain that has shut down, and lets its vCPUs go on. To be called until it is done.
///
/// **Errors:** `EINVAL` for a domain that has not shut down; `EAGAIN` if ports were bound meanwhile; `ENOMEM`, and `EPERM` past
/// the domain's maximum, where there is no page to stand at the place of the shared one. The domain stays down.
pub fn soft_reset<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) -> Result<Progress, Errno> {
    if domain.shutdown_reason() == Shutdown::NONE {
        return Err(Errno::EINVAL);
    }
    if !wait_until_stopped(hv, &domain.vcpus) {
        return Ok(Progress::Again);
    }
    let (hosted, budget) = (HostedDomain::new(hv, domain), Budget::start(&hv.machine));
    let reset = |start| events::reset(&hosted, start, || budget.is_over(&hv.machine));
    // One that was begun goes on.
    let done = match reset(ResetStart::Continued) {
        Err(Errno::EBUSY) => reset(ResetStart::Fresh)?,
        begun => begun?,
    };
    if done == Progress::Again {
        return Ok(Progress::Again);
    }
    replace_shared_page(hv, domain)?;
    ioreq_servers::end_all(hv, domain, false);
    for vcpu in &domain.vcpus {
        vcpu.runstate_area.store(0, Ordering::SeqCst);
        making::place_info(vcpu, domain.shared_info);
    }
    while let Some(reference) = domain.let_go() {
        hv.frames.put_later(reference);
    }
    waking::resume(hv, domain);
    Ok(Progress::Done)
}

/// Puts memory where the domain sees its shared page: the next kernel takes the place for its own.
fn replace_shared_page<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) -> Result<(), Errno> {
    let Some(gfn) = domain.physmap.shared_info_place() else { return Ok(()) };
    if domain.space.lookup(gfn).is_none_or(|there| there.kind != PageKind::Shared || there.mfn != domain.shared_info) {
        return Ok(());
    }
    populate_extent(&hv.memory(domain), Extent { gfn, order: PageOrder::SIZE_4K }, ANYWHERE)
}
