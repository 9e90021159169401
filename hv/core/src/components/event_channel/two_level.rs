//! The 2-level ABI: a bit for each port in the shared_info page, and a selector bit for each word of those in
//! `vcpu_info`.
//!
//! The guest may change every bit at any moment; each is read or changed once, so nothing it does can make a loop.

use super::delivery::{mark_upcall, wake_pollers};
use super::domain::EventDomain;
use super::guest_words::{look_after_change, test, test_and_clear, test_and_set};
use xen_abi::event_channel::EVTCHN_2L_NR_CHANNELS;
use xen_abi::shared_info::{SHARED_INFO_EVTCHN_MASK, SHARED_INFO_EVTCHN_PENDING, VCPU_INFO_PENDING_SEL};
use xen_abi::{Port, VcpuId};

const BITS_PER_WORD: u32 = u64::BITS;

fn shared<D: EventDomain>(domain: &D, port: Port) -> Option<&D::Page> {
    if port.0 >= EVTCHN_2L_NR_CHANNELS {
        return None;
    }
    domain.shared_info()
}

/// Sets the selector bit of the port's word and, if it was clear, the vCPU's upcall flag.
fn select<D: EventDomain>(domain: &D, port: Port, vcpu: VcpuId) {
    let Some((page, offset)) = domain.vcpu_info(vcpu) else { return };
    let Some(selector) = offset.checked_add(VCPU_INFO_PENDING_SEL) else { return };
    if !test_and_set(page, selector, port.0 / BITS_PER_WORD) {
        mark_upcall(domain, vcpu);
    }
}

pub(super) fn set_pending<D: EventDomain>(domain: &D, port: Port, vcpu: VcpuId) {
    let Some(page) = shared(domain, port) else { return };
    if test_and_set(page, SHARED_INFO_EVTCHN_PENDING, port.0) {
        return;
    }
    // The mask is read after the pending bit was set, and the guest looks at the pending bit after it cleared the
    // mask: one of the two sees the other.
    look_after_change();
    if !test(page, SHARED_INFO_EVTCHN_MASK, port.0) {
        select(domain, port, vcpu);
    }
    wake_pollers(domain, port);
}

pub(super) fn clear_pending<D: EventDomain>(domain: &D, port: Port) {
    if let Some(page) = shared(domain, port) {
        test_and_clear(page, SHARED_INFO_EVTCHN_PENDING, port.0);
    }
}

pub(super) fn unmask<D: EventDomain>(domain: &D, port: Port, vcpu: VcpuId) {
    let Some(page) = shared(domain, port) else { return };
    if !test_and_clear(page, SHARED_INFO_EVTCHN_MASK, port.0) {
        return;
    }
    look_after_change();
    if test(page, SHARED_INFO_EVTCHN_PENDING, port.0) {
        select(domain, port, vcpu);
    }
}

pub(super) fn is_pending<D: EventDomain>(domain: &D, port: Port) -> bool {
    shared(domain, port).is_some_and(|page| test(page, SHARED_INFO_EVTCHN_PENDING, port.0))
}
