//! MMIO: accesses to guest physical addresses without memory behind them: the local APIC's page, and the devices of the
//! machine that the hypervisor emulates for the domain. Where nothing responds, reads return all ones and writes are
//! dropped, as on a bus.

use crate::components::grant::World;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::running::Running;
use crate::domains::vcpu::Vcpu;
use crate::memory::frames::Account;
use crate::memory::on_demand::{Demand, Reclaim};
use crate::memory::physmap::{Memory, is_watched};
use crate::outcome::{After, CrashReason};
use crate::x86::chipset;
use crate::x86::device_model;
use crate::x86::guest_code::fetch;
use crate::x86::interrupts::{apic_effect, with_owner, write_device};
use crate::x86::parts;
use xenolith_devices::lapic::XAPIC_PAGE;
use xenolith_devices::mmio_decode::{MmioAccess, MmioInstruction, Place};
use xenolith_hal::{
    Access, CpuId, Exception, Gfn, Gpa, GuestCpu, LogLevel, Machine, MapError, Mapping, Mfn, NestedSpace, PAGE_SIZE,
    PageKind, PageOrder, Rights,
};

const PAGE_BYTES: u64 = PAGE_SIZE as u64;

/// Handles a nested page fault. Kept apart so that the code round an entry is short.
#[inline(never)]
pub fn access<M: Machine>(running: &mut Running<'_, M>, at: Gpa, access: Access) -> After {
    let Running { hv, domain, vcpu, .. } = *running;
    let there = domain.space.lookup(at.gfn());
    let settled = match there {
        Some(there) => is_permitted(hv, domain, at, there, access).then_some(After::Resume),
        None => show(hv, domain, vcpu, at),
    };
    if let Some(after) = settled {
        return after;
    }
    if access.execute || access.page_walk {
        let line = format_args!("d{}v{} has no memory at {:#x} ({access:?})", domain.id, vcpu.id, at.0);
        hv.machine.log(LogLevel::Warning, true, line);
        return After::Crash(CrashReason::BadAccess);
    }
    if access.write && there.is_some_and(|there| there.kind == PageKind::Grant) {
        // It was granted for reading alone.
        running.core.hardware.inject(Exception::GENERAL_PROTECTION);
        return After::Resume;
    }
    let is_memory = there.is_some_and(|there| there.rights.contains(Rights::READ));
    if there.is_some_and(is_watched) && domain.device_model.get().is_none_or(|model| model.watcher().is_none()) {
        // Whom its writes were for has gone.
        let _without_memory_it_faults_again = hv.memory(domain).edit(|editor| editor.unwatch(at.gfn()));
        return After::Resume;
    }
    let (bytes, length, size) = fetch(running);
    let code = bytes.get(..length).unwrap_or(&[]);
    let near_end = is_near_end(domain, at);
    let mut place = Place::NONE;
    let (registers, with_place) = (running.core.hardware.registers(), near_end || is_memory);
    let Ok(instruction) = MmioInstruction::decode(code, size, registers, with_place, &mut place) else {
        return refuse(running, at);
    };
    let in_parts = match instruction.access() {
        MmioAccess::Parts => true,
        // An emulated CPU reads first, and has not looked yet whether the guest's own tables let it write.
        MmioAccess::Modify { .. } => !access.write,
        _ => false,
    };
    // Memory that may only be read drops what is written to it, or it is for the device model.
    if in_parts || is_memory || (near_end && parts::is_split(running, &instruction, place, at, access.write)) {
        return parts::begin(running, &instruction, place);
    }
    if is_for_device_model(domain, at) {
        return device_model::memory(running, &instruction, at, access.write);
    }
    match instruction.access() {
        MmioAccess::Read { bytes } => {
            let value = read(running, at, bytes);
            instruction.finish_read(value, running.core.hardware.registers_mut());
        }
        MmioAccess::Write { bytes, value } => {
            write(running, at, bytes, value);
            instruction.finish_write(running.core.hardware.registers_mut());
        }
        MmioAccess::Modify { bytes } => {
            let old = read(running, at, bytes);
            if let Some(value) = instruction.modify(old, running.core.hardware.registers_mut()) {
                write(running, at, bytes, value);
            }
        }
        // Nothing stands where a copy would be to or from, so it moves nothing.
        MmioAccess::Copy { .. } => instruction.finish_copy(running.core.hardware.registers_mut()),
        MmioAccess::Parts => {}
        MmioAccess::Nothing => instruction.finish_write(running.core.hardware.registers_mut()),
    }
    After::Resume
}

/// Raises #UD for an instruction that is not emulated.
#[cold]
#[inline(never)]
fn refuse<M: Machine>(running: &mut Running<'_, M>, at: Gpa) -> After {
    let Running { hv, domain, vcpu, .. } = *running;
    let rip = running.core.hardware.registers().rip;
    let line = format_args!("d{}v{}: the instruction at {rip:#x} cannot be done to {:#x}", domain.id, vcpu.id, at.0);
    hv.machine.log(LogLevel::Warning, true, line);
    running.core.hardware.inject(Exception::INVALID_OPCODE);
    After::Resume
}

/// Returns true if an access may have another part in the page before or behind: it is reported by its first byte without
/// memory. In a guest without a device model there are registers at most, which no access from the page before reaches.
fn is_near_end<M: Machine>(domain: &Domain<M>, at: Gpa) -> bool {
    const WIDEST: u64 = 16;
    // The first byte, or one of the last 15.
    let is_near = at.0.wrapping_sub(1) % PAGE_BYTES >= PAGE_BYTES.saturating_sub(WIDEST);
    is_near && (at.page_offset() != 0 || domain.device_model.get().is_some())
}

/// Returns true if an access where no memory is, is the device model's to answer.
pub(super) fn is_for_device_model<M: Machine>(domain: &Domain<M>, at: Gpa) -> bool {
    domain.device_model.get().is_some() && !is_apic_page(at) && !chipset::has(domain, at)
}

/// Populates a frame on demand; None if it is not marked for that.
#[cold]
#[inline(never)]
fn populate<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>, gfn: Gfn) -> Option<After> {
    let memory = hv.memory(domain);
    let met = memory.meet(gfn);
    if met == Demand::NotMarked {
        return None;
    }
    if met == Demand::Wait {
        hv.frames.expedite(&hv.machine);
    }
    let mut starved = met == Demand::NoTables;
    if met == Demand::Short || (met == Demand::Met && memory.is_short()) {
        let cpus = || (0..hv.machine.cpu_count()).map(|cpu| CpuId(cpu as u32));
        let late = |moment| cpus().filter(move |cpu| !hv.frames.has_passed(*cpu, moment));
        match memory.reclaim(|moment| late(moment).next().is_none()) {
            // This CPU passes the moment before it tries again.
            Reclaim::After(moment, true) => late(moment).for_each(|cpu| hv.machine.kick(cpu)),
            Reclaim::After(_, false) | Reclaim::Goes => {}
            Reclaim::Nothing => starved |= met == Demand::Short,
        }
    }
    if !starved {
        return Some(After::Resume);
    }
    let total = hv.frames.account(domain.id).map_or(0, Account::total);
    let line = format_args!(
        "d{}v{}: out of PoD memory at {:#x} ({met:?}): {total} pages in use, {} more were to be populated on demand, and its \
         balloon driver has given nothing back for them",
        domain.id,
        vcpu.id,
        gfn.0,
        domain.physmap.marks()
    );
    hv.machine.log(LogLevel::Error, true, line);
    Some(After::Crash(CrashReason::OutOfMemory))
}

/// Returns true if the guest may simply try again an access to what is `there`.
fn is_permitted<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, at: Gpa, there: Mapping, access: Access) -> bool {
    // Only superpages are ever write-protected to see their writes.
    let may_be_tracked = there.order != PageOrder::SIZE_4K && (access.write || access.page_walk);
    // Somebody may have mapped it since the guest was left: a balloon, the toolstack, another vCPU that touched the same
    // device.
    (may_be_tracked && hv.memory(domain).edit(|editor| editor.permit_write(at.gfn()))) || permits(there.rights, access)
}

/// Returns true if a page with these rights allows the access. A walk of the guest's page tables writes to them: it marks what
/// it used. **Source:** AMD manual volume 2, 15.25.5.
fn permits(rights: Rights, access: Access) -> bool {
    rights.contains(Rights::READ)
        && (rights.contains(Rights::WRITE) || !(access.write || access.page_walk))
        && (rights.contains(Rights::EXECUTE) || !access.execute)
}

/// Maps what the machine has at an address, if the domain may reach it by itself (it answers by itself from then on), or
/// memory that was to be populated on demand. None if there is neither.
fn show<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>, at: Gpa) -> Option<After> {
    if domain.devices.get().is_some_and(|devices| devices.answers(at)) {
        return None;
    }
    if domain.physmap.marks() > 0
        && let Some(after) = populate(hv, domain, vcpu, at.gfn())
    {
        return Some(after);
    }
    let shown = with_owner(hv, domain, |devices, owner| devices.show(owner, at.gfn())) == Some(true);
    (shown || show_own_place(hv, domain, at.gfn())).then_some(After::Resume)
}

/// Maps the page that a domain has accessed, if it may be identity-mapped. Returns false if not.
fn show_own_place<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, frame: Gfn) -> bool {
    if !domain.device_space.get().is_some_and(|space| space.shows(frame)) {
        return false;
    }
    let memory = Memory {
        owner: domain.id,
        frames: &hv.frames,
        pages: &hv.machine,
        space: &domain.space,
        physmap: &domain.physmap,
    };
    let mapping = Mapping { mfn: Mfn(frame.0), order: PageOrder::SIZE_4K, rights: Rights::ALL, kind: PageKind::Mmio };
    match memory.edit(|editor| editor.map(frame, mapping)) {
        // Another vCPU may have touched it at the same time.
        Ok(()) | Err(MapError::Occupied) => true,
        Err(_) => false,
    }
}

fn is_apic_page(at: Gpa) -> bool {
    at.0 & !0xfff == XAPIC_PAGE.0
}

pub(super) fn read<M: Machine>(running: &Running<'_, M>, at: Gpa, bytes: u32) -> u64 {
    let Running { hv, domain, .. } = *running;
    if is_apic_page(at) && running.core.lapic.is_xapic() {
        let low = running.core.lapic.read_page(at.page_offset() as u32, bytes.min(4), hv.machine.time_base());
        return u64::from(low);
    }
    if chipset::has(domain, at) {
        return chipset::read_memory(hv, domain, at, bytes);
    }
    domain.devices.get().and_then(|devices| devices.read(&hv.machine, at, bytes)).unwrap_or(u64::MAX)
}

pub(super) fn write<M: Machine>(running: &mut Running<'_, M>, at: Gpa, bytes: u32, value: u64) {
    let Running { hv, domain, .. } = *running;
    if is_apic_page(at) {
        let now = hv.machine.time_base();
        let was_on = running.core.lapic.is_enabled();
        let effect = running.core.lapic.write_page(at.page_offset() as u32, bytes.min(4), value as u32, now);
        apic_effect(running, effect, was_on);
    } else if chipset::has(domain, at) {
        chipset::write_memory(hv, domain, at, bytes, value);
    } else {
        write_device(hv, domain, at, bytes, value);
    }
}
