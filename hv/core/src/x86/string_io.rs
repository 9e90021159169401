//! INS and OUTS: between a port and the guest's memory. One exit moves one batch, inside one page; then the guest comes
//! back to the same instruction, and may take an interrupt before.
//!
//! Accessed and dirty bits of the guest's page tables are not set, as with all memory that the hypervisor reaches for it.

use crate::components::grant::World;
use crate::domains::running::Running;
use crate::memory::guest_memory::{Lookups, Wanted, translate};
use crate::outcome::After;
use crate::x86::device_model;
use crate::x86::guest_code::fetch;
use crate::x86::guest_ports::{input, is_platform, output};
use xenolith_devices::string_io::{Batch, MOST_BYTES, StringIo};
use xenolith_hal::{
    Exception, Gpa, GuestCpu, Gva, IoAccess, LogLevel, Machine, NestedSpace, PageKind, PageWords, Rights, vector,
};

const ERROR_PRESENT: u32 = 1;
const ERROR_WRITE: u32 = 1 << 1;
const ERROR_USER: u32 = 1 << 2;

/// Handles INS or OUTS.
pub fn access<M: Machine>(running: &mut Running<'_, M>, access: IoAccess) -> After {
    let (bytes, length, size) = fetch(running);
    let code = bytes.get(..length).unwrap_or_default();
    let Some(instruction) = StringIo::decode(code, size).ok().filter(|instruction| instruction.is(access)) else {
        let Running { hv, domain, vcpu, .. } = *running;
        let rip = running.core.hardware.registers().rip;
        let line = format_args!("d{}v{}: the instruction at {rip:#x} is not the one that exited", domain.id, vcpu.id);
        hv.machine.log(LogLevel::Warning, true, line);
        running.core.hardware.inject(Exception::INVALID_OPCODE);
        return After::Resume;
    };
    if is_platform(running.domain, access) {
        return device_model::string_port(running, access, instruction);
    }
    let moved = match instruction.plan(&running.core.hardware.state()) {
        Ok(Some(batch)) => transfer(running, access, &batch)
            .map(|()| instruction.finish(&batch, running.core.hardware.registers_mut())),
        Ok(None) => Ok(true),
        Err(exception) => Err(exception),
    };
    match moved {
        Ok(true) => running.core.hardware.skip_instruction(),
        Ok(false) => {}
        Err(exception) => running.core.hardware.inject(exception),
    }
    After::Resume
}

/// A part of a batch in one page. Where no memory is, reads give ones and writes are dropped.
#[derive(Clone, Copy)]
struct Place<'a> {
    page: Option<&'a PageWords>,
    offset: usize,
    length: usize,
}

/// Reads a batch from the guest's memory; ones where there is none.
///
/// **Errors:** the exception that the memory raises.
pub(super) fn read_memory<M: Machine>(running: &Running<'_, M>, batch: &Batch) -> Result<u64, Exception> {
    let places = places(running, true, batch)?;
    let mut bytes = [0; size_of::<u64>()];
    each_part(&places, bytes.get_mut(..batch.length()).unwrap_or_default(), |place, part| {
        if !place.page.is_some_and(|page| page.read_bytes(place.offset, part)) {
            part.fill(0xff);
        }
    });
    Ok(u64::from_le_bytes(bytes))
}

/// Writes a batch of one element to the guest's memory; it is dropped where there is none.
///
/// **Errors:** the exception that the memory raises.
pub(super) fn write_memory<M: Machine>(running: &Running<'_, M>, batch: &Batch, value: u64) -> Result<(), Exception> {
    let places = places(running, false, batch)?;
    let mut bytes = value.to_le_bytes();
    each_part(&places, bytes.get_mut(..batch.length()).unwrap_or_default(), |place, part| {
        let _ = place.page.is_none_or(|page| page.write_bytes(place.offset, part));
    });
    Ok(())
}

/// What stands behind a batch, for one that hands it out whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Behind {
    /// The guest's own memory, from this address on.
    Ram(Gpa),
    /// No memory at this address: perhaps a device.
    Device(Gpa),
    /// Parts of two pages, or a page that is not the guest's own.
    Other,
}

/// Finds what stands behind a batch, by the guest's page tables and with its rights. The address is that of the element
/// that comes first. `read` says that the memory is read.
///
/// **Errors:** a page fault, as the processor would raise it.
pub(super) fn behind<M: Machine>(running: &Running<'_, M>, read: bool, batch: &Batch) -> Result<Behind, Exception> {
    let Running { hv, domain, .. } = *running;
    let paging = running.core.hardware.paging();
    let wanted = wanted(read, paging.cpl);
    let [(start, _), (_, next)] = batch.parts();
    let memory = hv.memory(domain);
    let mut lookups = Lookups::new(&memory);
    let gpa = translate(&mut lookups, &paging, Gva(start), wanted)
        .map_err(|fault| page_fault(batch.first(), fault.present, wanted))?;
    if next != 0 {
        return Ok(Behind::Other);
    }
    let first = gpa.checked_add(batch.offset(0) as u64).unwrap_or(gpa);
    Ok(match hv.memory(domain).find(gpa.gfn()) {
        None => Behind::Device(first),
        Some(there) if there.kind != PageKind::Ram => Behind::Other,
        Some(there) if !there.rights.contains(if read { Rights::READ } else { Rights::DATA }) => Behind::Other,
        Some(_) => Behind::Ram(first),
    })
}

/// Returns the rights that an access of code at this privilege level needs.
pub(super) fn wanted(read: bool, cpl: u8) -> Wanted {
    let mut wanted = if read { Wanted::empty() } else { Wanted::WRITE };
    wanted.set(Wanted::USER, cpl == 3);
    wanted
}

/// Moves the elements of a batch.
///
/// **Errors:** the exception that the memory raises; then the port was not accessed.
fn transfer<M: Machine>(running: &mut Running<'_, M>, access: IoAccess, batch: &Batch) -> Result<(), Exception> {
    let places = places(running, access.write, batch)?;
    let Running { hv, domain, .. } = *running;
    let mut buffer = [0; MOST_BYTES];
    let length = batch.length();
    let bytes = buffer.get_mut(..length).unwrap_or_default();
    if access.write {
        each_part(&places, bytes, |place, part| {
            if !place.page.is_some_and(|page| page.read_bytes(place.offset, part)) {
                part.fill(0xff);
            }
        });
    }
    for index in 0..batch.elements {
        let at = batch.offset(index);
        let Some(element) = bytes.get_mut(at..at.saturating_add(batch.bytes as usize)) else { continue };
        if access.write {
            let mut value = [0; 4];
            value.iter_mut().zip(element.iter()).for_each(|(to, from)| *to = *from);
            output(hv, domain, access, u32::from_le_bytes(value));
        } else {
            let value = input(hv, domain, access).unwrap_or(u32::MAX).to_le_bytes();
            element.iter_mut().zip(value).for_each(|(to, from)| *to = from);
        }
    }
    if !access.write {
        each_part(&places, bytes, |place, part| {
            let _ = place.page.is_none_or(|page| page.write_bytes(place.offset, part));
        });
    }
    Ok(())
}

/// Calls `work` with each place and its part of the bytes.
fn each_part(places: &[Place<'_>; 2], bytes: &mut [u8], mut work: impl FnMut(&Place<'_>, &mut [u8])) {
    let mut rest = bytes;
    for place in places {
        let Some((part, after)) = rest.split_at_mut_checked(place.length) else { return };
        if !part.is_empty() {
            work(place, part);
        }
        rest = after;
    }
}

/// Finds the memory of a batch, by the guest's page tables and with its rights.
///
/// **Errors:** a page fault, as the processor would raise it; general protection where memory may only be read.
fn places<'a, M: Machine>(running: &Running<'a, M>, outs: bool, batch: &Batch) -> Result<[Place<'a>; 2], Exception> {
    let Running { hv, domain, .. } = *running;
    let paging = running.core.hardware.paging();
    let wanted = wanted(outs, paging.cpl);
    let memory = hv.memory(domain);
    let mut lookups = Lookups::new(&memory);
    let mut places = [Place { page: None, offset: 0, length: 0 }; 2];
    for (index, (place, (at, length))) in places.iter_mut().zip(batch.parts()).enumerate() {
        if length == 0 {
            continue;
        }
        let faults_at = if index == 0 { batch.first() } else { at };
        let gpa = translate(&mut lookups, &paging, Gva(at), wanted)
            .map_err(|fault| page_fault(faults_at, fault.present, wanted))?;
        let page = lookups.ram_page(gpa, !outs);
        if page.is_none() && !outs && is_memory(&domain.space, gpa) {
            // It was granted for reading alone.
            return Err(Exception::GENERAL_PROTECTION);
        }
        *place = Place { page, offset: gpa.page_offset(), length };
    }
    Ok(places)
}

fn is_memory(space: &impl NestedSpace, at: Gpa) -> bool {
    space.lookup(at.gfn()).is_some_and(|mapping| mapping.kind != PageKind::Mmio)
}

/// Returns the page fault of an access. **Source:** AMD manual volume 2, 8.4.2 (error code).
pub(super) fn page_fault(at: u64, present: bool, wanted: Wanted) -> Exception {
    let bit = |condition: bool, bit: u32| if condition { bit } else { 0 };
    let error = bit(present, ERROR_PRESENT)
        | bit(wanted.contains(Wanted::WRITE), ERROR_WRITE)
        | bit(wanted.contains(Wanted::USER), ERROR_USER);
    Exception { vector: vector::PAGE_FAULT, error_code: Some(error), address: Some(at) }
}
