//! Creating vCPUs, and freeing what they took.

use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::{Vcpu, VcpuCore};
use crate::memory::frames::PagingPool;
use alloc::vec::Vec;
use xen_abi::Errno;
use xen_abi::shared_info::{VCPU_INFO_SIZE, XEN_LEGACY_MAX_VCPUS};
use xenolith_devices::msr::Mtrr;
use xenolith_hal::{DomId, GuestCpu, Machine, Mfn, VcpuId};
use xenolith_sync::try_box;

/// The parameters of new vCPUs.
pub struct VcpuPlan {
    pub count: u32,
    pub owner: DomId,
    /// The domain's shared_info page. The first 32 vCPUs have a place for their `vcpu_info` in it.
    pub shared_info: Mfn,
    /// The memory types that they start with.
    pub mtrr: Mtrr,
}

/// Creates vCPUs that are down.
///
/// **Errors:** `ENOMEM`; the vCPUs created so far are freed.
#[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
pub fn make<M: Machine>(hv: &Hypervisor<M>, plan: &VcpuPlan, pool: &mut PagingPool) -> Result<Vec<Vcpu<M>>, Errno> {
    let mut vcpus = Vec::new();
    vcpus.try_reserve_exact(plan.count as usize).map_err(|_| Errno::ENOMEM)?;
    hv.scheduler.reserve(plan.count as usize)?;
    for number in 0..plan.count {
        let Some(vcpu) = new_vcpu(hv, plan, VcpuId(number), pool) else {
            hv.scheduler.release(plan.count as usize);
            let _nobody_else_knows_them = tear_down(hv, &vcpus, plan.owner, pool);
            return Err(Errno::ENOMEM);
        };
        vcpus.push(vcpu);
    }
    Ok(vcpus)
}

/// Creates one vCPU; None, with nothing left allocated, if the pool or memory is short.
fn new_vcpu<M: Machine>(hv: &Hypervisor<M>, plan: &VcpuPlan, id: VcpuId, pool: &mut PagingPool) -> Option<Vcpu<M>> {
    let mut source = pool.source(&hv.frames, &hv.machine, plan.owner);
    let hardware = hv.machine.new_vcpu(&mut source)?;
    let core = match try_box(VcpuCore::<M>::new(id, hardware, plan.mtrr)) {
        Ok(core) => core,
        Err(core) => {
            core.hardware.tear_down(&mut source);
            return None;
        }
    };
    let vcpu = Vcpu::new(id, core, hv.scheduler.place(), hv.machine.now());
    place_info(&vcpu, plan.shared_info);
    Some(vcpu)
}

/// Puts a vCPU's `vcpu_info` where it is until the guest moves it: in the shared page, as far as that has places.
pub fn place_info<M: Machine>(vcpu: &Vcpu<M>, shared_info: Mfn) {
    vcpu.forget_info();
    let number = vcpu.id.0 as usize;
    if number < XEN_LEGACY_MAX_VCPUS {
        vcpu.set_info_place(shared_info, number.saturating_mul(VCPU_INFO_SIZE));
    }
}

/// Frees what the machine took for vCPUs that run no more. Harmless for vCPUs that were torn down already. Returns false
/// if the core of one is in use: that one is left as it is.
#[must_use]
pub fn tear_down<M: Machine>(hv: &Hypervisor<M>, vcpus: &[Vcpu<M>], owner: DomId, pool: &mut PagingPool) -> bool {
    let mut all = true;
    for vcpu in vcpus {
        match vcpu.take_core_for_good() {
            Ok(Some(core)) => core.hardware.tear_down(&mut pool.source(&hv.frames, &hv.machine, owner)),
            Ok(None) => {}
            Err(_) => all = false,
        }
    }
    all
}
