//! Creating a domain, and its vCPUs.

use super::scheduling::apply_share;
use super::{Request, chosen};
use crate::components::chipset::Chipset;
use crate::components::control::{CreateOptions, DomainControl};
use crate::components::event_channel::{BUCKET_BYTES, EventChannels, PORTS_PER_BUCKET};
use crate::components::grant::{FRAME_BYTES, GrantTable, Limits, MAPTRACK_FRAME_BYTES};
use crate::components::ioreq::{DeviceModel, MOST_SERVERS};
use crate::components::port_rights::PortRights;
use crate::domains::domain::{Domain, DomainParts};
use crate::domains::hypervisor::{DomainRef, Hypervisor};
use crate::lifecycle::ioreq_servers;
use crate::lifecycle::making;
use crate::lifecycle::making::VcpuPlan;
use crate::lifecycle::time::update_wall_clock;
use crate::memory::frames::PagingPool;
use crate::memory::physmap::Physmap;
use crate::outcome::{Answer, Outcome};
use crate::x86::chipset;
use alloc::boxed::Box;
use xen_abi::domctl::{
    CreateFlags, DomctlCreatedomain, EmulationFlags, IommuOptions, MiscFlags, XEN_DOMCTL_GRANT_VERSION_MASK,
};
use xen_abi::{DomId, Errno};
use xenolith_devices::msr::Mtrr;
use xenolith_hal::{GuestCpu, LogLevel, Machine, NestedSpace};
use xenolith_sync::{Room, try_box};

/// The most vCPUs of a domain. **Source:** Xen's `HVM_MAX_VCPUS`.
const MOST_VCPUS: u32 = 128;
/// The size of the paging pool before the toolstack sets it, in pages. **Source:** Xen's `hap_enable`.
const FIRST_POOL_PAGES: u32 = 256;
/// The most that one domain may make the hypervisor use of its heap. It does for all grant frames and ports of xl's
/// defaults and for 50,000 mappings of others' grants; xl allows five times as many, and asks no memory of the domain for
/// them.
const MOST_HEAP_BYTES: u64 = 4 << 20;
/// What an HVM guest has. **Source:** observed of Xen 4.17: this, or a local APIC alone.
const HVM_PLATFORM: EmulationFlags = EmulationFlags::all().difference(EmulationFlags::VPCI);
/// The only cpupool, and none at all.
const POOLS: [u32; 2] = [0, u32::MAX];

/// Implements `XEN_DOMCTL_createdomain`: creates a domain without memory, without vCPUs, and paused once.
///
/// **Errors:** `EEXIST` for a number that is taken; `EINVAL` for options that Xen refuses, and for features that are
/// missing: PV, shadow page tables, devices, nested virtualisation, performance counters; `EOPNOTSUPP` for a part of a PC's
/// chipset; `ESRCH` for another cpupool; `ENOMEM`.
pub(super) fn create<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let hv = request.call.hv;
    let wanted = request.op.createdomain();
    let id = if chosen(request.op.domain) {
        if hv.domains.get(request.op.domain).is_some() {
            return Err(Errno::EEXIST);
        }
        request.op.domain
    } else {
        hv.domains.free_number().ok_or(Errno::ENOMEM)?
    };
    if let Some(missing) = missing(&wanted) {
        hv.machine.log(LogLevel::Warning, true, format_args!("createdomain is refused: {missing}"));
    }
    let limits = check(&wanted, Limits::at_most(hv.settings.grants))?;
    let domain = make(hv, id, &wanted, limits)?;
    if let Err(errno) = hv.domains.insert(domain.clone()) {
        give_back(hv, &domain);
        return Err(errno);
    }
    update_wall_clock(hv, &domain);
    request.op.domain = id;
    request.copy_back()
}

fn require(condition: bool) -> Result<(), Errno> {
    if condition { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Returns what the options ask for that Xen has and that is not in this build, as a sentence with its remedy.
fn missing(wanted: &DomctlCreatedomain) -> Option<&'static str> {
    if !wanted.flags.contains(CreateFlags::HVM) {
        Some("PV guests are not in this build; type=\"pvh\" starts most of their kernels")
    } else if !wanted.flags.contains(CreateFlags::HAP) {
        Some("shadow page tables are not in this build; leave hap=0 away")
    } else if wanted.flags.contains(CreateFlags::NESTED_VIRT) {
        Some("nested virtualisation is not in this build; leave nestedhvm=1 away")
    } else if wanted.flags.contains(CreateFlags::IOMMU) {
        Some("devices of the machine cannot be passed to guests in this build; leave pci=[...] away")
    } else if wanted.flags.contains(CreateFlags::VPMU) {
        Some("performance counters for guests are not in this build; leave vpmu=1 away")
    } else {
        None
    }
}

/// Checks the options, and returns the limits of the grant table, which are `most` where the options name no lower ones.
fn check(wanted: &DomctlCreatedomain, most: Limits) -> Result<Limits, Errno> {
    let known = CreateFlags::HVM | CreateFlags::HAP | CreateFlags::OOS_OFF | CreateFlags::XS_DOMAIN;
    require(wanted.flags.difference(known).is_empty())?;
    require(wanted.flags.contains(CreateFlags::HVM | CreateFlags::HAP))?;
    require((1..=MOST_VCPUS).contains(&wanted.max_vcpus))?;
    require(wanted.iommu_opts == IommuOptions(0) && wanted.vmtrace_size == 0)?;
    require(wanted.arch.misc_flags.difference(MiscFlags::MSR_RELAXED).is_empty())?;
    require(EmulationFlags::all().contains(wanted.arch.emulation_flags))?;
    if ![EmulationFlags::LAPIC, HVM_PLATFORM].contains(&wanted.arch.emulation_flags) {
        return Err(Errno::EOPNOTSUPP);
    }
    require(wanted.grant_opts & !XEN_DOMCTL_GRANT_VERSION_MASK == 0)?;
    require((1..=most.version).contains(&wanted.grant_opts))?;
    if !POOLS.contains(&wanted.cpupool_id) {
        return Err(Errno::ESRCH);
    }
    let or_default = |asked: i32, most: u32| u32::try_from(asked).unwrap_or(most);
    let limits = Limits {
        frames: or_default(wanted.max_grant_frames, most.frames),
        maptrack_frames: or_default(wanted.max_maptrack_frames, most.maptrack_frames),
        version: wanted.grant_opts,
    };
    require((1..=most.frames).contains(&limits.frames))?;
    require(limits.maptrack_frames <= most.maptrack_frames)?;
    Ok(limits)
}

/// Computes the domain's heap budget in bytes: what its limits allow, but never more than [`MOST_HEAP_BYTES`].
fn heap_budget(limits: Limits, highest_port: u32) -> u64 {
    let buckets = u64::from(highest_port / PORTS_PER_BUCKET).saturating_add(1);
    let ports = buckets.saturating_mul(BUCKET_BYTES);
    // A frame of status words goes with some of entries.
    let frames = u64::from(limits.frames).saturating_mul(FRAME_BYTES.saturating_mul(2));
    let mappings = u64::from(limits.maptrack_frames).saturating_mul(MAPTRACK_FRAME_BYTES);
    ports.saturating_add(frames).saturating_add(mappings).min(MOST_HEAP_BYTES)
}

fn make<M: Machine>(
    hv: &Hypervisor<M>,
    id: DomId,
    wanted: &DomctlCreatedomain,
    limits: Limits,
) -> Result<DomainRef<M>, Errno> {
    let account = hv.frames.account(id).ok_or(Errno::ENOMEM)?;
    account.set_max(0);
    let is_hvm = wanted.arch.emulation_flags == HVM_PLATFORM;
    let servers =
        if is_hvm { ioreq_servers::heap_bytes(wanted.max_vcpus).saturating_mul(MOST_SERVERS as u64) } else { 0 };
    account.begin_heap(heap_budget(limits, wanted.max_evtchn_port).saturating_add(servers));
    let model = if is_hvm { Some(hvm_parts(hv)?) } else { None };
    let room = Room::try_new().ok_or(Errno::ENOMEM)?;
    let events = EventChannels::new(id, wanted.max_vcpus, wanted.max_evtchn_port.min(i32::MAX as u32))?;
    let cpuid = hv.default_policy().clone();
    let physmap = Physmap::new(PagingPool::new(FIRST_POOL_PAGES).with_vcpus(wanted.max_vcpus, M::Vcpu::FRAMES));
    // From here on frames are taken, which must go back if one of them is missing.
    let grants = GrantTable::new(limits, &hv.grant_source(id)).map_err(|_| Errno::ENOMEM)?;
    let Some(shared) = hv.frames.take_shared(&hv.machine, id) else {
        grants.give_up(&hv.frames);
        return Err(Errno::ENOMEM);
    };
    let source = |pool: &mut PagingPool| hv.machine.new_space(&mut pool.source(&hv.frames, &hv.machine, id));
    let Some(space) = physmap.with_pool(source) else {
        grants.give_up(&hv.frames);
        hv.frames.release_shared(shared);
        return Err(Errno::ENOMEM);
    };
    let options =
        CreateOptions { max_vcpus: wanted.max_vcpus, flags: wanted.flags, arch: wanted.arch, handle: wanted.handle };
    let parts = DomainParts {
        events,
        physmap,
        grants,
        privileged: false,
        vcpus: alloc::vec::Vec::new(),
        space,
        shared_info: shared.mfn(),
        cpuid,
        ports: if is_hvm { PortRights::hvm() } else { PortRights::none() },
    };
    let domain = Domain::controlled(room, parts, DomainControl::new(options, 1));
    if let Some((model, chipset)) = model {
        domain.params.give_platform();
        let _first = (domain.device_model.set(model), domain.chipset.set(chipset));
    }
    domain.own_shared_page(shared);
    Ok(domain)
}

/// Makes what an HVM guest has beside a PVH guest.
///
/// **Errors:** `ENOMEM`.
fn hvm_parts<M: Machine>(hv: &Hypervisor<M>) -> Result<(Box<DeviceModel>, Box<Chipset>), Errno> {
    let model = try_box(DeviceModel::default()).map_err(|_| Errno::ENOMEM)?;
    let chipset = try_box(Chipset::new(chipset::moment(hv))).map_err(|_| Errno::ENOMEM)?;
    Ok((model, chipset))
}

/// Frees what was allocated for a domain that no one has seen.
fn give_back<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    domain.grants.give_up(&hv.frames);
    if let Some(shared) = domain.give_up_shared_page() {
        hv.frames.release_shared(shared);
    }
    domain.physmap.with_pool(|pool| domain.space.tear_down(&mut pool.source(&hv.frames, &hv.machine, domain.id)));
}

/// Implements `XEN_DOMCTL_max_vcpus`: creates the vCPUs, as many as `max_vcpus` of the domain. Harmless if they exist
/// already.
///
/// **Errors:** `EINVAL` for another number and for the caller; `ENOMEM`.
pub(super) fn max_vcpus<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let hv = request.call.hv;
    let domain = request.other_domain()?;
    let count = request.op.max_vcpus().max;
    if count != domain.control.options().max_vcpus || domain.is_dying() {
        return Err(Errno::EINVAL);
    }
    if !domain.vcpus.is_empty() {
        return Ok(Outcome::OK);
    }
    let plan = VcpuPlan { count, owner: domain.id, shared_info: domain.shared_info, mtrr: Mtrr::default() };
    let made = domain.physmap.with_pool(|pool| making::make(hv, &plan, pool))?;
    if let Err(left) = domain.set_vcpus(made) {
        hv.scheduler.release(left.len());
        let _nobody_else_knows_them = domain.physmap.with_pool(|pool| making::tear_down(hv, &left, domain.id, pool));
    }
    apply_share(hv, domain, domain.control.state().share);
    Ok(Outcome::OK)
}
