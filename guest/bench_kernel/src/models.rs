//! An HVM guest whose device model this kernel is: accesses that it answers, pages that are written while that is logged.

use core::ops::Range;

use xen_abi::dm_op::{XEN_DMOP_IO_RANGE_MEMORY, XEN_DMOP_IO_RANGE_PORT};
use xen_abi::domctl::*;
use xen_abi::event_channel::{EVTCHNOP_SEND, EvtchnSend};
use xen_abi::hypercall::EVENT_CHANNEL_OP;
use xen_abi::ioreq::{IOREQ_TYPE_COPY, IOREQ_TYPE_PIO, Ioreq};
use xen_abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use xen_abi::{DomId, Gfn, GuestHandle};
use xenolith_guest_kit::calls::{call, memory};
use xenolith_guest_kit::device_model::Server;
use xenolith_guest_kit::domain::{SPARE, address, after, consume, quiet};
use xenolith_guest_kit::pages::{self, Page, write_at};
use xenolith_guest_kit::toolstack::{CODE, Mode, checked, domctl, plain, registers, set, set_registers};
use xenolith_guest_kit::{cpu, foreign, stamps};

use crate::bench::{Bench, FEW_ROUNDS, Meter, ROUNDS, Row, counter};
use crate::exits::serve_events;
use crate::life::end;
use crate::memory::special;
use crate::timers::rest;

/// Reads what it is to do from a port, and does that. 32 bits, without paging.
const OBEY: &[u8] = &[
    0xba, 0x10, 0x03, 0x00, 0x00, // mov edx, 0x310
    // next:
    0xed, // in eax, dx
    0x48, // dec eax
    0x78, 0xfc, // js next
    0x74, 0x0b, // jz read
    0x48, // dec eax
    0x74, 0x13, // jz store
    0x48, // dec eax
    0x74, 0x1e, // jz clear
    0x48, // dec eax
    0x74, 0x2f, // jz write
    0xfa, 0xf4, // cli; hlt
    // read:
    0xa1, 0x00, 0x00, 0x00, 0xe0, // mov eax, [0xe0000000]
    0x85, 0xc0, // test eax, eax
    0x75, 0xf7, // jnz read
    0xeb, 0xe4, // jmp next
    // store:
    0xb9, 0x40, 0x00, 0x00, 0x00, // mov ecx, 64
    0xa2, 0x00, 0x00, 0x0a, 0x00, // mov [0xa0000], al
    0xe2, 0xf9, // loop to it
    0xeb, 0xd6, // jmp next
    // clear:
    0xbf, 0x00, 0x80, 0x0b, 0x00, // mov edi, 0xb8000
    0xb9, 0xd0, 0x07, 0x00, 0x00, // mov ecx, 2000
    0xb8, 0x20, 0x07, 0x00, 0x00, // mov eax, 0x720
    0x66, 0xf3, 0xab, // rep stosw
    0xeb, 0xc2, // jmp next
    // write:
    0xbf, 0x00, 0x00, 0x10, 0x00, // mov edi, 0x100000
    0xb9, 0x40, 0x00, 0x00, 0x00, // mov ecx, 64
    0x89, 0x07, // mov [edi], eax
    0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, // add edi, 0x1000
    0xe2, 0xf6, // loop to the mov
    0xeb, 0xac, // jmp next
];

/// Answers to its port: read the port again.
const AGAIN: u64 = 0;
/// Read device memory until that is 0.
const READ: u64 = 1;
/// Store [`REPEATED`] bytes to the window of VGA.
const STORE: u64 = 2;
/// Clear a screen of text.
const CLEAR: u64 = 3;
/// Write to [`REPEATED`] pages.
const WRITE: u64 = 4;
/// How often it stores and writes.
const REPEATED: u32 = 64;

/// Its port, its device's memory, and the window of VGA.
const PORTS: (u64, u64) = (0x310, 0x313);
const DEVICE: (u64, u64) = (0xe000_0000, 0xe000_0fff);
const VGA: (u64, u64) = (0xa_0000, 0xb_ffff);
/// Its frames, 1000 in all: below the window of VGA, and from 1 MiB on.
const LOW: Range<u64> = 0..0xa0;
const HIGH: Range<u64> = 0x100..0x100 + 840;
const FRAMES: u64 = (LOW.end - LOW.start) + (HIGH.end - HIGH.start);
/// How many frames are listed at once.
const LISTED: u64 = 256;
/// Pages for all of the guest's state.
const STATE_PAGES: usize = 4;

const ROWS: &[&str] = &[
    "ioreq/port",
    "ioreq/mmio",
    "ioreq/buffered-write",
    "ioreq/vga-clear-4000",
    "dirty/write-64-logged",
    "dirty/read-1000",
    "context/get",
];

/// Takes the rows.
pub fn run(b: &mut Bench<'_>) {
    if !b.wants(ROWS) {
        return;
    }
    let scratch = pages::take();
    let served = serve_events();
    let rested = if served == 0 { rest(scratch) } else { Err(served) };
    let guest = match rested.and_then(|()| Guest::new(scratch)) {
        Ok(guest) => guest,
        Err(result) => {
            ROWS.iter().for_each(|name| b.row(name, |_| Err(result)));
            return;
        }
    };
    let port = guest.round_trip(b.meter, ROUNDS, AGAIN);
    b.row("ioreq/port", |meter| guest.round_trip(meter, meter.rounds(ROUNDS), AGAIN));
    b.row("ioreq/mmio", |meter| guest.device_read(meter));
    b.row("ioreq/buffered-write", |meter| Ok((guest.stores(meter)? - port?) / i64::from(REPEATED)));
    b.row("ioreq/vga-clear-4000", |meter| Ok(guest.round_trip(meter, meter.rounds(FEW_ROUNDS), CLEAR)? - port?));
    b.row("dirty/write-64-logged", |meter| Ok(guest.logged_writes(meter)?.0));
    b.row("dirty/read-1000", |meter| Ok(guest.logged_writes(meter)?.1));
    b.row("context/get", |meter| guest.context(meter));
    guest.end();
}

/// The guest, and its device model's end of it.
struct Guest {
    id: DomId,
    server: Server,
    send: &'static Page,
    scratch: &'static Page,
}

impl Guest {
    /// Creates the guest, lets it run, and waits for its first request.
    fn new(scratch: &'static Page) -> Result<Self, i64> {
        let id = special(|options| options.arch.emulation_flags = platform())?;
        match Self::furnish(scratch, id) {
            Ok(guest) => Ok(guest),
            Err(result) => {
                end(id)?;
                Err(result)
            }
        }
    }

    fn furnish(scratch: &'static Page, id: DomId) -> Result<Self, i64> {
        set(id, XEN_DOMCTL_MAX_VCPUS, |op| op.set_max_vcpus(DomctlMaxVcpus { max: 1 }))?;
        set(id, XEN_DOMCTL_MAX_MEM, |op| op.set_max_mem(DomctlMaxMem { max_memkb: (FRAMES + 64) * 4 }))?;
        for part in [LOW, HIGH] {
            let lists = part.clone().step_by(LISTED as usize);
            lists.map(|first| first..part.end.min(first + LISTED)).try_for_each(|list| populate(scratch, id, list))?;
        }
        let code = after(SPARE, CODE >> 12);
        foreign::map(scratch, id, Gfn(CODE >> 12), code)?;
        (address(code)..).zip(OBEY).for_each(|(at, byte)| write_at(at, *byte));
        foreign::unmap(code);
        set_registers(id, scratch.address(), &registers(Mode::Flat))?;
        let ranges = [
            (XEN_DMOP_IO_RANGE_PORT, PORTS.0..=PORTS.1),
            (XEN_DMOP_IO_RANGE_MEMORY, DEVICE.0..=DEVICE.1),
            (XEN_DMOP_IO_RANGE_MEMORY, VGA.0..=VGA.1),
        ];
        let server = Server::new(scratch, id, &ranges)?;
        let send = pages::take();
        send.write(0, EvtchnSend { port: server.port() });
        let guest = Self { id, server, send, scratch };
        // The new connections have shown as events.
        cpu::let_interrupts_in();
        consume(guest.server.port());
        checked(plain(XEN_DOMCTL_UNPAUSEDOMAIN, id))?;
        guest.wait(stamps::count());
        Ok(guest)
    }

    /// Waits for an event after `taken` of them with which a request has come.
    fn wait(&self, mut taken: u64) -> Ioreq {
        loop {
            while stamps::count() == taken {
                cpu::sleep_until_interrupt();
            }
            taken = stamps::count();
            consume(self.server.port());
            if let Some(request) = self.server.request() {
                return request;
            }
        }
    }

    /// Answers the request that is there, and waits for the next: that, and when the answer was begun.
    fn exchange(&self, answer: u64) -> Result<(Ioreq, u64), i64> {
        let taken = stamps::count();
        let begin = counter();
        let request = self.server.request().ok_or(-1)?;
        self.server.answer(&request, answer);
        checked(call(EVENT_CHANNEL_OP, [EVTCHNOP_SEND.into(), self.send.address()]))?;
        Ok((self.wait(taken), begin))
    }

    /// Returns what is between an answer to the port and the guest's next request there; whatever comes meanwhile is
    /// answered with 0. What this kernel itself does for that is a part of it.
    fn one_round_trip(&self, meter: Meter, command: u64) -> Row {
        let (mut request, begin) = self.exchange(command)?;
        while request.kind != IOREQ_TYPE_PIO {
            request = self.exchange(0)?.0;
        }
        Ok(meter.since(begin).cast_signed())
    }

    /// Returns the least of some.
    fn round_trip(&self, meter: Meter, rounds: u32, command: u64) -> Row {
        (0..rounds).try_fold(i64::MAX, |least, _| Ok(least.min(self.one_round_trip(meter, command)?)))
    }

    /// Returns what is between an answer to a read of device memory and the guest's next one.
    fn device_read(&self, meter: Meter) -> Row {
        let mut request = self.exchange(READ)?.0;
        let mut least = u64::MAX;
        for _ in 0..meter.rounds(ROUNDS) {
            if request.kind != IOREQ_TYPE_COPY {
                return Err(-1);
            }
            let (next, begin) = self.exchange(1)?;
            least = least.min(meter.since(begin));
            request = next;
        }
        self.exchange(0)?;
        Ok(least.cast_signed())
    }

    /// Returns a round trip with stores that nobody waits for.
    ///
    /// **Errors:** -2 if they did not all come to the ring.
    fn stores(&self, meter: Meter) -> Row {
        let mut least = i64::MAX;
        self.server.drain();
        for _ in 0..meter.rounds(FEW_ROUNDS) {
            least = least.min(self.one_round_trip(meter, STORE)?);
            if self.server.drain() != REPEATED {
                return Err(-2);
            }
        }
        Ok(least)
    }

    /// Returns a round trip with the first writes to pages since the log was read, and the reading of the log.
    ///
    /// **Errors:** -2 if not all that was written is in the log.
    fn logged_writes(&self, meter: Meter) -> Result<(i64, i64), i64> {
        self.shadow_op(XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY)?;
        self.shadow_op(XEN_DOMCTL_SHADOW_OP_CLEAN)?;
        let (mut writes, mut reading) = (i64::MAX, u64::MAX);
        for _ in 0..meter.rounds(FEW_ROUNDS) {
            writes = writes.min(self.one_round_trip(meter, WRITE)?);
            let begin = counter();
            let dirty = self.shadow_op(XEN_DOMCTL_SHADOW_OP_CLEAN)?;
            reading = reading.min(meter.since(begin));
            if dirty < REPEATED {
                return Err(-2);
            }
        }
        self.shadow_op(XEN_DOMCTL_SHADOW_OP_OFF)?;
        Ok((writes, reading.cast_signed()))
    }

    /// Returns how many pages were written, if that is asked.
    fn shadow_op(&self, operation: u32) -> Result<u32, i64> {
        let dirty_bitmap = GuestHandle::new(self.scratch.address());
        let mut op = Domctl { cmd: XEN_DOMCTL_SHADOW_OP, domain: self.id, ..Domctl::default() };
        op.set_shadow_op(DomctlShadowOp { op: operation, dirty_bitmap, pages: HIGH.end, ..DomctlShadowOp::default() });
        checked(domctl(&mut op))?;
        Ok(op.shadow_op().stats.dirty_count)
    }

    /// Returns a call that reads all of the guest's state.
    fn context(&self, meter: Meter) -> Row {
        let to = pages::take_many(STATE_PAGES, 1);
        let buffer = GuestHandle::new(to.first().map_or(0, Page::address));
        let size = (STATE_PAGES * pages::PAGE_BYTES) as u32;
        let read = || {
            let wanted = DomctlHvmcontext { size, buffer, ..DomctlHvmcontext::default() };
            set(self.id, XEN_DOMCTL_GETHVMCONTEXT, |op| op.set_hvmcontext(wanted))
        };
        read()?;
        Ok(meter
            .least(FEW_ROUNDS, || {
                let _ = read();
            })
            .cast_signed())
    }

    fn end(self) {
        self.server.end();
        let _ = end(self.id);
        quiet();
    }
}

/// Returns what xl asks for an HVM guest.
fn platform() -> EmulationFlags {
    EmulationFlags::all().difference(EmulationFlags::VPCI)
}

fn populate(list: &'static Page, id: DomId, frames: Range<u64>) -> Result<(), i64> {
    let count = frames.end - frames.start;
    frames.zip(0..).for_each(|(frame, at)| list.write(at * 8, frame));
    let mut wanted = MemoryReservation {
        extent_start: GuestHandle::new(list.address()),
        nr_extents: count,
        domid: id,
        ..MemoryReservation::default()
    };
    let done = memory(XENMEM_POPULATE_PHYSMAP, &mut wanted);
    if done == count.cast_signed() { Ok(()) } else { Err(done) }
}
