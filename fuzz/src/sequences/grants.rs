//! Grants made, mapped, copied, swapped, and tables switched between versions.

use xen_abi::grant_entry::{GTF_PERMIT_ACCESS, GTF_READONLY, GTF_SUB_PAGE, GTF_TRANSITIVE};
use xen_abi::grant_table::*;
use xen_abi::hypercall::GRANT_TABLE_OP;
use xen_abi::{DomId, GrantHandle, GrantRef};
use xenolith_core::components::grant::Part;
use xenolith_hal::Machine;

use super::stage::{ARGUMENT, Guest, RAM, SPAN, Stage};

/// The most grants and ports that are remembered.
const MOST_KNOWN: usize = 64;

impl Stage<'_> {
    fn reference(&mut self) -> GrantRef {
        GrantRef(self.dice.u32(8..40))
    }

    /// Writes an entry of the guest's own table, as the guest does.
    fn grant(&mut self, guest: &Guest) {
        let reference = self.reference().0 as usize;
        let (version, frame) = guest.grants.with_shape(|shape| {
            (shape.version().number(), shape.part(Part::Entries).first().map(|frame| frame.frame.mfn()))
        });
        let Some(page) = frame.and_then(|mfn| self.hv.machine.page(mfn)) else { return };
        let read_only = if self.dice.bool() { GTF_READONLY } else { 0 };
        let grantee = self.domain();
        self.granted.push((guest.id, grantee, GrantRef(reference as u32)));
        if self.granted.len() > MOST_KNOWN {
            self.granted.swap_remove(self.dice.usize(..MOST_KNOWN));
        }
        let to = u64::from(grantee.0) << 16;
        let gfn = if self.dice.u8(..8) > 0 { self.dice.u64(RAM) } else { self.gfn() };
        if version == 1 {
            let _ = page.store_u64(reference * 8, u64::from(GTF_PERMIT_ACCESS | read_only) | to | gfn << 32);
            return;
        }
        let (flags, rest, second) = match self.dice.u8(..4) {
            0 => (GTF_TRANSITIVE, u64::from(self.domain().0), self.dice.u64(8..40)),
            1 => (GTF_PERMIT_ACCESS | GTF_SUB_PAGE, self.dice.u64(..4096) | self.dice.u64(..4096) << 16, gfn),
            _ => (GTF_PERMIT_ACCESS, 0, gfn),
        };
        let _ = page.store_u64(reference * 16 + 8, second);
        let _ = page.store_u64(reference * 16, u64::from(flags | read_only) | to | rest << 32);
    }

    /// A grant to this guest, if one is known.
    fn granted_to(&mut self, guest: &Guest) -> Option<(DomId, GrantRef)> {
        let first = self.dice.usize(..self.granted.len().max(1));
        let mut known = self.granted.iter().cycle().skip(first).take(self.granted.len());
        known.find(|(_, to, _)| *to == guest.id).map(|(from, _, reference)| (*from, *reference))
    }

    fn map(&mut self, guest: &Guest) -> Option<()> {
        let at = self.dice.u64(32..SPAN) << 12;
        let read_only = if self.dice.bool() { GrantMapFlags::READONLY } else { GrantMapFlags::empty() };
        let known = self.granted_to(guest).filter(|_| self.dice.u8(..8) > 0);
        let (dom, gref) = known.unwrap_or_else(|| (self.domain(), self.reference()));
        let value = GnttabMapGrantRef {
            host_addr: at,
            flags: GrantMapFlags::HOST_MAP | read_only,
            gref,
            dom,
            ..GnttabMapGrantRef::default()
        };
        self.op(guest, GRANT_TABLE_OP, GNTTABOP_MAP_GRANT_REF, &value, 1)?;
        if let Some(done) = self.read::<GnttabMapGrantRef>(guest, ARGUMENT)
            && done.status == GNTST_OKAY
        {
            self.mapped += 1;
            self.handles.push((guest.id.0, done.handle.0, at));
        }
        Some(())
    }

    fn unmap(&mut self, guest: &Guest) -> Option<()> {
        let known = self.handles.len();
        let (_, handle, at) = match known {
            0 => (0, self.dice.u32(..20), 0),
            _ if self.dice.u8(..4) > 0 => self.handles.swap_remove(self.dice.usize(..known)),
            // It is unmapped and stays known: twice is an error.
            _ => self.handles.get(self.dice.usize(..known)).copied().unwrap_or_default(),
        };
        let host_addr = if self.dice.u8(..8) == 0 { 0 } else { at };
        let value = GnttabUnmapGrantRef { host_addr, handle: GrantHandle(handle), ..GnttabUnmapGrantRef::default() };
        self.op(guest, GRANT_TABLE_OP, GNTTABOP_UNMAP_GRANT_REF, &value, 1).map(drop)
    }

    fn copy_end(&mut self) -> (GnttabCopyPtr, bool) {
        let by_grant = self.dice.u8(..3) > 0;
        let domid = if by_grant { self.domain() } else { DomId::SELF };
        let number = if by_grant { self.dice.u64(8..40) } else { self.gfn() };
        let mut end = GnttabCopyPtr { domid, offset: self.dice.u16(..64), ..GnttabCopyPtr::default() };
        end.u.write(number);
        (end, by_grant)
    }

    fn copy(&mut self, guest: &Guest) -> Option<()> {
        let ((source, from), (dest, to)) = (self.copy_end(), self.copy_end());
        let mut flags = GrantCopyFlags::empty();
        flags.set(GrantCopyFlags::SOURCE_GREF, from);
        flags.set(GrantCopyFlags::DEST_GREF, to);
        let value = GnttabCopy { source, dest, len: self.dice.u16(..4096), flags, ..GnttabCopy::default() };
        self.op(guest, GRANT_TABLE_OP, GNTTABOP_COPY, &value, 1).map(drop)
    }

    /// Makes one step with grants; none where the vCPU makes calls no more.
    pub fn use_grants(&mut self, guest: &Guest) -> Option<()> {
        match self.dice.u8(..32) {
            0..=8 => {
                self.grant(guest);
                Some(())
            }
            9..=16 => self.map(guest),
            17..=23 => self.unmap(guest),
            24..=28 => self.copy(guest),
            29 if self.dice.u8(..64) == 0 => {
                let value = GnttabSetVersion { version: self.dice.u32(1..3) };
                self.op(guest, GRANT_TABLE_OP, GNTTABOP_SET_VERSION, &value, 1).map(drop)
            }
            29 | 30 => {
                let value = GnttabQuerySize { dom: self.domain(), ..GnttabQuerySize::default() };
                self.op(guest, GRANT_TABLE_OP, GNTTABOP_QUERY_SIZE, &value, 1).map(drop)
            }
            _ => {
                let (ref_a, ref_b) = (self.reference(), self.reference());
                let value = GnttabSwapGrantRef { ref_a, ref_b, ..GnttabSwapGrantRef::default() };
                self.op(guest, GRANT_TABLE_OP, GNTTABOP_SWAP_GRANT_REF, &value, 1).map(drop)
            }
        }
    }
}
