//! The records of each vCPU.

use super::registers;
use super::stream::{Reader, Record, Writer};
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::{Vcpu, VcpuCore};
use xen_abi::Errno;
use xen_abi::hvm_save::{
    CPU_MSR_CODE, HVM_SAVE_CODE_CPU, HVM_SAVE_CODE_LAPIC, HVM_SAVE_CODE_LAPIC_REGS, HVM_SAVE_CODE_MTRR,
    HVM_SAVE_CODE_TSC_ADJUST, HVM_SAVE_CODE_VMCE_VCPU, HvmHwLapic, HvmHwLapicRegs, HvmHwMtrr, HvmMsrs, HvmOneMsr,
    HvmTscAdjust, HvmVmceVcpu,
};
use xen_abi::hvm_save_cpu::{HvmCpuFlags, HvmHwCpu};
use xenolith_devices::lapic::Lapic;
use xenolith_devices::msr::Mtrr;
use xenolith_hal::{GuestCpu, HardwareMsr, Machine, TimeBase};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The CPUID leaf whose lowest byte is the width of physical addresses.
const ADDRESS_SIZES: u32 = 0x8000_0008;
/// MCG_CAP: two banks, and nothing else.
const MACHINE_CHECK_BANKS: u64 = 2;
const MACHINE_CHECK_BANK_COUNT: u64 = 0xff;
/// The most memory type ranges that a record may claim.
const MOST_RANGES: u64 = xen_abi::hvm_save::MTRR_VCNT as u64;

/// The types of a vCPU's records.
pub const TYPES: [u16; 7] = [
    HVM_SAVE_CODE_CPU,
    HVM_SAVE_CODE_LAPIC,
    HVM_SAVE_CODE_LAPIC_REGS,
    HVM_SAVE_CODE_MTRR,
    HVM_SAVE_CODE_VMCE_VCPU,
    HVM_SAVE_CODE_TSC_ADJUST,
    CPU_MSR_CODE,
];

/// The size of the bodies of all records of one vCPU, in bytes.
pub const BODY_BYTES: usize = size_of::<HvmHwCpu>()
    + size_of::<HvmHwLapic>()
    + size_of::<HvmHwLapicRegs>()
    + size_of::<HvmHwMtrr>()
    + size_of::<HvmVmceVcpu>()
    + size_of::<HvmTscAdjust>()
    + size_of::<MsrList>();

/// The record of MSRs that no other record holds. A list of one: `MsrState::listed` has no more.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MsrList {
    header: HvmMsrs,
    msr: HvmOneMsr,
}

/// Returns the time, with the vCPU's own time stamp counter.
fn own_time<M: Machine>(hv: &Hypervisor<M>, core: &VcpuCore<M>) -> TimeBase {
    let base = hv.machine.time_base();
    TimeBase { tsc: base.tsc.wrapping_add_signed(core.tsc_offset), ..base }
}

/// Writes one record of a vCPU. A vCPU that is down has no registers record, and stays down where it is missing; one
/// whose other MSRs are as after a reset has no record of MSRs.
///
/// **Errors:** `ENOMEM`.
pub fn save<M: Machine>(
    hv: &Hypervisor<M>,
    vcpu: &Vcpu<M>,
    core: &VcpuCore<M>,
    typecode: u16,
    into: &mut Writer,
) -> Result<(), Errno> {
    let instance = u16::try_from(vcpu.id.0).map_err(|_| Errno::EINVAL)?;
    match typecode {
        HVM_SAVE_CODE_CPU if vcpu.is_up() => into.record(typecode, instance, &cpu(hv, core)),
        HVM_SAVE_CODE_LAPIC => into.record(typecode, instance, &core.lapic.save(own_time(hv, core)).0),
        HVM_SAVE_CODE_LAPIC_REGS => into.record(typecode, instance, &core.lapic.save(own_time(hv, core)).1),
        HVM_SAVE_CODE_MTRR => {
            let pat = core.hardware.msr(HardwareMsr::Pat);
            into.record(typecode, instance, &core.msrs.mtrr.save(pat))
        }
        HVM_SAVE_CODE_VMCE_VCPU => {
            let record = HvmVmceVcpu { caps: MACHINE_CHECK_BANKS, ..HvmVmceVcpu::default() };
            into.record(typecode, instance, &record)
        }
        HVM_SAVE_CODE_TSC_ADJUST => {
            into.record(typecode, instance, &HvmTscAdjust { tsc_adjust: core.msrs.tsc_adjust() })
        }
        CPU_MSR_CODE => core.msrs.listed().map_or(Ok(()), |(index, val)| {
            let msr = HvmOneMsr { index, val, ..HvmOneMsr::default() };
            into.record(typecode, instance, &MsrList { header: HvmMsrs { count: 1, pad: 0 }, msr })
        }),
        _ => Ok(()),
    }
}

fn cpu<M: Machine>(hv: &Hypervisor<M>, core: &VcpuCore<M>) -> HvmHwCpu {
    let hardware = &core.hardware;
    let (pending_event, error_code) = registers::event_words(hardware.undelivered_event());
    let [dr0, dr1, dr2, dr3] = hardware.debug_addresses();
    HvmHwCpu {
        fpu_regs: hardware.fpu_image(),
        flags: HvmCpuFlags::FPU_INITIALISED,
        dr0,
        dr1,
        dr2,
        dr3,
        tsc: own_time(hv, core).tsc,
        pending_event,
        error_code,
        ..registers::record(&hardware.state())
    }
}

/// Loads one record of a paused vCPU; `all` are the records of which it is one.
///
/// **Errors:** `EINVAL` for a vCPU that does not exist, a body of the wrong length, and a state that the vCPU could
/// never reach; `EPERM` for machine checks that it cannot have; `EOPNOTSUPP` for a list of MSRs of another length than it
/// says, or with reserved bits; `ENXIO` for an MSR that is not saved so, or a value that it cannot have; `EAGAIN` for a
/// vCPU that is not paused.
pub fn load<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    record: &Record<'_>,
    all: &Reader<'_>,
) -> Result<(), Errno> {
    let vcpu = domain.vcpu(xen_abi::VcpuId(record.instance.into())).ok_or(Errno::EINVAL)?;
    vcpu.with_core_apart(|core| load_into(hv, vcpu, core, record, all))??;
    if record.typecode == HVM_SAVE_CODE_CPU {
        vcpu.bring_up();
    }
    Ok(())
}

fn load_into<M: Machine>(
    hv: &Hypervisor<M>,
    vcpu: &Vcpu<M>,
    core: &mut VcpuCore<M>,
    record: &Record<'_>,
    all: &Reader<'_>,
) -> Result<(), Errno> {
    match record.typecode {
        HVM_SAVE_CODE_CPU => load_cpu(hv, core, &record.read_extended()?),
        HVM_SAVE_CODE_LAPIC => {
            let (_, page) = core.lapic.save(own_time(hv, core));
            load_lapic(hv, vcpu, core, &record.read_extended()?, &page)
        }
        HVM_SAVE_CODE_LAPIC_REGS => {
            // Both records make one local APIC. What is there by now was made of the first and of the registers before: it is
            // off, and in another mode of its timer.
            let state = match all.find(HVM_SAVE_CODE_LAPIC, record.instance) {
                Some(first) => first.read_extended()?,
                None => core.lapic.save(own_time(hv, core)).0,
            };
            load_lapic(hv, vcpu, core, &state, &record.read()?)
        }
        HVM_SAVE_CODE_MTRR => load_mtrr(hv, core, &record.read()?),
        HVM_SAVE_CODE_VMCE_VCPU => {
            let wanted: HvmVmceVcpu = record.read_extended()?;
            let known = wanted.caps & !MACHINE_CHECK_BANK_COUNT == 0;
            if known { Ok(()) } else { Err(Errno::EPERM) }
        }
        HVM_SAVE_CODE_TSC_ADJUST => {
            let HvmTscAdjust { tsc_adjust } = record.read()?;
            core.msrs.set_tsc_adjust(tsc_adjust);
            Ok(())
        }
        CPU_MSR_CODE => load_msrs(core, record.body),
        _ => Err(Errno::EINVAL),
    }
}

/// Loads a list of MSRs. Those before one that is refused were loaded.
fn load_msrs<M: Machine>(core: &mut VcpuCore<M>, body: &[u8]) -> Result<(), Errno> {
    let (HvmMsrs { count, .. }, mut rest) = HvmMsrs::read_from_prefix(body).map_err(|_| Errno::EINVAL)?;
    if rest.len() < size_of::<HvmOneMsr>() {
        return Err(Errno::EINVAL);
    }
    if (count as usize).checked_mul(size_of::<HvmOneMsr>()) != Some(rest.len()) {
        return Err(Errno::EOPNOTSUPP);
    }
    while let Ok((HvmOneMsr { index, reserved, val }, after)) = HvmOneMsr::read_from_prefix(rest) {
        if reserved != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        core.msrs.load_listed(index, val).map_err(|_| Errno::ENXIO)?;
        rest = after;
    }
    Ok(())
}

fn load_cpu<M: Machine>(hv: &Hypervisor<M>, core: &mut VcpuCore<M>, record: &HvmHwCpu) -> Result<(), Errno> {
    registers::check(record)?;
    let state = registers::state(record, core.hardware.msr(HardwareMsr::Pat));
    core.hardware.set_state(&state).map_err(|_| Errno::EINVAL)?;
    core.hardware.set_debug_addresses([record.dr0, record.dr1, record.dr2, record.dr3]);
    let with_fpu = record.flags.contains(HvmCpuFlags::FPU_INITIALISED);
    core.hardware.set_fpu_image(with_fpu.then_some(&record.fpu_regs));
    core.hardware.set_undelivered_event(registers::event(record));
    let ticks = record.tsc.wrapping_sub(own_time(hv, core).tsc).cast_signed();
    core.shift_tsc(ticks);
    core.nmi_pending = false;
    core.waits_for_startup = false;
    Ok(())
}

fn load_lapic<M: Machine>(
    hv: &Hypervisor<M>,
    vcpu: &Vcpu<M>,
    core: &mut VcpuCore<M>,
    state: &HvmHwLapic,
    page: &HvmHwLapicRegs,
) -> Result<(), Errno> {
    core.lapic = Lapic::load(vcpu.id, state, page, own_time(hv, core)).map_err(|_| Errno::EINVAL)?;
    vcpu.set_lapic_identity(core.lapic.identity());
    Ok(())
}

fn load_mtrr<M: Machine>(hv: &Hypervisor<M>, core: &mut VcpuCore<M>, record: &HvmHwMtrr) -> Result<(), Errno> {
    if record.msr_mtrr_cap & 0xff > MOST_RANGES {
        return Err(Errno::EINVAL);
    }
    let address_bits = hv.machine.cpuid(ADDRESS_SIZES, 0).eax & 0xff;
    let mtrr = Mtrr::load(record, address_bits).map_err(|_| Errno::EINVAL)?;
    core.hardware.set_msr(HardwareMsr::Pat, record.msr_pat_cr).map_err(|_| Errno::EINVAL)?;
    core.msrs.mtrr = mtrr;
    Ok(())
}
