//! Building the first domain (dom0), before anything runs.
#![expect(clippy::disallowed_methods, reason = "only at boot: without room for it there is no dom0")]

mod firmware;
mod kernel;
mod memory;
mod start_info;

pub use firmware::FirmwareTables;
pub use kernel::KernelError;
pub use memory::HostRegion;

use crate::components::control::{CreateOptions, DomainControl};
use crate::components::devices::{DevicePlan, HostDevices};
use crate::components::event_channel::EventChannels;
use crate::components::grant::{GrantTable, Limits, Source};
use crate::components::port_rights::PortRights;
use crate::domains::domain::{Domain, DomainParts};
use crate::domains::hypervisor::{DomainRef, Hypervisor};
use crate::domains::vcpu::Vcpu;
use crate::lifecycle::making;
use crate::lifecycle::making::VcpuPlan;
use crate::lifecycle::time::update_wall_clock;
use crate::memory::frames::PagingPool;
use crate::memory::guest_memory::write_physical;
use crate::memory::physmap::{Memory, Physmap};
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;
use kernel::{Kernel, Segment};
use start_info::Placed;
use xen_abi::domctl::{ArchDomainconfig, EmulationFlags, MiscFlags};
use xenolith_devices::cpuid::{Capabilities, CpuidTable};
use xenolith_devices::ports::{Dom0Ports, PortOwner};
use xenolith_hal::{CpuId, CpuState, DomId, Gpa, GuestCpu, LogLevel, Machine, Mfn, PAGE_SIZE, Unconfined, VcpuId};
use xenolith_sched::{CpuSet, Settings};
use xenolith_sync::Room;

/// The parameters of dom0.
pub struct Dom0Plan<'a> {
    /// The file of its kernel.
    pub kernel: &'a [u8],
    /// Its kernel's command line.
    pub command_line: &'a str,
    /// Its initial file system.
    pub ramdisk: Option<&'a [u8]>,
    /// The most memory that it starts with, in pages.
    pub pages: u64,
    /// The most pages that it may ever have; it starts with no more.
    pub most_pages: u32,
    pub vcpus: u32,
    /// Each vCPU runs on one CPU alone, in the order of the CPUs, over and over.
    pub vcpus_pinned: bool,
    /// The machine's memory map, lowest first.
    pub host_map: &'a [HostRegion],
    /// The firmware's tables that dom0 is shown.
    pub firmware: FirmwareTables<'a>,
    /// The ports that differ from machine to machine.
    pub ports: Dom0Ports,
    /// Pages of devices that the hypervisor keeps to itself.
    pub hidden_pages: &'a [Mfn],
    /// The features of the CPUs that guests may use.
    pub capabilities: Capabilities,
    /// DMA of devices must be confined to dom0's memory. Without that devices reach all of the machine's memory, and
    /// wrong pages for what other domains granted to dom0.
    pub confine_devices: bool,
    /// The machine's devices, which are passed through to dom0.
    pub devices: DevicePlan<'a>,
}

/// Why dom0 could not be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dom0Error {
    Kernel(KernelError),
    /// The hypervisor's heap, or dom0's paging pool, is too small for this.
    NoMemory(&'static str),
    /// Dom0's memory is not where the kernel must be loaded, or has no room for the rest.
    DoesNotFit,
    /// The machine refused the state that a kernel starts in.
    State,
    /// DMA of the devices cannot be confined.
    Unconfined(Unconfined),
}

impl fmt::Display for Dom0Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => error.fmt(f),
            Self::NoMemory(what) => write!(f, "not enough memory for dom0's {what}; give the machine more"),
            Self::DoesNotFit => {
                f.write_str("dom0's kernel and ramdisk do not fit in its memory; give it more by dom0_mem=")
            }
            Self::Unconfined(Unconfined::NoIommu) => f.write_str(
                "there is no IOMMU that could confine the devices; dom0-iommu=none starts dom0 without, unprotected",
            ),
            Self::Unconfined(Unconfined::NoMemory) => {
                f.write_str("not enough memory for the IOMMU's tables; give the machine more")
            }
            Self::State => f.write_str("the processor refuses the state in which a PVH kernel starts"),
        }
    }
}

impl From<KernelError> for Dom0Error {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

/// The address port of PCI configuration. Narrower accesses to it reach other registers of the chipset, which are
/// dom0's too.
const ADDRESS_PORT: RangeInclusive<u16> = 0xcf8..=0xcfb;
/// The highest event channel port of dom0.
const HIGHEST_PORT: u32 = i32::MAX as u32;
/// Returns the pages of page tables: enough for all of dom0's memory in 4 KiB pages, and as much again for what it maps
/// of other domains; all of it once for CPUs and once for devices.
const fn pool_pages(pages: u64) -> u32 {
    let tables = (pages / 128).saturating_add(2048);
    if tables > u32::MAX as u64 { u32::MAX } else { tables as u32 }
}

/// Returns the pages to leave free beside a dom0 of `pages`: for page tables that map all of them as 4 KiB pages, once
/// for CPUs and once for devices, for its vCPUs, and for what is allocated while it starts.
#[must_use]
pub const fn pages_beside(pages: u64, vcpus: u32) -> u64 {
    const OTHERS: u64 = 1024;
    const PER_VCPU: u64 = 16;
    (pages / 256).saturating_add((vcpus as u64).saturating_mul(PER_VCPU)).saturating_add(OTHERS)
}

/// Builds dom0 and unpauses its first vCPU, which starts when a CPU enters its loop.
///
/// **Errors:** [`Dom0Error`]. Nothing can go on then.
pub fn build<M: Machine>(hv: &Hypervisor<M>, plan: &Dom0Plan<'_>) -> Result<DomainRef<M>, Dom0Error> {
    let kernel = Kernel::parse(plan.kernel)?;
    let domain = make_domain(hv, plan)?;
    let memory = domain_memory(hv, &domain);
    if let Some(account) = hv.frames.account(domain.id) {
        account.set_max(u32::MAX);
    }
    let mut layout =
        memory::populate(&memory, plan.host_map, plan.pages).map_err(|_| Dom0Error::NoMemory("page tables"))?;
    memory::show_first_megabyte(&memory).map_err(|_| Dom0Error::NoMemory("first megabyte"))?;
    let _ = domain.device_space.set(memory::device_space(plan.host_map, plan.hidden_pages));
    hv.machine.log(
        LogLevel::Info,
        false,
        format_args!("Dom0 has {} MiB of memory, {} vCPUs", layout.pages >> 8, plan.vcpus),
    );
    give_devices(hv, &domain, &plan.devices);
    load(hv, &domain, &kernel)?;
    let rsdp = firmware::place(hv, &domain, &mut layout, plan)?;
    domain.physmap.set_memory_map(start_info::memory_map(&layout));
    let placed = start_info::place(hv, &domain, &layout, &kernel, plan, rsdp)?;
    start(hv, &domain, &kernel, &placed)?;
    if let Some(account) = hv.frames.account(domain.id) {
        account.set_max(plan.most_pages);
    }
    hv.domains.insert(domain.clone()).map_err(|_| Dom0Error::NoMemory("entry in the list of domains"))?;
    update_wall_clock(hv, &domain);
    if plan.vcpus_pinned {
        pin_vcpus(hv, &domain);
    }
    if let Some(first) = domain.vcpu(VcpuId(0)) {
        first.bring_up();
        hv.scheduler.wake(&hv.machine, &domain, first);
    }
    Ok(domain)
}

/// Pins each vCPU to one CPU: to the first CPU the first, and again from the first when there are no more.
fn pin_vcpus<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    let online: Vec<CpuId> = hv.scheduler.online().iter().collect();
    for (vcpu, cpu) in domain.vcpus.iter().zip(online.iter().copied().cycle()) {
        let before = vcpu.schedule.settings();
        if let Ok(pinned) = Settings::new(before.weight(), before.cap_percent(), CpuSet::only(cpu), before.soft()) {
            hv.scheduler.set(&hv.machine, domain, vcpu, pinned);
        }
    }
}

fn domain_memory<'a, M: Machine>(hv: &'a Hypervisor<M>, domain: &'a Domain<M>) -> Memory<'a, M, M::Space> {
    Memory { owner: domain.id, frames: &hv.frames, pages: &hv.machine, space: &domain.space, physmap: &domain.physmap }
}

fn make_domain<M: Machine>(hv: &Hypervisor<M>, plan: &Dom0Plan<'_>) -> Result<DomainRef<M>, Dom0Error> {
    let id = DomId::DOM0;
    let physmap = Physmap::new(PagingPool::new(pool_pages(plan.pages)));
    let space = physmap
        .with_pool(|pool| hv.machine.new_space(&mut pool.source(&hv.frames, &hv.machine, id)))
        .ok_or(Dom0Error::NoMemory("translation"))?;
    if plan.confine_devices {
        physmap
            .with_pool(|pool| hv.machine.confine_devices(&space, &mut pool.source(&hv.frames, &hv.machine, id)))
            .map_err(Dom0Error::Unconfined)?;
    }
    let shared = hv.frames.take_shared(&hv.machine, id).ok_or(Dom0Error::NoMemory("shared page"))?;
    let shared_info = shared.mfn();
    let vcpu_plan = VcpuPlan { count: plan.vcpus, owner: id, shared_info, mtrr: hv.settings.mtrr };
    let vcpus =
        physmap.with_pool(|pool| making::make(hv, &vcpu_plan, pool)).map_err(|_| Dom0Error::NoMemory("vCPUs"))?;
    let source = Source { frames: &hv.frames, pages: &hv.machine, owner: id };
    let grants = GrantTable::new(Limits::at_most(hv.settings.grants), &source)
        .map_err(|_| Dom0Error::NoMemory("grant table"))?;
    let host = |leaf, subleaf| hv.machine.cpuid(leaf, subleaf);
    let emulation_flags = EmulationFlags::LAPIC | EmulationFlags::IOAPIC | EmulationFlags::VPCI;
    let arch = ArchDomainconfig { emulation_flags, misc_flags: MiscFlags(0) };
    let options = CreateOptions { arch, ..CreateOptions::pvh(plan.vcpus) };
    let parts = DomainParts {
        events: EventChannels::new(id, plan.vcpus, HIGHEST_PORT).map_err(|_| Dom0Error::NoMemory("event channels"))?,
        physmap,
        grants,
        privileged: true,
        vcpus,
        space,
        shared_info,
        cpuid: CpuidTable::for_guest(&host, plan.capabilities, true),
        ports: PortRights::control(plan.ports),
    };
    open_ports(hv, &parts.vcpus, plan.ports);
    let room = Room::try_new().ok_or(Dom0Error::NoMemory("domain"))?;
    Ok(Domain::controlled(room, parts, DomainControl::new(options, 0)))
}

/// Opens the ports of dom0's own devices to it, so that they cause no exits. The port of the power-management timer can
/// only be read, and the address port of PCI configuration only selects: accesses to the data port still exit.
fn open_ports<M: Machine>(hv: &Hypervisor<M>, vcpus: &[Vcpu<M>], ports: Dom0Ports) {
    let is_harmless = |port| match ports.owner(port) {
        PortOwner::Machine | PortOwner::PmTimer => true,
        PortOwner::PciConfig => ADDRESS_PORT.contains(&port),
        PortOwner::Nobody | PortOwner::Pit | PortOwner::Rtc | PortOwner::DebugConsole | PortOwner::Platform => false,
    };
    hv.machine.open_ports(&is_harmless);
    for vcpu in vcpus {
        vcpu.with_core(|core| core.hardware.use_open_ports());
    }
}

/// Passes the machine's devices through to dom0.
fn give_devices<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, plan: &DevicePlan<'_>) {
    let devices = HostDevices::new(&hv.machine, plan);
    let found = devices.function_count();
    hv.machine.log(LogLevel::Info, false, format_args!("Dom0 has {found} PCI functions"));
    let _ = domain.devices.set(devices);
}

/// Copies the kernel to its load address.
fn load<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, kernel: &Kernel<'_>) -> Result<(), Dom0Error> {
    for Segment { to, bytes, zeros } in &kernel.segments {
        write(hv, domain, *to, bytes)?;
        let mut at = to.checked_add(bytes.len() as u64).ok_or(Dom0Error::DoesNotFit)?;
        let mut left = *zeros;
        while left > 0 {
            let part = left.min(PAGE_SIZE as u64);
            write(hv, domain, at, ZEROS.get(..part as usize).unwrap_or(&[]))?;
            at = at.checked_add(part).ok_or(Dom0Error::DoesNotFit)?;
            left = left.saturating_sub(part);
        }
    }
    Ok(())
}

const ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

fn write<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, to: Gpa, bytes: &[u8]) -> Result<(), Dom0Error> {
    write_physical(&hv.machine, &domain.space, to, bytes).map_err(|_| Dom0Error::DoesNotFit)
}

fn start<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    kernel: &Kernel<'_>,
    placed: &Placed,
) -> Result<(), Dom0Error> {
    let info = u32::try_from(placed.start_info.0).map_err(|_| Dom0Error::DoesNotFit)?;
    let state = CpuState::at_pvh_entry(kernel.entry, info);
    hv.machine.log(
        LogLevel::Info,
        false,
        format_args!("Dom0 kernel: {:#x}-{:#x}, entry {:#x}", kernel.start.0, kernel.end.0, kernel.entry),
    );
    let first = domain.vcpu(VcpuId(0)).ok_or(Dom0Error::State)?;
    first.with_core(|core| core.hardware.set_state(&state)).and_then(Result::ok).ok_or(Dom0Error::State)
}
