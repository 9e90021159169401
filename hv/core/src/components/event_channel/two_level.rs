//! The 2-level ABI: a bit for each port in the shared_info page, and a selector bit for each word of those in
//! `vcpu_info`.
//!
//! The guest may change every bit at any moment; each is read or changed once, so nothing it does can make a loop.

use super::delivery::{mark_upcall, wake_pollers};
use super::domain::EventDomain;
use super::guest_words::{look_after_change, test, test_and_clear, test_and_set};
use xen_abi::shared_info_compat::SharedLayout;
use xen_abi::{Port, VcpuId};

/// Returns the shared page and the offsets in it; None for a port that has no bit there.
#[inline]
fn shared<D: EventDomain>(domain: &D, port: Port) -> Option<(&D::Page, &'static SharedLayout)> {
    let places = domain.events().form().places();
    if port.0 >= places.ports {
        return None;
    }
    Some((domain.shared_info()?, places))
}

/// Sets the selector bit of the port's word and, if it was clear, the vCPU's upcall flag.
fn select<D: EventDomain>(domain: &D, places: &SharedLayout, port: Port, vcpu: VcpuId) {
    let Some((page, offset)) = domain.vcpu_info(vcpu) else { return };
    let Some(selector) = offset.checked_add(places.pending_sel) else { return };
    if !test_and_set(page, selector, port.0 >> places.word_shift) {
        mark_upcall(domain, vcpu);
    }
}

pub(super) fn set_pending<D: EventDomain>(domain: &D, port: Port, vcpu: VcpuId) {
    let Some((page, places)) = shared(domain, port) else { return };
    if test_and_set(page, places.evtchn_pending, port.0) {
        return;
    }
    // The mask is read after the pending bit was set, and the guest looks at the pending bit after it cleared the
    // mask: one of the two sees the other.
    look_after_change();
    if !test(page, places.evtchn_mask, port.0) {
        select(domain, places, port, vcpu);
    }
    wake_pollers(domain, port);
}

pub(super) fn clear_pending<D: EventDomain>(domain: &D, port: Port) {
    if let Some((page, places)) = shared(domain, port) {
        test_and_clear(page, places.evtchn_pending, port.0);
    }
}

pub(super) fn unmask<D: EventDomain>(domain: &D, port: Port, vcpu: VcpuId) {
    let Some((page, places)) = shared(domain, port) else { return };
    if !test_and_clear(page, places.evtchn_mask, port.0) {
        return;
    }
    look_after_change();
    if test(page, places.evtchn_pending, port.0) {
        select(domain, places, port, vcpu);
    }
}

#[inline]
pub(super) fn is_pending<D: EventDomain>(domain: &D, port: Port) -> bool {
    shared(domain, port).is_some_and(|(page, places)| test(page, places.evtchn_pending, port.0))
}
