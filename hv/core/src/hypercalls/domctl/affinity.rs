//! Hard and soft affinity of vCPUs.

use super::Request;
use super::info::require_possible;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::Vcpu;
use crate::hypercalls::ctl_bitmap::{read_set, write_set};
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::domctl::{AffinityFlags, DomctlVcpuaffinity};
use xenolith_hal::{CpuId, Machine};
use xenolith_sched::{CpuSet, Settings};

/// The number of NUMA nodes.
const NODES: u32 = 1;
/// Bits of a map of nodes. **Source:** Xen's `MAX_NUMNODES`.
const MOST_NODES: u32 = 64;

fn cpus<M: Machine>(request: &Request<'_, '_, M>) -> u32 {
    u32::try_from(request.call.hv.machine.cpu_count()).unwrap_or(u32::MAX)
}

/// Returns the vCPU and the arguments, checked.
///
/// **Errors:** `EINVAL` for a vCPU that the domain cannot have, for no flags, and for a map that is asked for and not
/// given; `ESRCH` for a vCPU that was not created yet.
fn arguments<'q, M: Machine>(request: &'q Request<'_, '_, M>) -> Result<(DomctlVcpuaffinity, &'q Vcpu<M>), Errno> {
    let wanted = request.op.vcpuaffinity();
    let domain = request.domain()?;
    require_possible(domain, wanted.vcpu)?;
    let vcpu = domain.vcpu(wanted.vcpu).ok_or(Errno::ESRCH)?;
    let missing = |flag, bitmap: &xen_abi::hypercall::CtlBitmap| wanted.flags.contains(flag) && bitmap.bitmap.is_null();
    if wanted.flags.is_empty()
        || missing(AffinityFlags::HARD, &wanted.cpumap_hard)
        || missing(AffinityFlags::SOFT, &wanted.cpumap_soft)
    {
        return Err(Errno::EINVAL);
    }
    Ok((wanted, vcpu))
}

/// Implements `XEN_DOMCTL_setvcpuaffinity`: sets a vCPU's hard or soft affinity or both, and returns the effective
/// maps.
///
/// **Errors:** `EINVAL` for arguments that make no sense, and for an affinity without an online CPU; `ESRCH`; `EBUSY`
/// while the vCPU has pinned itself, unless forced; `EFAULT`.
pub(super) fn set_vcpu_affinity<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let (wanted, vcpu) = arguments(request)?;
    let (hv, domain) = (request.call.hv, request.domain()?);
    let (memory, count) = (request.call.memory(), cpus(request));
    let online = hv.scheduler.online();
    if wanted.flags.contains(AffinityFlags::FORCE) {
        hv.scheduler.pin(&hv.machine, domain, vcpu, None);
    }
    let before = vcpu.schedule.settings();
    if wanted.flags.contains(AffinityFlags::HARD) {
        let hard = read_set(&memory, &wanted.cpumap_hard, count)?;
        if hard.intersection(&online).is_empty() {
            return Err(Errno::EINVAL);
        }
        if vcpu.schedule.pinned().is_some() {
            return Err(Errno::EBUSY);
        }
        set(hv, domain, vcpu, hard, before.soft());
        write_set(&memory, &wanted.cpumap_hard, &hard.intersection(&online), count)?;
    }
    if wanted.flags.contains(AffinityFlags::SOFT) {
        let soft = match read_set(&memory, &wanted.cpumap_soft, count) {
            Ok(soft) => soft,
            Err(errno) => {
                set(hv, domain, vcpu, before.hard(), before.soft());
                return Err(errno);
            }
        };
        let hard = vcpu.schedule.settings().hard();
        set(hv, domain, vcpu, hard, soft);
        write_set(&memory, &wanted.cpumap_soft, &soft.intersection(&online).intersection(&hard), count)?;
    }
    Ok(Outcome::OK)
}

/// Changes the affinity of a vCPU; its weight and cap stay.
fn set<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>, hard: CpuSet, soft: CpuSet) {
    let before = vcpu.schedule.settings();
    if let Ok(settings) = Settings::new(before.weight(), before.cap_percent(), hard, soft) {
        hv.scheduler.set(&hv.machine, domain, vcpu, settings);
    }
}

/// Implements `XEN_DOMCTL_getvcpuaffinity`.
///
/// **Errors:** `EINVAL` and `ESRCH` as above, `EFAULT`, `E2BIG` for a map that is far too long.
pub(super) fn get_vcpu_affinity<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let (wanted, vcpu) = arguments(request)?;
    let (memory, count) = (request.call.memory(), cpus(request));
    let settings = vcpu.schedule.settings();
    if wanted.flags.contains(AffinityFlags::HARD) {
        write_set(&memory, &wanted.cpumap_hard, &settings.hard(), count)?;
    }
    if wanted.flags.contains(AffinityFlags::SOFT) {
        write_set(&memory, &wanted.cpumap_soft, &settings.soft(), count)?;
    }
    Ok(Outcome::OK)
}

/// Implements `XEN_DOMCTL_setnodeaffinity`: there is one node, from which all memory comes.
///
/// **Errors:** `EINVAL` for a set without it; `EFAULT`.
pub(super) fn set_node_affinity<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let wanted = request.op.nodeaffinity();
    let nodes = read_set(&request.call.memory(), &wanted.nodemap, MOST_NODES)?;
    if nodes.contains(CpuId(0)) { Ok(Outcome::OK) } else { Err(Errno::EINVAL) }
}

/// Implements `XEN_DOMCTL_getnodeaffinity`.
///
/// **Errors:** `EFAULT`, `E2BIG`.
pub(super) fn get_node_affinity<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let wanted = request.op.nodeaffinity();
    write_set(&request.call.memory(), &wanted.nodemap, &CpuSet::first(NODES), MOST_NODES)?;
    Ok(Outcome::OK)
}
