//! Information about the machine: CPUs, memory, topology.
//!
//! There is one NUMA node, and each CPU counts as a core of one socket.

use super::Reply;
use crate::hypercalls::Call;
use xen_abi::Errno;
use xen_abi::physdev::PhysdevPciDevice;
use xen_abi::sysctl::*;
use xenolith_hal::{CpuId, Machine, PAGE_SIZE};

/// The distance of a NUMA node to itself. **Source:** ACPI, table SLIT.
const DISTANCE_TO_ITSELF: u32 = 10;
/// The most devices that one call looks up; the caller sees how many were done and continues.
const MOST_DEVICES: u32 = 256;
/// Bits of an offset in a page.
const PAGE_BITS: u32 = PAGE_SIZE.trailing_zeros();

fn cpu_count<M: Machine>(call: &Call<'_, M>) -> u32 {
    u32::try_from(call.hv.machine.cpu_count()).unwrap_or(u32::MAX)
}

pub(super) fn physinfo<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let hv = call.hv;
    let cpus = cpu_count(call);
    let online = u32::try_from(hv.scheduler.online().iter().count()).unwrap_or(cpus);
    let (claimed, features) = (hv.frames.claimed_pages(), hv.host_policy().features());
    let mut hw_cap = [0; 8];
    hw_cap.iter_mut().zip(features.0).for_each(|(to, word)| *to = word);
    let mut capabilities = PhysCapabilities::HVM | PhysCapabilities::HAP | PhysCapabilities::GNTTAB_V1;
    capabilities.set(PhysCapabilities::GNTTAB_V2, hv.settings.grants.version >= 2);
    op.set_physinfo(SysctlPhysinfo {
        threads_per_core: 1,
        // Toolstacks divide one by the other to count the sockets.
        cores_per_socket: online,
        nr_cpus: online,
        max_cpu_id: cpus.saturating_sub(1),
        nr_nodes: 1,
        max_node_id: 0,
        cpu_khz: hv.settings.tsc_khz,
        capabilities,
        total_pages: hv.settings.ram_pages,
        free_pages: hv.frames.free_pages(),
        scrub_pages: 0,
        outstanding_pages: claimed,
        max_mfn: hv.frames.limit().0.saturating_sub(1),
        hw_cap,
        ..SysctlPhysinfo::default()
    });
    Ok(Reply::Structure)
}

/// Implements `XEN_SYSCTL_getcpuinfo`.
///
/// **Errors:** `EFAULT`.
pub(super) fn getcpuinfo<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let mut asked = op.getcpuinfo();
    let now = call.hv.machine.now();
    asked.nr_cpus = asked.max_cpus.min(cpu_count(call));
    for cpu in 0..asked.nr_cpus {
        let idletime = call.hv.scheduler.idle_ns(CpuId(cpu), now);
        call.memory().write_at(asked.info, cpu.into(), &SysctlCpuinfo { idletime })?;
    }
    op.set_getcpuinfo(asked);
    Ok(Reply::Structure)
}

/// Implements `XEN_SYSCTL_availheap`: returns all free memory, whatever its address.
pub(super) fn availheap<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let mut asked = op.availheap();
    let here = asked.node <= 0;
    let free_pages = if here { call.hv.frames.free_pages() } else { 0 };
    asked.avail_bytes = free_pages << PAGE_BITS;
    op.set_availheap(asked);
    Ok(Reply::Structure)
}

/// Implements `XEN_SYSCTL_cputopoinfo`.
///
/// **Errors:** `EFAULT`.
pub(super) fn cputopoinfo<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let mut asked = op.cputopoinfo();
    let cpus = cpu_count(call);
    if asked.cputopo.is_null() {
        asked.num_cpus = cpus;
    } else {
        asked.num_cpus = asked.num_cpus.min(cpus);
        for cpu in 0..asked.num_cpus {
            let place = SysctlCputopo { core: cpu, socket: 0, node: 0 };
            call.memory().write_at(asked.cputopo, cpu.into(), &place)?;
        }
    }
    op.set_cputopoinfo(asked);
    Ok(Reply::Structure)
}

/// Implements `XEN_SYSCTL_numainfo`.
///
/// **Errors:** `EFAULT`.
pub(super) fn numainfo<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let mut asked = op.numainfo();
    if asked.meminfo.is_null() && asked.distance.is_null() {
        asked.num_nodes = 1;
    } else if asked.num_nodes != 0 {
        asked.num_nodes = 1;
        if !asked.meminfo.is_null() {
            let memory = SysctlMeminfo {
                memsize: call.hv.frames.limit().0 << PAGE_BITS,
                memfree: call.hv.frames.free_pages() << PAGE_BITS,
            };
            call.memory().write(asked.meminfo, &memory)?;
        }
        if !asked.distance.is_null() {
            call.memory().write(asked.distance, &DISTANCE_TO_ITSELF)?;
        }
    }
    op.set_numainfo(asked);
    Ok(Reply::Structure)
}

/// Implements `XEN_SYSCTL_pcitopoinfo`: no firmware says to which node a device belongs. At most 256 devices are done
/// in one call.
///
/// **Errors:** `EINVAL` for a null list; `EFAULT`.
pub(super) fn pcitopoinfo<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let mut asked = op.pcitopoinfo();
    if asked.devs.is_null() || asked.nodes.is_null() {
        return Err(Errno::EINVAL);
    }
    asked.num_devs = asked.num_devs.min(MOST_DEVICES);
    for index in 0..u64::from(asked.num_devs) {
        let _: PhysdevPciDevice = call.memory().read_at(asked.devs, index)?;
        call.memory().write_at(asked.nodes, index, &XEN_INVALID_NODE_ID)?;
    }
    op.set_pcitopoinfo(asked);
    Ok(Reply::Structure)
}
