//! Information about a domain and about a vCPU.

use super::Request;
use crate::domains::domain::{Domain, Life, Shutdown};
use crate::domains::hypervisor::Hypervisor;
use crate::outcome::Answer;
use xen_abi::domctl::{
    CreateFlags, DomainFlags, DomctlGetdomaininfo, XEN_DOMINF_SHUTDOWNSHIFT, XEN_INVALID_MAX_VCPU_ID,
};
use xen_abi::{Errno, Gfn, VcpuId};
use xenolith_hal::Machine;

/// The CPUID leaf whose lowest byte is the width of machine addresses, which guests have as well.
const ADDRESS_SIZES: u32 = 0x8000_0008;

/// Implements `XEN_DOMCTL_getdomaininfo` for the first domain whose number is the one given or above.
///
/// **Errors:** `ESRCH` past the last; `EINVAL` for a number that no domain can have.
pub(super) fn get_domain_info<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let hv = request.call.hv;
    let asked = request.op.domain;
    if request.target.is_none() {
        if !asked.is_ordinary() {
            return Err(Errno::EINVAL);
        }
        request.target = hv.domains.first_from(asked);
    }
    let info = domain_info(hv, request.domain()?);
    request.op.domain = info.domain;
    request.op.set_getdomaininfo(info);
    request.copy_back()
}

/// Builds the answer of `XEN_DOMCTL_getdomaininfo` and `XEN_SYSCTL_getdomaininfolist` for a domain.
pub fn domain_info<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) -> DomctlGetdomaininfo {
    let now = hv.machine.now();
    let mut info = DomctlGetdomaininfo {
        domain: domain.id,
        max_vcpu_id: XEN_INVALID_MAX_VCPU_ID,
        ..DomctlGetdomaininfo::default()
    };
    let mut flags = DomainFlags::BLOCKED;
    for vcpu in &domain.vcpus {
        info.cpu_time = info.cpu_time.saturating_add(vcpu.runstate.lock().ran_ns(now));
        info.max_vcpu_id = vcpu.id.0;
        if vcpu.is_up() {
            let blocked = vcpu.is_blocked() || vcpu.is_waiting();
            flags.set(DomainFlags::BLOCKED, flags.contains(DomainFlags::BLOCKED) && blocked);
            flags.set(DomainFlags::RUNNING, flags.contains(DomainFlags::RUNNING) || vcpu.is_running());
            info.nr_online_vcpus = info.nr_online_vcpus.saturating_add(1);
        }
    }
    if info.nr_online_vcpus == 0 {
        flags = DomainFlags::empty();
    }
    let state = domain.control.state();
    let options = domain.control.options();
    let shutdown = domain.shutdown_reason();
    flags.set(DomainFlags::DYING, domain.life() == Life::Dead);
    flags.set(DomainFlags::SHUTDOWN, shutdown != Shutdown::NONE);
    flags.set(DomainFlags::PAUSED, state.pauses > 0);
    flags.set(DomainFlags::DEBUGGED, state.debugged);
    flags.set(DomainFlags::XS_DOMAIN, options.flags.contains(CreateFlags::XS_DOMAIN));
    flags.set(DomainFlags::HVM_GUEST, options.flags.contains(CreateFlags::HVM));
    flags.set(DomainFlags::HAP, options.flags.contains(CreateFlags::HAP));
    // As real Xen has it: no reason at all shows as ones.
    info.flags = DomainFlags(flags.0 | shutdown.0 << XEN_DOMINF_SHUTDOWNSHIFT);
    if let Some(account) = hv.frames.account(domain.id) {
        info.tot_pages = account.total_with_cache().into();
        info.max_pages = account.max().into();
        info.outstanding_pages = account.claimed().into();
    }
    info.shared_info_frame = domain.physmap.shared_info_place().unwrap_or(Gfn::INVALID);
    info.handle = state.handle;
    info.gpaddr_bits = (hv.machine.cpuid(ADDRESS_SIZES, 0).eax & 0xff) as u8;
    info.arch_config.emulation_flags = options.arch.emulation_flags;
    info
}

/// Implements `XEN_DOMCTL_getvcpuinfo`.
///
/// **Errors:** `EINVAL` for a vCPU that the domain cannot have, `ESRCH` for one that was not created yet.
pub(super) fn get_vcpu_info<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let mut info = request.op.getvcpuinfo();
    let domain = request.domain()?;
    require_possible(domain, info.vcpu)?;
    let vcpu = domain.vcpu(info.vcpu).ok_or(Errno::ESRCH)?;
    info.online = u8::from(vcpu.is_up());
    info.blocked = u8::from(vcpu.is_blocked() || vcpu.is_waiting());
    info.running = u8::from(vcpu.is_running());
    info.cpu_time = vcpu.runstate.lock().ran_ns(request.call.hv.machine.now());
    info.cpu = vcpu.processor().0;
    request.op.set_getvcpuinfo(info);
    request.copy_back()
}

/// Checks that the domain can have the vCPU.
///
/// **Errors:** `EINVAL` for a vCPU past the last that the domain may have.
pub(super) fn require_possible<M: Machine>(domain: &Domain<M>, vcpu: VcpuId) -> Result<(), Errno> {
    if vcpu.0 < domain.control.options().max_vcpus { Ok(()) } else { Err(Errno::EINVAL) }
}
