//! Microsoft's hypervisor interface among a domain's vCPUs: its leaves, its registers, its pages and its timers.
//!
//! Everything here is apart from the ways of guests without it.

use crate::components::vcpu_timers::Timer;
use crate::components::viridian::SharedViridian;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::running::Running;
use crate::domains::vcpu::Vcpu;
use crate::lifecycle::time::latch_form;
use crate::lifecycle::waking::notify;
use crate::memory::guest_memory::{Layout, ram_page};
use crate::x86::chipset;
use crate::x86::guest_msr::{MsrAnswer, write_hypercall_page};
use crate::x86::interrupts::apic_effect;
use core::sync::atomic::Ordering;
use xen_abi::cpuid as abi;
use xen_abi::sched::SHUTDOWN_CRASH;
use xen_abi::{Errno, VcpuId};
use xenolith_devices::GeneralProtection;
use xenolith_devices::cpuid::{Asker, CpuidTable};
use xenolith_devices::viridian::{
    COUNT_NS, LEAVES_OF_XEN, MSRS, Message, PAGE_CODE, Processor, Read, Taken, Written, XEN_HYPERCALL_PAGE_MSR, leaf,
};
use xenolith_hal::{
    CpuidRegisters, Gfn, Gpa, GuestCpu, LogLevel, Machine, NestedSpace, PAGE_SIZE, PageKind, PageWords, RunControl,
    Time,
};
use xenolith_sync::try_box;

/// What lies behind the code of the hypercall page: breakpoints.
const FILLER: u64 = 0xcccc_cccc_cccc_cccc;
/// Bit 0 of the assist page: the interrupt in service needs no end.
const NO_END: u32 = 1;
/// The size of a source's slot in the page of messages.
const SLOT: usize = 256;
/// Where the flags of a message are, and the flag that another one waits.
const FLAGS: usize = 5;
const WAITS: u8 = 1;
/// The CPUID leaf, and its bit of EDX, that say that time stamp counters run at one rate and never stop.
const ADVANCED_POWER: u32 = 0x8000_0007;
const INVARIANT_TSC: u32 = 1 << 8;
/// Where the reference page has scale and offset; its sequence comes first, and 0 and all ones mean that it says nothing.
const SCALE: usize = 8;
const OFFSET: usize = 16;

/// Gives a domain the interface with these features, which the parameter allows.
///
/// **Errors:** `ENOMEM`.
#[cold]
pub fn enable<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, features: u64) -> Result<(), Errno> {
    if domain.viridian.get().is_some() {
        return Ok(());
    }
    let base = hv.machine.time_base();
    let due = domain.vcpu(VcpuId(0)).map_or(Time::NEVER, |vcpu| vcpu.timers.get(Timer::Chipset));
    let state = SharedViridian::new(features, domain.control.options().max_vcpus, base.tsc_khz, base.tsc, due);
    let state = try_box(state.map_err(|_| Errno::ENOMEM)?).map_err(|_| Errno::ENOMEM)?;
    // Set by another call meanwhile it has the same features: the parameter does not change.
    let _ = domain.viridian.set(state);
    Ok(())
}

/// Returns a hypervisor leaf of a domain with the interface: Xen's own lie higher. `asker` is called for one of those alone.
#[cold]
#[inline(never)]
pub fn cpuid(
    viridian: &SharedViridian,
    table: &CpuidTable,
    number: u32,
    subleaf: u32,
    asker: &dyn Fn() -> Asker,
) -> CpuidRegisters {
    let xens = number.wrapping_sub(LEAVES_OF_XEN);
    if xens < abi::XEN_CPUID_FIRST_LEAF {
        return viridian.with(|state| leaf(state, number));
    }
    let mut found = table.hypervisor_leaf(xens, subleaf, &asker());
    match xens {
        abi::LEAF_SIGNATURE => found.eax = found.eax.wrapping_add(LEAVES_OF_XEN),
        abi::LEAF_HYPERCALL => found.ebx = XEN_HYPERCALL_PAGE_MSR,
        _ => {}
    }
    found
}

/// Returns a page of the domain's own RAM.
#[cold]
#[inline(never)]
fn own_page<'m, M: Machine>(hv: &'m Hypervisor<M>, domain: &Domain<M>, gfn: Gfn) -> Option<&'m PageWords> {
    domain.space.lookup(gfn).filter(|mapping| mapping.kind == PageKind::Ram)?;
    ram_page(&hv.machine, &domain.space, Gpa::from_gfn(gfn), true)
}

/// Executes RDMSR of a register that no other part has.
///
/// **Errors:** a general protection fault.
#[cold]
pub fn read_msr<M: Machine>(running: &Running<'_, M>, msr: u32) -> Result<u64, GeneralProtection> {
    let Running { hv, domain, vcpu, .. } = *running;
    let viridian = domain.viridian.get().ok_or(GeneralProtection)?;
    if msr == XEN_HYPERCALL_PAGE_MSR {
        return Ok(0);
    }
    let tsc = hv.machine.time_base().tsc;
    Ok(match viridian.with(|state| state.read_msr(vcpu.id, msr, tsc))? {
        Read::Value(value) => value,
        Read::Command => running.core.lapic.command_register(),
        Read::TaskPriority => running.core.lapic.task_priority_register().into(),
    })
}

/// Executes WRMSR of a register that no other part has.
///
/// **Errors:** a general protection fault; nothing was changed then.
#[cold]
pub fn write_msr<M: Machine>(
    running: &mut Running<'_, M>,
    msr: u32,
    value: u64,
) -> Result<MsrAnswer, GeneralProtection> {
    let Running { hv, domain, vcpu, .. } = *running;
    let viridian = domain.viridian.get().ok_or(GeneralProtection)?;
    if msr == XEN_HYPERCALL_PAGE_MSR && value.is_multiple_of(PAGE_SIZE as u64) {
        write_hypercall_page(hv, domain, Gfn(value >> 12))?;
        latch_form(hv, domain, Layout::of_caller(&running.core.hardware.paging()));
        return Ok(MsrAnswer::Done);
    }
    if !MSRS.contains(&msr) {
        return Err(GeneralProtection);
    }
    let base = hv.machine.time_base();
    // A frame that is not the guest's own RAM is left alone, as in real Xen.
    match viridian.with(|state| state.write_msr(vcpu.id, msr, value, base.tsc))? {
        Written::Done => {}
        Written::HypercallPage(gfn) => {
            if let Some(page) = own_page(hv, domain, gfn) {
                page.words().iter().for_each(|word| word.store(FILLER, Ordering::Relaxed));
                let _written = page.write_bytes(0, &PAGE_CODE);
            }
        }
        Written::ClearPage(gfn) => {
            if let Some(page) = own_page(hv, domain, gfn) {
                page.clear();
            }
            poll(hv, domain, vcpu);
        }
        Written::ReferencePage(_) => tell_clock(hv, domain, running.core.tsc_offset, true),
        Written::Timers => poll(hv, domain, vcpu),
        Written::EndOfInterrupt => return Ok(MsrAnswer::Apic(running.core.lapic.end_highest(base))),
        Written::Command(value) => {
            return Ok(MsrAnswer::Apic(running.core.lapic.write_command_register(value, base)));
        }
        Written::TaskPriority(value) => running.core.lapic.set_task_priority_register(value),
        Written::Crash => {
            let [a, b, c, d, e] = viridian.with(|state| state.crash());
            let line = format_args!("d{}v{} VIRIDIAN CRASH: {a:x} {b:x} {c:x} {d:x} {e:x}", domain.id, vcpu.id);
            hv.machine.log(LogLevel::Warning, true, line);
            domain.shutdown_code.store(SHUTDOWN_CRASH, Ordering::SeqCst);
        }
    }
    Ok(MsrAnswer::Done)
}

/// Writes the reference page of a guest that has one, anew or after the clock changed: time goes by it from now on. `shift`
/// is how far the guest's time stamp counter is ahead of the machine's. On a machine whose counters may differ or stop, the
/// page says that the guest is to read the register, as in real Xen.
#[cold]
pub fn tell_clock<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, shift: i64, anew: bool) {
    let tsc = hv.machine.time_base().tsc;
    let is_steady = hv.machine.cpuid(ADVANCED_POWER, 0).edx & INVARIANT_TSC != 0;
    let told = domain.viridian.get().and_then(|viridian| {
        let (gfn, [scale, offset]) = viridian.with(|state| (state.reference_page(), state.clock(tsc, shift)));
        let page = own_page(hv, domain, gfn?)?;
        let sequence = page.load_u32(0)?.wrapping_add(1);
        page.store_u32(0, 0)?;
        if anew {
            page.clear();
        }
        is_steady.then_some(())?;
        page.store_u64(SCALE, scale)?;
        page.store_u64(OFFSET, offset)?;
        page.store_u32(0, if anew || matches!(sequence, 0 | u32::MAX) { 1 } else { sequence })
    });
    // A page that is not there says nothing.
    let _ = told;
}

/// Writes a message into its slot; returns whether that was free, or None if there is no page.
fn place<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    gfn: Gfn,
    source: usize,
    message: &Message,
) -> Option<bool> {
    let page = own_page(hv, domain, gfn)?;
    let at = source.checked_mul(SLOT)?;
    if page.load_u32(at)? != 0 {
        let flags = at.checked_add(FLAGS)?;
        page.store_u8(flags, page.load_u8(flags)? | WAITS)?;
        return Some(false);
    }
    // The first word says that the rest is there.
    for (index, word) in message.iter().enumerate().rev() {
        page.store_u64(at.checked_add(index.checked_mul(size_of::<u64>())?)?, *word)?;
    }
    Some(true)
}

/// Looks at a vCPU's timers: sends the messages of each that has expired, and sets the time of the next look.
#[cold]
pub fn poll<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) {
    let Some(viridian) = domain.viridian.get() else { return };
    let base = hv.machine.time_base();
    let polled = viridian.with(|state| {
        let count = state.count(base.tsc);
        let polled =
            state.processor(vcpu.id)?.poll(count, &mut |gfn, source, message| place(hv, domain, gfn, source, message));
        Some((polled, count))
    });
    let Some((polled, count)) = polled else { return };
    for vector in polled.vectors.into_iter().flatten() {
        vcpu.requests.post_vector(vector);
        notify(hv, domain, vcpu);
    }
    let due = polled.due.map_or(Time::NEVER, |due| {
        base.time.after_ns(due.saturating_sub(count).saturating_add(1).saturating_mul(COUNT_NS))
    });
    chipset::arm(hv, domain, vcpu, if vcpu.id == chipset::KEEPER { viridian.note_first(due) } else { due });
}

/// Looks, before a vCPU is entered with an interrupt that waits, at one that needs no end: the guest may have ended it, or it
/// is in the way, so that its end must be told. One above it is not in its way: whichever is over first needs no end.
#[cold]
pub fn before_entry<M: Machine>(
    running: &mut Running<'_, M>,
    viridian: &SharedViridian,
    control: RunControl,
) -> RunControl {
    let Running { hv, domain, vcpu, .. } = *running;
    if !running.core.lapic.has_request() {
        return control;
    }
    let assisted = viridian.with(|state| state.processor(vcpu.id)?.assisted());
    let Some(page) = assisted else { return control };
    let page = own_page(hv, domain, page);
    if page.is_some_and(|page| page.load_u32(0).is_some_and(|word| word & NO_END == 0)) {
        let effect = running.core.lapic.end_highest(hv.machine.time_base());
        apic_effect(running, effect, true);
    } else if control.interrupt.is_some() {
        return control;
    } else if let Some(page) = page {
        let _ = page.fetch_and_u32(0, !NO_END);
    }
    viridian.with(|state| state.processor(vcpu.id).map(Processor::end_assistance));
    RunControl { interrupt: running.core.lapic.highest_pending(), ..control }
}

/// Notes that a vCPU took an interrupt of its local APIC, which may need no end.
#[cold]
pub fn interrupt_taken<M: Machine>(running: &mut Running<'_, M>, viridian: &SharedViridian, vector: u8) {
    let Running { hv, domain, vcpu, .. } = *running;
    let lapic = &mut running.core.lapic;
    let alone = lapic.is_alone_in_service(vector);
    match viridian.with(|state| state.interrupt_taken(vcpu.id, vector, alone)) {
        Taken::Ended if lapic.highest_in_service() == Some(vector) => {
            let _ = lapic.end_highest(hv.machine.time_base());
        }
        Taken::Assisted(gfn) => {
            if let Some(page) = own_page(hv, domain, gfn) {
                let _ = page.fetch_or_u32(0, NO_END);
            }
        }
        Taken::Ended | Taken::Nothing => {}
    }
}
