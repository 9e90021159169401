//! What event channels need of the domain that they belong to.

use super::EventChannels;
use super::guest_words::GuestWords;
use xen_abi::{DomId, Errno, Gfn, Mfn, Port, VcpuId};

/// A domain, as event channels see it: a handle that is cheap to clone.
///
/// Pages given out here are the guest's to write at any moment. None of the calls may take a lock that stands at or
/// before `EventQueue` in the order of ranks, except [`EventDomain::pin_event_page`] and
/// [`EventDomain::unpin_event_page`], which are called with `EventPorts` held at most.
pub trait EventDomain: Sized {
    /// A page that the guest can write.
    type Page: GuestWords + ?Sized;

    /// The domain's event channels.
    fn events(&self) -> &EventChannels;

    /// Another domain that still has event channels, dying or not; none if there is none of that number.
    ///
    /// A domain must be found here until [`super::teardown`] said that it is done.
    fn peer(&self, id: DomId) -> Option<Self>;

    /// The page shared with the hypervisor; none while there is none yet.
    fn shared_info(&self) -> Option<&Self::Page>;

    /// Where a vCPU's `vcpu_info` lies: the page, and the offset in bytes. None if the vCPU has no place for it.
    fn vcpu_info(&self, vcpu: VcpuId) -> Option<(&Self::Page, usize)>;

    /// A frame that [`EventDomain::pin_event_page`] gave and that was not unpinned since.
    fn event_page(&self, frame: Mfn) -> Option<&Self::Page>;

    /// Takes a reference to the writable RAM at `gfn`, so that the frame stays the domain's until it is unpinned.
    ///
    /// **Errors:** `EINVAL` if there is no RAM of the domain's that it may write; `ENOMEM`.
    fn pin_event_page(&self, gfn: Gfn) -> Result<Mfn, Errno>;

    /// Gives such a reference back.
    fn unpin_event_page(&self, frame: Mfn);

    /// `evtchn_upcall_pending` of the vCPU was just set: interrupt it, wake it if it blocks.
    fn upcall(&self, vcpu: VcpuId);

    /// An event came for which the vCPU polls: wake it.
    fn wake(&self, vcpu: VcpuId);

    /// An event came at a port that the hypervisor itself listens on, on behalf of the vCPU.
    fn hypervisor_event(&self, vcpu: VcpuId, port: Port);

    /// One past the highest physical interrupt that the domain may name.
    fn pirq_limit(&self) -> u32;
}
