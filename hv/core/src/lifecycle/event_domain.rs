//! A domain of the hypervisor as event channels see it.

use crate::components::event_channel::{EventChannels, EventDomain, raise_global};
use crate::components::grant::World;
use crate::components::reference::Reference;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::{DomainHandle, DomainRef, Hypervisor};
use crate::lifecycle::waking::{answer_came, notify_number};
use crate::memory::frames::PageRef;
use core::ops::Deref;
use core::sync::atomic::Ordering;
use xen_abi::{DomId, Errno, Gfn, Mfn, Port, VcpuId};
use xenolith_hal::{Machine, PageKind, PageWords, Rights};

/// The number of PIRQs of the control domain, and of other domains.
const PIRQS_OF_CONTROL_DOMAIN: u32 = 256;
const PIRQS: u32 = 56;

/// A domain together with its hypervisor.
pub struct HostedDomain<'a, M: Machine> {
    hv: &'a Hypervisor<M>,
    domain: DomainHandle<'a, M>,
}

impl<'a, M: Machine> HostedDomain<'a, M> {
    /// Creates it from a domain that the caller keeps alive.
    pub const fn new(hv: &'a Hypervisor<M>, domain: &'a Domain<M>) -> Self {
        Self { hv, domain: Reference::Borrowed(domain) }
    }

    /// Creates it from a domain that this keeps alive.
    pub const fn of(hv: &'a Hypervisor<M>, domain: DomainRef<M>) -> Self {
        Self { hv, domain: Reference::Shared(domain) }
    }
}

impl<M: Machine> Deref for HostedDomain<'_, M> {
    type Target = Domain<M>;

    fn deref(&self) -> &Domain<M> {
        &self.domain
    }
}

impl<M: Machine> EventDomain for HostedDomain<'_, M> {
    type Page = PageWords;

    fn events(&self) -> &EventChannels {
        &self.events
    }

    fn peer(&self, id: DomId) -> Option<Self> {
        Some(Self { hv: self.hv, domain: Reference::Shared(self.hv.domains.get(id)?) })
    }

    fn shared_info(&self) -> Option<&PageWords> {
        self.hv.machine.page(self.shared_info)
    }

    #[inline]
    fn vcpu_info(&self, vcpu: VcpuId) -> Option<(&PageWords, usize)> {
        self.vcpu(vcpu)?.info(&self.hv.machine)
    }

    fn event_page(&self, frame: Mfn) -> Option<&PageWords> {
        self.hv.machine.page(frame)
    }

    #[inline]
    fn pin_event_page(&self, gfn: Gfn) -> Result<Mfn, Errno> {
        let mapping = self.hv.memory(self).find(gfn).ok_or(Errno::EINVAL)?;
        if !matches!(mapping.kind, PageKind::Ram | PageKind::Shared) || !mapping.rights.contains(Rights::WRITE) {
            return Err(Errno::EINVAL);
        }
        // The frame may have left the domain since it was looked up: then there is no reference to be had.
        let reference = self.hv.frames.reference(mapping.mfn, self.id).ok_or(Errno::EINVAL)?;
        Ok(reference.into_mapping())
    }

    fn unpin_event_page(&self, frame: Mfn) {
        self.hv.frames.put(PageRef::of_mapping(frame));
    }

    fn upcall(&self, vcpu: VcpuId) {
        let Some(target) = self.vcpu(vcpu) else { return };
        let vector = target.upcall_vector.load(Ordering::SeqCst);
        if vector != 0 {
            target.requests.post_vector(vector);
        }
        notify_number(self.hv, self, vcpu);
    }

    fn wake(&self, vcpu: VcpuId) {
        notify_number(self.hv, self, vcpu);
    }

    /// Makes the vCPU look at the answer of a device model: the hypervisor listens for nothing else.
    fn hypervisor_event(&self, vcpu: VcpuId, _port: Port) {
        if let Some(vcpu) = self.vcpu(vcpu) {
            answer_came(self.hv, self, vcpu);
        }
    }

    fn charge_heap(&self, bytes: u64) -> bool {
        self.hv.frames.account(self.id).is_some_and(|account| account.charge_heap(bytes))
    }

    fn pirq_limit(&self) -> u32 {
        if self.privileged { PIRQS_OF_CONTROL_DOMAIN } else { PIRQS }
    }
}

/// Raises a global VIRQ in the domain that handles it. Does nothing if that domain has not bound it.
pub fn raise_for_handler<M: Machine>(hv: &Hypervisor<M>, virq: u32) {
    if let Some(handler) = hv.domains.get(hv.global_virqs.handler(virq)) {
        raise_global(&HostedDomain::of(hv, handler), virq);
    }
}
