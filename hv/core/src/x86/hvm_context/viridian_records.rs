//! The records of Microsoft's hypervisor interface, of a domain that has it.

use super::stream::{Record, Writer};
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::x86::viridian;
use xen_abi::hvm_save::{
    HVM_SAVE_CODE_VIRIDIAN_DOMAIN, HVM_SAVE_CODE_VIRIDIAN_VCPU, HvmSaveDescriptor, HvmViridianDomainContext,
    HvmViridianVcpuContext,
};
use xen_abi::{Errno, VcpuId};
use xenolith_hal::Machine;

/// The types of the records.
pub const TYPES: [u16; 2] = [HVM_SAVE_CODE_VIRIDIAN_DOMAIN, HVM_SAVE_CODE_VIRIDIAN_VCPU];

/// Returns the size of the records, in bytes.
pub fn size<M: Machine>(domain: &Domain<M>) -> usize {
    const DESCRIPTOR: usize = size_of::<HvmSaveDescriptor>();
    const WHOLE: usize = size_of::<HvmViridianDomainContext>() + DESCRIPTOR;
    const EACH: usize = size_of::<HvmViridianVcpuContext>() + DESCRIPTOR;
    domain.vcpus.len().saturating_mul(EACH).saturating_add(WHOLE)
}

/// Writes the records of one type.
///
/// **Errors:** `ENOMEM`, `EINVAL`.
#[cold]
pub fn save<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    typecode: u16,
    writer: &mut Writer,
) -> Result<(), Errno> {
    let state = domain.viridian.get().ok_or(Errno::EINVAL)?;
    if typecode == HVM_SAVE_CODE_VIRIDIAN_DOMAIN {
        let tsc = hv.machine.time_base().tsc;
        return writer.record(typecode, 0, &state.with(|state| state.save(tsc)));
    }
    domain.vcpus.iter().try_for_each(|vcpu| {
        let instance = u16::try_from(vcpu.id.0).map_err(|_| Errno::EINVAL)?;
        writer.record(typecode, instance, &state.with(|state| state.save_vcpu(vcpu.id)))
    })
}

/// Takes a record over. The registers of vCPU 0 were loaded before.
///
/// **Errors:** `EINVAL` for a body of another length, a vCPU that does not exist and a state that cannot be; `EAGAIN` for a
/// vCPU that is not paused.
#[cold]
pub fn load<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, record: &Record<'_>) -> Result<(), Errno> {
    let state = domain.viridian.get().ok_or(Errno::EINVAL)?;
    let vcpu = domain.vcpu(VcpuId(record.instance.into())).ok_or(Errno::EINVAL)?;
    let shift = vcpu.with_core_apart(|core| core.tsc_offset)?;
    let tsc = hv.machine.time_base().tsc;
    if record.typecode == HVM_SAVE_CODE_VIRIDIAN_DOMAIN {
        let saved: HvmViridianDomainContext = record.read_extended()?;
        state.with(|state| state.load(&saved, tsc));
        viridian::tell_clock(hv, domain, shift, false);
        return Ok(());
    }
    let saved: HvmViridianVcpuContext = record.read_extended()?;
    state.with(|state| state.load_vcpu(vcpu.id, &saved, tsc)).map_err(|_| Errno::EINVAL)?;
    viridian::poll(hv, domain, vcpu);
    Ok(())
}
