//! Dom0's vCPUs.

use super::Dom0Error;
use crate::frames::PagingPool;
use crate::guest_msr::VcpuMsrs;
use crate::hypervisor::Hypervisor;
use crate::vcpu::{Vcpu, VcpuCore};
use alloc::boxed::Box;
use alloc::vec::Vec;
use xen_abi::shared_info::{VCPU_INFO_SIZE, XEN_LEGACY_MAX_VCPUS};
use xenolith_devices::lapic::Lapic;
use xenolith_hal::{DomId, Machine, Mfn, VcpuId};

/// Makes vCPUs that are down. The first 32 have a place in the shared page for their `vcpu_info`.
///
/// **Errors:** `NoMemory`.
pub fn make<M: Machine>(
    hv: &Hypervisor<M>,
    count: u32,
    owner: DomId,
    pool: &mut PagingPool,
    shared_info: Mfn,
) -> Result<Vec<Vcpu<M>>, Dom0Error> {
    hv.scheduler.reserve(count as usize).map_err(|_| Dom0Error::NoMemory("vCPUs"))?;
    let mut vcpus = Vec::new();
    vcpus.try_reserve_exact(count as usize).map_err(|_| Dom0Error::NoMemory("vCPUs"))?;
    for number in 0..count {
        let id = VcpuId(number);
        let mut source = pool.source(&hv.frames, &hv.machine, owner);
        let hardware = hv.machine.new_vcpu(&mut source).ok_or(Dom0Error::NoMemory("vCPUs"))?;
        let core = VcpuCore {
            hardware,
            lapic: Lapic::new(id),
            msrs: VcpuMsrs::with_mtrr(hv.settings.mtrr),
            tsc_offset: 0,
            nmi_pending: false,
            waits_for_startup: true,
        };
        let vcpu = Vcpu::new(id, Box::new(core), hv.scheduler.place(), hv.machine.now());
        if (number as usize) < XEN_LEGACY_MAX_VCPUS {
            vcpu.set_info_place(shared_info, number as usize * VCPU_INFO_SIZE);
        }
        vcpus.push(vcpu);
    }
    Ok(vcpus)
}
