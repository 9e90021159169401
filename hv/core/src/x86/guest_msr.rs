//! RDMSR and WRMSR as a vCPU makes them.

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::{Vcpu, VcpuCore};
use crate::lifecycle::time::update_clock;
use crate::memory::guest_memory::ram_page;
use xenolith_devices::GeneralProtection;
use xenolith_devices::lapic::Effect;
use xenolith_devices::msr::{MsrContext, MsrRead, MsrWrite};
use xenolith_hal::{Gfn, Gpa, GuestCpu, Machine, NestedSpace, PageKind};

/// What is left to do after a WRMSR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MsrAnswer {
    /// Nothing.
    Done,
    /// What the local APIC asks of others.
    Apic(Effect),
}

fn context<'a, M: Machine>(hv: &Hypervisor<M>, domain: &'a Domain<M>, core: &VcpuCore<M>) -> MsrContext<'a> {
    MsrContext {
        cpuid: domain.cpuid.table(),
        patch_level: hv.settings.microcode,
        tsc: hv.machine.time_base().tsc.wrapping_add_signed(core.tsc_offset),
    }
}

/// The value that RDMSR gives.
///
/// **Errors:** a general protection fault.
pub fn read<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    core: &VcpuCore<M>,
    msr: u32,
) -> Result<u64, GeneralProtection> {
    let context = context(hv, domain, core);
    Ok(match core.msrs.read(msr, &context)? {
        MsrRead::Value(value) => value,
        MsrRead::Hardware(register) => core.hardware.msr(register),
        MsrRead::ApicBase => core.lapic.base_msr(),
        MsrRead::Lapic => core.lapic.read_msr(msr, hv.machine.time_base())?,
        MsrRead::TscDeadline => core.lapic.tsc_deadline(),
        MsrRead::Tsc => context.tsc,
    })
}

/// Does what WRMSR asks for.
///
/// **Errors:** a general protection fault; nothing was changed then.
pub fn write<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    vcpu: &Vcpu<M>,
    core: &mut VcpuCore<M>,
    msr: u32,
    value: u64,
) -> Result<MsrAnswer, GeneralProtection> {
    let context = context(hv, domain, core);
    match core.msrs.write(msr, value, &context)? {
        MsrWrite::Done => {}
        MsrWrite::Hardware(register, value) => {
            core.hardware.set_msr(register, value).map_err(|_| GeneralProtection)?;
        }
        MsrWrite::ApicBase(value) => {
            core.lapic.write_base_msr(value)?;
            vcpu.set_lapic_identity(core.lapic.identity());
        }
        MsrWrite::Lapic(value) => {
            return Ok(MsrAnswer::Apic(core.lapic.write_msr(msr, value, hv.machine.time_base())?));
        }
        MsrWrite::TscDeadline(value) => core.lapic.set_tsc_deadline(value, hv.machine.time_base()),
        MsrWrite::ShiftTsc(ticks) => {
            core.tsc_offset = core.tsc_offset.wrapping_add(ticks);
            core.hardware.shift_tsc(ticks);
            update_clock(hv, vcpu, core.tsc_offset);
        }
        // No guest is shown RDTSCP or RDPID, which are all that read it.
        MsrWrite::TscAux(_) => return Err(GeneralProtection),
        MsrWrite::HypercallPage(gfn) => write_hypercall_page(hv, domain, gfn)?,
    }
    Ok(MsrAnswer::Done)
}

fn write_hypercall_page<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, gfn: Gfn) -> Result<(), GeneralProtection> {
    domain.space.lookup(gfn).filter(|mapping| mapping.kind == PageKind::Ram).ok_or(GeneralProtection)?;
    let page = ram_page(&hv.machine, &domain.space, Gpa::from_gfn(gfn), true).ok_or(GeneralProtection)?;
    hv.machine.write_hypercall_page(page);
    Ok(())
}
