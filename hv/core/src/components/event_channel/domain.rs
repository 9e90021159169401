//! The domain's side of event channels: what they need of the domain that they belong to.

use super::EventChannels;
use super::guest_words::GuestWords;
use xen_abi::{DomId, Errno, Gfn, Mfn, Port, VcpuId};

/// A domain as event channels see it: a handle that is cheap to clone.
///
/// The guest may write the pages returned here at any moment. None of the methods may take a lock that stands at or
/// before `EventQueue` in the order of ranks, except [`EventDomain::pin_event_page`] and
/// [`EventDomain::unpin_event_page`], which are called with `EventPorts` held at most.
pub trait EventDomain: Sized {
    /// A page that the guest can write.
    type Page: GuestWords + ?Sized;

    /// Returns the domain's event channels.
    fn events(&self) -> &EventChannels;

    /// Returns another domain that still has event channels, dying or not; None if there is none with that number.
    ///
    /// A domain must be found here until [`super::teardown`] is done.
    fn peer(&self, id: DomId) -> Option<Self>;

    /// Returns the shared_info page; None while there is none yet.
    fn shared_info(&self) -> Option<&Self::Page>;

    /// Returns where a vCPU's `vcpu_info` is: the page, and the offset in bytes. None if the vCPU has none.
    fn vcpu_info(&self, vcpu: VcpuId) -> Option<(&Self::Page, usize)>;

    /// Returns a frame that [`EventDomain::pin_event_page`] returned and that was not unpinned since.
    fn event_page(&self, frame: Mfn) -> Option<&Self::Page>;

    /// Takes a reference to the writable RAM at `gfn`, so that the frame stays the domain's until it is unpinned.
    ///
    /// **Errors:** `EINVAL` if there is no RAM of the domain's that it may write; `ENOMEM`.
    fn pin_event_page(&self, gfn: Gfn) -> Result<Mfn, Errno>;

    /// Drops such a reference.
    fn unpin_event_page(&self, frame: Mfn);

    /// Interrupts the vCPU, or wakes it if it blocks: its `evtchn_upcall_pending` was just set.
    fn upcall(&self, vcpu: VcpuId);

    /// Wakes a vCPU: an event came for which it polls.
    fn wake(&self, vcpu: VcpuId);

    /// Handles an event at a port on which the hypervisor itself listens, on behalf of the vCPU.
    fn hypervisor_event(&self, vcpu: VcpuId, port: Port);

    /// Charges bytes of the hypervisor's heap to the domain; false if its budget does not allow them.
    fn charge_heap(&self, _bytes: u64) -> bool {
        true
    }

    /// Returns the number one past the highest PIRQ that the domain may bind.
    fn pirq_limit(&self) -> u32;
}
