//! RDMSR and WRMSR of a vCPU.

use crate::components::grant::World;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::running::Running;
use crate::lifecycle::time::{latch_form, update_clock};
use crate::memory::guest_memory::{Layout, ram_page};
use crate::x86::viridian;
use xenolith_devices::GeneralProtection;
use xenolith_devices::lapic::Effect;
use xenolith_devices::msr::{MsrContext, MsrRead, MsrWrite};
use xenolith_hal::{Gfn, Gpa, GuestCpu, Machine, PageKind};

/// What a WRMSR leaves to the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MsrAnswer {
    /// The write is complete.
    Done,
    /// An effect of the local APIC on other vCPUs.
    Apic(Effect),
}

fn context<'a, M: Machine>(running: &Running<'a, M>) -> MsrContext<'a> {
    let Running { hv, domain, .. } = *running;
    MsrContext {
        cpuid: domain.cpuid.table(),
        patch_level: hv.settings.microcode,
        tsc: hv.machine.time_base().tsc.wrapping_add_signed(running.core.tsc_offset),
    }
}

/// Executes RDMSR.
///
/// **Errors:** a general protection fault.
pub fn read<M: Machine>(running: &Running<'_, M>, msr: u32) -> Result<u64, GeneralProtection> {
    let Running { hv, .. } = *running;
    let context = context(running);
    Ok(match running.core.msrs.read(msr, &context) {
        Err(_) => return viridian::read_msr(running, msr),
        Ok(found) => match found {
            MsrRead::Value(value) => value,
            MsrRead::Hardware(register) => running.core.hardware.msr(register),
            MsrRead::ApicBase => running.core.lapic.base_msr(),
            MsrRead::Lapic => running.core.lapic.read_msr(msr, hv.machine.time_base())?,
            MsrRead::TscDeadline => running.core.lapic.tsc_deadline(),
            MsrRead::Tsc => context.tsc,
            MsrRead::HypercallPage if running.domain.viridian.get().is_some() => {
                return viridian::read_msr(running, msr);
            }
            MsrRead::HypercallPage => 0,
        },
    })
}

/// Executes WRMSR.
///
/// **Errors:** a general protection fault; nothing was changed then.
pub fn write<M: Machine>(running: &mut Running<'_, M>, msr: u32, value: u64) -> Result<MsrAnswer, GeneralProtection> {
    let Running { hv, domain, vcpu, .. } = *running;
    let context = context(running);
    let Ok(written) = running.core.msrs.write(msr, value, &context) else {
        return viridian::write_msr(running, msr, value);
    };
    match written {
        MsrWrite::Done => {}
        MsrWrite::Hardware(register, value) => {
            running.core.hardware.set_msr(register, value).map_err(|_| GeneralProtection)?;
        }
        MsrWrite::ApicBase(value) => {
            running.core.lapic.write_base_msr(value)?;
            vcpu.set_lapic_identity(running.core.lapic.identity());
        }
        MsrWrite::Lapic(value) => {
            return Ok(MsrAnswer::Apic(running.core.lapic.write_msr(msr, value, hv.machine.time_base())?));
        }
        MsrWrite::TscDeadline(value) => running.core.lapic.set_tsc_deadline(value, hv.machine.time_base()),
        MsrWrite::ShiftTsc(ticks) => {
            running.core.tsc_offset = running.core.tsc_offset.wrapping_add(ticks);
            running.core.hardware.shift_tsc(ticks);
            update_clock(hv, vcpu, running.core.tsc_offset);
        }
        // No guest is shown RDTSCP or RDPID, which are all that read it.
        MsrWrite::TscAux(_) => return Err(GeneralProtection),
        MsrWrite::HypercallPage(_) if domain.viridian.get().is_some() => {
            return viridian::write_msr(running, msr, value);
        }
        MsrWrite::HypercallPage(gfn) => {
            write_hypercall_page(hv, domain, gfn)?;
            latch_form(hv, domain, Layout::of_caller(&running.core.hardware.paging()));
        }
    }
    Ok(MsrAnswer::Done)
}

/// Writes the page through which the guest makes its hypercalls; its code is the same for all modes.
///
/// **Errors:** a general protection fault for a frame that is not RAM.
pub fn write_hypercall_page<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    gfn: Gfn,
) -> Result<(), GeneralProtection> {
    hv.memory(domain).find(gfn).filter(|mapping| mapping.kind == PageKind::Ram).ok_or(GeneralProtection)?;
    let page = ram_page(&hv.machine, &domain.space, Gpa::from_gfn(gfn), true).ok_or(GeneralProtection)?;
    hv.machine.write_hypercall_page(page);
    Ok(())
}
