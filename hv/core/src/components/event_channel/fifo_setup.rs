//! Switching to the FIFO ABI, and its settings.

use super::delivery::set_pending;
use super::domain::EventDomain;
use super::guest_words::look_after_change;
use super::two_level;
use super::vcpu_state::{ControlBlock, VcpuState};
use xen_abi::event_channel::EVTCHN_2L_NR_CHANNELS;
use xen_abi::event_fifo::{
    EVTCHN_FIFO_LINK_BITS, EVTCHN_FIFO_PRIORITY_DEFAULT, EVTCHN_FIFO_PRIORITY_MIN, EvtchnFifoControlBlock,
};
use xen_abi::{Errno, Gfn, Port, VcpuId};
use xenolith_hal::PAGE_SIZE;

/// Where the last control block of a page can begin.
const LAST_OFFSET: usize = PAGE_SIZE - size_of::<EvtchnFifoControlBlock>();

/// Implements `EVTCHNOP_init_control`: sets a vCPU's control block, at `offset` bytes of the frame. The first one
/// switches the domain to the FIFO ABI; events that are pending then are raised again when the event array gets their
/// words. Returns the width of a link in bits.
///
/// **Errors:** `ENOENT` if there is no such vCPU; `EINVAL` if the block does not lie in the page or not on a multiple
/// of 8, if the vCPU has one, or if there is no RAM that the guest may write; `ENOMEM`.
pub fn init_control<D: EventDomain>(domain: &D, vcpu: VcpuId, gfn: Gfn, offset: u32) -> Result<u8, Errno> {
    let events = domain.events();
    let state = events.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let offset = offset as usize;
    if offset > LAST_OFFSET || !offset.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let _bindings = events.bindings.lock();
    map_control_block(domain, state, gfn, offset)?;
    if !events.is_fifo() {
        events.array().activate();
        carry_over(domain);
    }
    Ok(EVTCHN_FIFO_LINK_BITS as u8)
}

fn map_control_block<D: EventDomain>(domain: &D, state: &VcpuState, gfn: Gfn, offset: usize) -> Result<(), Errno> {
    if state.control_block().is_some() {
        return Err(Errno::EINVAL);
    }
    let frame = domain.pin_event_page(gfn)?;
    state.set_control_block(Some(ControlBlock { frame, offset }));
    Ok(())
}

/// Notes the events that are pending in the 2-level ABI, for when their event words come. There may be more ports than
/// that ABI has, from before a reset: they have no events.
fn carry_over<D: EventDomain>(domain: &D) {
    for (port, cell) in domain.events().ports().iter().take(EVTCHN_2L_NR_CHANNELS as usize).skip(1) {
        cell.set_priority(EVTCHN_FIFO_PRIORITY_DEFAULT as u8);
        if cell.peek().is_usable() && two_level::is_pending(domain, port) {
            cell.note_early();
        }
    }
}

/// Implements `EVTCHNOP_expand_array`: adds a page of event words, and raises the events that waited for them.
///
/// **Errors:** `EOPNOTSUPP` in the 2-level ABI; `ENOSPC` if the array has its 128 pages; `EINVAL` if there is no RAM
/// that the guest may write; `ENOMEM`.
pub fn expand_array<D: EventDomain>(domain: &D, gfn: Gfn) -> Result<(), Errno> {
    let events = domain.events();
    let _bindings = events.bindings.lock();
    if !events.is_fifo() {
        return Err(Errno::EOPNOTSUPP);
    }
    events.array().check_room()?;
    let first = events.array().words();
    events.array().push(domain.pin_event_page(gfn)?);
    look_after_change();
    for port in first..events.array().words().min(events.ports().valid()) {
        let Some(cell) = events.ports().get(Port(port)) else { break };
        if cell.take_early() {
            set_pending(domain, Port(port), cell, cell.peek());
        }
    }
    Ok(())
}

/// Implements `EVTCHNOP_set_priority`: sets the priority of the port's later events; 0 is the highest.
///
/// **Errors:** `EINVAL` if there is no such port; `ENOSYS` in the 2-level ABI; `EACCES` if the port is not bound or is
/// the hypervisor's; `EINVAL` for a priority above 15.
pub fn set_priority<D: EventDomain>(domain: &D, port: Port, priority: u32) -> Result<(), Errno> {
    let events = domain.events();
    let cell = events.ports().get(port).ok_or(Errno::EINVAL)?;
    let held = cell.hold();
    if !events.is_fifo() {
        return Err(Errno::ENOSYS);
    }
    if !held.binding().is_usable() {
        return Err(Errno::EACCES);
    }
    if priority > EVTCHN_FIFO_PRIORITY_MIN {
        return Err(Errno::EINVAL);
    }
    cell.set_priority(u8::try_from(priority).map_err(|_| Errno::EINVAL)?);
    Ok(())
}
