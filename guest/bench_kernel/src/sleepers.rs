//! Domains that sleep: first with nothing that would wake them but an event, later with a timer that is set.

use xen_abi::hypercall::SCHED_OP;
use xen_abi::sched::{SCHEDOP_YIELD, SchedPoll};
use xen_abi::vcpu::VcpuSetSingleshotTimer;
use xen_abi::{DomId, Gfn, GuestHandle, Port};
use xenolith_guest_kit::calls::call;
use xenolith_guest_kit::domain::{SPARE, address, after, alloc_unbound, bind_interdomain, close, now, quiet, send};
use xenolith_guest_kit::pages::{Page, read_at, write_at};
use xenolith_guest_kit::toolstack::{Mode, RESULTS, SmallDomain, checked};
use xenolith_guest_kit::{cpu, foreign};

use crate::timers::NEVER_REACHED;

/// Waits for the port that the structure at 0x5120 names, sets its one-shot timer by the structure at 0x5100, says so
/// and sleeps for ever.
const SLEEP_AND_SET_TIMER: &[u8] = &[
    0xb8, 0x1d, 0x00, 0x00, 0x00, // mov eax, 29 (sched_op)
    0xbf, 0x03, 0x00, 0x00, 0x00, // mov edi, 3 (poll)
    0xbe, 0x20, 0x51, 0x00, 0x00, // mov esi, 0x5120
    0x0f, 0x01, 0xd9, // vmmcall
    0xb8, 0x18, 0x00, 0x00, 0x00, // mov eax, 24 (vcpu_op)
    0xbf, 0x08, 0x00, 0x00, 0x00, // mov edi, 8 (set_singleshot_timer)
    0x31, 0xf6, // xor esi, esi
    0xba, 0x00, 0x51, 0x00, 0x00, // mov edx, 0x5100
    0x0f, 0x01, 0xd9, // vmmcall
    0xff, 0xc8, // dec eax
    0x89, 0x04, 0x25, 0x60, 0x51, 0x00, 0x00, // mov [0x5160], eax
    0xfb, 0xf4, // sti; hlt
    0xeb, 0xfc, // back to both
];

/// Fields of the page at 0x5000.
const TIMER: u64 = 0x100;
const POLL: u64 = 0x120;
const PORT: u64 = 0x140;
/// The call's result less 1, once it has returned.
const DONE: u64 = 0x160;

/// How often to let others run until one of them must have come to where it sleeps.
const TURNS: u32 = 4;
/// The same until it must have answered.
const MOST_TURNS: u32 = 1000;

/// The domains, and pages to talk about them.
pub struct Sleepers {
    list: &'static Page,
    /// Of each its number and its port, 4 bytes in all.
    known: &'static [Page],
    count: usize,
    timers: usize,
}

impl Sleepers {
    /// Returns none yet. `known` has room for 1024 in each page.
    pub fn new(list: &'static Page, known: &'static [Page]) -> Self {
        Self { list, known, count: 0, timers: 0 }
    }

    fn known(&self, index: usize) -> Result<(&Page, usize), i64> {
        self.known.get(index / 1024).map(|page| (page, index % 1024 * 4)).ok_or(-1)
    }

    /// Makes domains until there are as many.
    ///
    /// **Errors:** what the call gave that failed.
    pub fn make_until(&mut self, size: u32) -> Result<(), i64> {
        while self.count < size as usize {
            let (id, port) = self.make()?;
            let (page, at) = self.known(self.count)?;
            page.write(at, id.0);
            page.write(at + 2, port.0 as u16);
            self.count += 1;
        }
        Ok(())
    }

    fn make(&self) -> Result<(DomId, Port), i64> {
        let small = SmallDomain::new(self.list)?;
        small.load(SLEEP_AND_SET_TIMER, Mode::Long)?;
        let (allocated, port) = alloc_unbound(small.id, DomId::DOM0);
        checked(allocated)?;
        let results = small.see(RESULTS >> 12)?;
        let poll = SchedPoll { ports: GuestHandle::new(RESULTS + PORT), nr_ports: 1, ..SchedPoll::default() };
        write_at(results + POLL, poll);
        write_at(results + PORT, port);
        small.unsee(RESULTS >> 12);
        checked(small.unpause())?;
        (0..TURNS).for_each(|_| let_others_run());
        Ok((small.id, port))
    }

    /// Has domains set their timers until as many have; there are as many.
    ///
    /// **Errors:** the result of the call that failed, also of a domain's own.
    pub fn set_timers_until(&mut self, size: u32) -> Result<(), i64> {
        while self.timers < size as usize {
            let (page, at) = self.known(self.timers)?;
            self.wake(DomId(page.read(at)), Port(page.read::<u16>(at + 2).into()))?;
            self.timers += 1;
        }
        // Each new connection has shown as an event, which nobody has taken.
        cpu::let_interrupts_in();
        quiet();
        Ok(())
    }

    fn wake(&self, id: DomId, port: Port) -> Result<(), i64> {
        let place = after(SPARE, RESULTS >> 12);
        foreign::map(self.list, id, Gfn(RESULTS >> 12), place)?;
        let results = address(place);
        let timeout_abs_ns = now() + 100 * NEVER_REACHED;
        write_at(results + TIMER, VcpuSetSingleshotTimer { timeout_abs_ns, ..VcpuSetSingleshotTimer::default() });
        let (bound, own) = bind_interdomain(id, port);
        checked(bound)?;
        checked(send(own))?;
        let done = (0..MOST_TURNS).find_map(|_| {
            let_others_run();
            Some(read_at::<i32>(results + DONE)).filter(|done| *done != 0)
        });
        close(own);
        foreign::unmap(place);
        match done {
            Some(done) => checked(i64::from(done) + 1),
            None => Err(-1),
        }
    }
}

fn let_others_run() {
    call(SCHED_OP, [SCHEDOP_YIELD.into(), 0]);
}
