//! Pages placed, mapped from other domains, given back and taken anew.

use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::*;
use xen_abi::physmap::*;
use xen_abi::{DomId, Gfn, GuestHandle};
use zerocopy::IntoBytes;

use super::stage::{Guest, LIST, SPAN, Stage};

impl Stage<'_> {
    fn place(&mut self, guest: &Guest, domid: DomId) -> Option<()> {
        let (space, idx) = match self.dice.u8(..4) {
            0 => (XENMAPSPACE_SHARED_INFO, 0),
            1 => {
                let status = if self.dice.bool() { XENMAPIDX_GRANT_TABLE_STATUS } else { 0 };
                (XENMAPSPACE_GRANT_TABLE, self.dice.u64(..3) | status)
            }
            _ => (XENMAPSPACE_GMFN, self.gfn()),
        };
        let value = AddToPhysmap { domid, space, idx, gpfn: Gfn(self.gfn()), ..AddToPhysmap::default() };
        self.op(guest, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &value, 0).map(drop)
    }

    fn map_foreign(&mut self, guest: &Guest, domid: DomId) -> Option<()> {
        let value = AddToPhysmapBatch {
            domid,
            space: XENMAPSPACE_GMFN_FOREIGN as u16,
            size: 1,
            foreign_domid: self.domain(),
            idxs: GuestHandle::new(LIST),
            gpfns: GuestHandle::new(LIST + 8),
            errs: GuestHandle::new(LIST + 16),
        };
        let list = [self.gfn(), self.dice.u64(32..SPAN)];
        self.write(guest, LIST, list.as_bytes());
        self.op(guest, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP_BATCH, &value, 0).map(drop)
    }

    /// Sets or asks for what a domain is to have, of which it populates the rest on demand.
    fn set_target(&mut self, guest: &Guest) -> Option<()> {
        let value = PodTarget { target_pages: self.dice.u64(..3 * SPAN), domid: self.domain(), ..PodTarget::default() };
        let operation = if self.dice.u8(..4) == 0 { XENMEM_GET_POD_TARGET } else { XENMEM_SET_POD_TARGET };
        self.op(guest, MEMORY_OP, operation, &value, 0).map(drop)
    }

    fn reserve(&mut self, guest: &Guest, domid: DomId) -> Option<()> {
        let on_demand = if self.dice.u8(..4) == 0 { MemFlags::POPULATE_ON_DEMAND } else { MemFlags::default() };
        let value = MemoryReservation {
            mem_flags: on_demand,
            extent_start: GuestHandle::new(LIST),
            nr_extents: self.dice.u64(1..4),
            extent_order: self.dice.u32(..2),
            domid,
            ..MemoryReservation::default()
        };
        let list = [self.gfn(), self.gfn(), self.gfn()];
        self.write(guest, LIST, list.as_bytes());
        let operation = match self.dice.u8(..8) {
            0..=5 => XENMEM_POPULATE_PHYSMAP,
            6 => XENMEM_DECREASE_RESERVATION,
            _ => XENMEM_INCREASE_RESERVATION,
        };
        self.op(guest, MEMORY_OP, operation, &value, 0).map(drop)
    }

    /// Makes one step with memory, a control domain on others too; none where the vCPU makes calls no more.
    pub fn use_memory(&mut self, guest: &Guest) -> Option<()> {
        let target = if guest.privileged { self.domain() } else { DomId::SELF };
        match self.dice.u8(..9) {
            8 => self.set_target(guest),
            0 | 1 => self.place(guest, target),
            2 | 3 => self.map_foreign(guest, target),
            4 => {
                let value = RemoveFromPhysmap { domid: target, gpfn: Gfn(self.gfn()), ..RemoveFromPhysmap::default() };
                self.op(guest, MEMORY_OP, XENMEM_REMOVE_FROM_PHYSMAP, &value, 0).map(drop)
            }
            _ => self.reserve(guest, target),
        }
    }
}
