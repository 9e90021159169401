//! The hypervisor's part of `xl save`, `migrate` and `restore`: what libxc and Linux's privcmd ask of it in a PVH domain 0, frame
//! by frame. What the data costs itself, to be copied and sent, is the same on every hypervisor and is left out: of each page one
//! word is read or written.

use xen_abi::domctl::*;
use xen_abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use xen_abi::{DomId, Gfn, GuestHandle};
use xenolith_guest_kit::calls::memory;
use xenolith_guest_kit::domain::{SPARE, address, after};
use xenolith_guest_kit::foreign;
use xenolith_guest_kit::pages::{self, Page, read_at, write_at};
use xenolith_guest_kit::toolstack::{checked, domctl, plain, set};

use crate::bench::{Bench, Meter, Row, counter};
use crate::life::{create, end, furnish};

/// Frames of the guest: 256 MiB. libxc handles this many of them at a time.
const FRAMES: u64 = 65_536;
const AT_ONCE: u64 = 1024;
/// A part whose cost is the row of 1 MiB.
const OF_1_MIB: u64 = 256;
const EXTENTS: u64 = FRAMES / 512;
const STATE_PAGES: usize = 4;
const ROWS: &[&str] = &["stream/1-mib", "save/256-mib", "restore/256-mib"];

/// Takes the rows.
pub fn run(b: &mut Bench<'_>) {
    if !b.wants(ROWS) {
        return;
    }
    let room = Room::new();
    b.row(ROWS[0], |meter| room.stream(meter));
    b.row(ROWS[1], |meter| room.save(meter));
    b.row(ROWS[2], |meter| room.restore(meter));
}

/// Pages for lists.
struct Room {
    scratch: &'static Page,
    /// A list of frames.
    list: &'static [Page],
    bitmap: &'static [Page],
    state: &'static [Page],
}

impl Room {
    fn new() -> Self {
        Self {
            scratch: pages::take(),
            list: pages::take_many((AT_ONCE as usize * 8).div_ceil(pages::PAGE_BYTES), 1),
            bitmap: pages::take_many((FRAMES as usize / 8).div_ceil(pages::PAGE_BYTES), 1),
            state: pages::take_many(STATE_PAGES, 1),
        }
    }

    fn guest(&self) -> Result<DomId, i64> {
        let id = create()?;
        furnish(self.scratch, id, EXTENTS).inspect_err(|_| {
            let _ = end(id);
        })?;
        Ok(id)
    }

    fn stream(&self, meter: Meter) -> Row {
        let id = self.guest()?;
        let mut least = u64::MAX;
        let sent = (0..4).try_for_each(|round| {
            let begin = counter();
            let sent = self.send(id, round * OF_1_MIB, OF_1_MIB);
            least = least.min(meter.since(begin));
            sent
        });
        end(id)?;
        sent.map(|()| least.cast_signed())
    }

    fn save(&self, meter: Meter) -> Row {
        let id = self.guest()?;
        let begin = counter();
        let saved = self.save_whole(id);
        let ticks = meter.since(begin).cast_signed();
        end(id)?;
        saved.map(|()| ticks)
    }

    /// As libxc does: the log is turned on, all frames are sent, the log is read with the guest paused, what it names is sent,
    /// and the guest's state.
    fn save_whole(&self, id: DomId) -> Result<(), i64> {
        self.log(id, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY)?;
        (0..FRAMES).step_by(AT_ONCE as usize).try_for_each(|first| self.send(id, first, AT_ONCE))?;
        checked(plain(XEN_DOMCTL_PAUSEDOMAIN, id))?;
        self.log(id, XEN_DOMCTL_SHADOW_OP_CLEAN)?;
        self.state(id, XEN_DOMCTL_GETHVMCONTEXT)?;
        self.log(id, XEN_DOMCTL_SHADOW_OP_OFF)
    }

    fn log(&self, id: DomId, operation: u32) -> Result<(), i64> {
        let dirty_bitmap = GuestHandle::new(handle(self.bitmap));
        set(id, XEN_DOMCTL_SHADOW_OP, |op| {
            op.set_shadow_op(DomctlShadowOp {
                op: operation,
                dirty_bitmap,
                pages: FRAMES,
                ..DomctlShadowOp::default()
            });
        })
    }

    fn state(&self, id: DomId, command: u32) -> Result<(), i64> {
        let size = (STATE_PAGES * pages::PAGE_BYTES) as u32;
        let buffer = GuestHandle::new(handle(self.state));
        set(id, command, |op| op.set_hvmcontext(DomctlHvmcontext { size, buffer, ..DomctlHvmcontext::default() }))
    }

    /// Asks what kinds of pages frames are, and reads them.
    fn send(&self, id: DomId, first: u64, count: u64) -> Result<(), i64> {
        let list = handle(self.list);
        (0..count).for_each(|at| write_at(list + at * 8, first + at));
        let mut op = Domctl { cmd: XEN_DOMCTL_GETPAGEFRAMEINFO3, domain: id, ..Domctl::default() };
        op.set_getpageframeinfo3(DomctlGetpageframeinfo3 { num: count, array: GuestHandle::new(list) });
        checked(domctl(&mut op))?;
        self.mapped(id, first, count, |at| {
            let _: u64 = read_at(at);
        })
    }

    /// Maps frames, calls `each` with the address of each, and unmaps them.
    fn mapped(&self, id: DomId, first: u64, count: u64, each: impl Fn(u64)) -> Result<(), i64> {
        for at in 0..count {
            foreign::map(self.scratch, id, Gfn(first + at), after(SPARE, at))?;
        }
        for at in 0..count {
            each(address(after(SPARE, at)));
            checked(foreign::unmap(after(SPARE, at)))?;
        }
        Ok(())
    }

    fn restore(&self, meter: Meter) -> Row {
        // Somebody's state.
        let id = self.guest()?;
        let saved = self.state(id, XEN_DOMCTL_GETHVMCONTEXT);
        end(id)?;
        saved?;
        let begin = counter();
        let id = create()?;
        let restored = self.restore_into(id);
        let ticks = meter.since(begin).cast_signed();
        end(id)?;
        restored.map(|()| ticks)
    }

    /// As libxc does: frames are populated one by one, as they come in the stream, and filled.
    fn restore_into(&self, id: DomId) -> Result<(), i64> {
        furnish(self.scratch, id, 0)?;
        set(id, XEN_DOMCTL_MAX_MEM, |op| op.set_max_mem(DomctlMaxMem { max_memkb: FRAMES * 4 + 1024 }))?;
        for first in (0..FRAMES).step_by(AT_ONCE as usize) {
            self.populate(id, first)?;
            self.mapped(id, first, AT_ONCE, |at| write_at(at, first))?;
        }
        self.state(id, XEN_DOMCTL_SETHVMCONTEXT)
    }

    fn populate(&self, id: DomId, first: u64) -> Result<(), i64> {
        let list = handle(self.list);
        (0..AT_ONCE).for_each(|at| write_at(list + at * 8, first + at));
        let mut wanted = MemoryReservation {
            extent_start: GuestHandle::new(list),
            nr_extents: AT_ONCE,
            domid: id,
            ..MemoryReservation::default()
        };
        let done = memory(XENMEM_POPULATE_PHYSMAP, &mut wanted);
        if done == AT_ONCE.cast_signed() { Ok(()) } else { Err(done) }
    }
}

fn handle(pages: &'static [Page]) -> u64 {
    pages.first().map_or(0, Page::address)
}
