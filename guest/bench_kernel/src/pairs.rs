//! What takes two domains: this one, and a twin that it makes.

use xen_abi::domctl::{AffinityFlags, DomctlVcpuaffinity, XEN_DOMCTL_SETVCPUAFFINITY};
use xen_abi::event_channel::{EVTCHNOP_SEND, EvtchnSend};
use xen_abi::hypercall::{CtlBitmap, EVENT_CHANNEL_OP, SCHED_OP};
use xen_abi::sched::SCHEDOP_YIELD;
use xen_abi::shared_info::{VCPU_INFO_TIME, VcpuTimeInfo};
use xen_abi::{DomId, Gfn, GuestHandle, Port};
use xenolith_guest_kit::calls::call;
use xenolith_guest_kit::domain::{GRANTED, bind_interdomain, close, consume, quiet, time_info, vcpu_info};
use xenolith_guest_kit::pages::{self, Page, read_at, write_at};
use xenolith_guest_kit::toolstack::set;
use xenolith_guest_kit::twin::Twin;
use xenolith_guest_kit::waits::{LONG, SHORT};
use xenolith_guest_kit::{cpu, foreign, stamps, wait_until};

use crate::bench::{Bench, Meter, ROUNDS, Row, counter};
use crate::exits::serve_events;
use crate::grants::{Lists, copy, map_unmap};
use crate::growth::{ROWS_OF_GRANTS, mapped_grants};
use crate::peer::{ASK_ECHO, ASK_SPIN, ASK_YIELD, ASKED, GRANTS, MAIL, MORE_GRANTS, PORT, REACHED, READY, ROUND, TIME};
use crate::timers::{rest, wake_up_under_load};

/// How many wake-ups are waited for under load.
const WAKE_UPS: u32 = 16;
/// The spare frame at which the mail is seen.
const MAIL_SLOT: u64 = 0x40;

const ROWS: &[&str] = &[
    "pair/send-to-upcall",
    "pair/ping-pong",
    "pair/yield-to-yield",
    "pair/wake-up-under-load",
    "pair/map-unmap-1",
    "pair/map-unmap-32",
    "pair/copy-64",
    "pair/copy-4096",
    "pair/copy-32x4096",
    "pair/foreign-map-unmap",
    ROWS_OF_GRANTS[0],
    ROWS_OF_GRANTS[1],
];

/// The twin, and what leads to it.
pub struct Pair {
    twin: Twin,
    /// Where its mail is seen.
    mail: u64,
    port: Port,
    send: &'static Page,
}

/// Takes the rows.
pub fn run(b: &mut Bench<'_>) {
    if !b.wants(ROWS) {
        return;
    }
    let scratch = pages::take();
    // A CPU that clears memory in between would be a part of the first rows. Not once the twin is there: what both are told
    // of the time would drift apart meanwhile.
    let _ = rest(scratch);
    let pair = match Pair::new(scratch, None) {
        Ok(pair) => pair,
        Err(result) => {
            ROWS.iter().for_each(|name| b.row(name, |_| Err(result)));
            return;
        }
    };
    b.row("pair/send-to-upcall", |meter| pair.send_to_upcall(meter));
    b.row("pair/ping-pong", |meter| pair.ping_pong(meter));
    b.row("pair/yield-to-yield", |meter| pair.yields(meter));
    b.row("pair/wake-up-under-load", |meter| pair.under_load(meter));
    memory(b, &pair, scratch);
    mapped_grants(b, pair.twin.id, GRANTS.0, MORE_GRANTS);
    close(pair.port);
    pair.twin.unsee(MAIL_SLOT);
    pair.twin.destroy();
    wait_until(LONG, || pair.twin.is_gone());
    quiet();
}

const ROWS_OF_TWO_CPUS: &[&str] = &["two-cpus/send", "two-cpus/send-to-upcall", "two-cpus/ping-pong"];

/// Takes the rows for which each domain has a CPU of its own. Which of the two the emulator carries on with, and for
/// how long, is a part of them.
pub fn on_two_cpus(b: &mut Bench<'_>) {
    if !b.wants(ROWS_OF_TWO_CPUS) {
        return;
    }
    b.rows_may_differ();
    let scratch = pages::take();
    let served = serve_events();
    let rested = if served == 0 { rest(scratch) } else { Err(served) };
    let pinned = rested.and_then(|()| pin(scratch, DomId::DOM0, 0));
    let pair = match pinned.and_then(|()| Pair::new(scratch, Some(1))) {
        Ok(pair) => pair,
        Err(result) => {
            ROWS_OF_TWO_CPUS.iter().for_each(|name| b.row(name, |_| Err(result)));
            return;
        }
    };
    b.row("two-cpus/send", |meter| pair.send_alone(meter));
    b.row("two-cpus/send-to-upcall", |meter| pair.send_to_upcall(meter));
    b.row("two-cpus/ping-pong", |meter| pair.ping_pong(meter));
}

/// Lets a domain's vCPU 0 run on one CPU of the machine alone.
fn pin(scratch: &'static Page, domain: DomId, cpu: u32) -> Result<(), i64> {
    scratch.write(0, 1_u64 << cpu);
    let map = CtlBitmap { bitmap: GuestHandle::new(scratch.address()), nr_bits: 64, ..CtlBitmap::default() };
    let wanted = DomctlVcpuaffinity { flags: AffinityFlags::HARD, cpumap_hard: map, ..DomctlVcpuaffinity::default() };
    set(domain, XEN_DOMCTL_SETVCPUAFFINITY, |op| op.set_vcpuaffinity(wanted))
}

fn memory(b: &mut Bench<'_>, pair: &Pair, scratch: &'static Page) {
    let (dom, (first, many)) = (pair.twin.id, GRANTS);
    let lists = Lists::new();
    b.row("pair/map-unmap-1", |meter| map_unmap(meter, &lists, dom, first, 1));
    b.row("pair/map-unmap-32", |meter| map_unmap(meter, &lists, dom, first, many));
    let to = pages::take_many(many as usize, 1);
    let frame = |index: u32| to.get(index as usize).map_or(Gfn(0), Page::gfn);
    let list = pages::take();
    b.row("pair/copy-64", |meter| copy(meter, list, (dom, first), frame, (1, 64)));
    b.row("pair/copy-4096", |meter| copy(meter, list, (dom, first), frame, (1, 4096)));
    b.row("pair/copy-32x4096", |meter| copy(meter, list, (dom, first), frame, (many, 4096)));
    b.row("pair/foreign-map-unmap", |meter| foreign_map_unmap(meter, scratch, dom));
}

/// Returns a page of a peer's put at a frame of one's own, and taken away again.
pub fn foreign_map_unmap(meter: Meter, scratch: &'static Page, dom: DomId) -> Row {
    foreign::map(scratch, dom, MAIL.gfn(), GRANTED)?;
    foreign::unmap(GRANTED);
    let ticks = meter.least(ROUNDS, || {
        let _ = foreign::map(scratch, dom, MAIL.gfn(), GRANTED);
        foreign::unmap(GRANTED);
    });
    Ok(ticks.cast_signed())
}

/// Returns the system time of a reading of a vCPU's counter: two domains' counters may begin at different moments.
fn system_time(info: &VcpuTimeInfo, reading: u64) -> u64 {
    let ticks = i128::from(reading.wrapping_sub(info.tsc_timestamp).cast_signed());
    let shifted = if info.tsc_shift < 0 { ticks >> -info.tsc_shift } else { ticks << info.tsc_shift };
    info.system_time.wrapping_add_signed(((shifted * i128::from(info.tsc_to_system_mul)) >> 32) as i64)
}

impl Pair {
    /// Creates the pair with the twin on a CPU, or wherever it comes to run.
    ///
    /// **Errors:** what the call gave that failed.
    pub fn new(scratch: &'static Page, cpu: Option<u32>) -> Result<Self, i64> {
        let twin = Twin::new(scratch, "role=peer", 1)?;
        let made = cpu.map_or(Ok(()), |cpu| pin(scratch, twin.id, cpu)).and_then(|()| Self::connect(&twin));
        match made {
            Ok((mail, port)) => {
                let send = pages::take();
                send.write(0, EvtchnSend { port });
                Ok(Self { twin, mail, port, send })
            }
            Err(result) => {
                twin.destroy();
                Err(result)
            }
        }
    }

    fn connect(twin: &Twin) -> Result<(u64, Port), i64> {
        let mail = twin.see(MAIL.gfn(), MAIL_SLOT)?;
        let begun = twin.unpause();
        if begun != 0 {
            return Err(begun);
        }
        wait_until(LONG, || {
            call(SCHED_OP, [SCHEDOP_YIELD.into(), 0]);
            read_at::<i64>(mail + READY as u64) != 0
        });
        let ready: i64 = read_at(mail + READY as u64);
        if ready != 1 {
            return Err(ready);
        }
        let (bound, port) = bind_interdomain(twin.id, read_at(mail + PORT as u64));
        // A new connection shows as an event.
        wait_until(SHORT, || false);
        quiet();
        if bound == 0 { Ok((mail, port)) } else { Err(bound) }
    }

    /// Returns the twin's number.
    pub fn peer(&self) -> DomId {
        self.twin.id
    }

    fn answer<T: zerocopy::FromBytes + Copy>(&self, field: usize) -> T {
        read_at(self.mail + field as u64)
    }

    fn ask(&self, what: u64) {
        write_at(self.mail + ASKED as u64, what);
    }

    fn send(&self) -> i64 {
        call(EVENT_CHANNEL_OP, [EVTCHNOP_SEND.into(), self.send.address()])
    }

    /// Sends, and sleeps until the answer has come; false if none comes.
    fn exchange(&self) -> bool {
        let taken = stamps::count();
        if self.send() != 0 {
            return false;
        }
        while stamps::count() == taken {
            cpu::sleep_until_interrupt();
        }
        consume(self.port);
        true
    }

    /// Returns a call that sends to a sleeping twin, alone.
    fn send_alone(&self, meter: Meter) -> Row {
        let mut least = u64::MAX;
        for _ in 0..meter.rounds(ROUNDS) {
            let taken = stamps::count();
            let begin = counter();
            let result = self.send();
            least = least.min(meter.since(begin));
            if result != 0 {
                return Err(result);
            }
            while stamps::count() == taken {
                cpu::sleep_until_interrupt();
            }
            consume(self.port);
        }
        Ok(least.cast_signed())
    }

    /// Measures from a call that sends to the first instruction of the sleeping twin's handler, on the same CPU.
    fn send_to_upcall(&self, meter: Meter) -> Row {
        let mut least = i64::MAX;
        for _ in 0..meter.rounds(ROUNDS) {
            let begin = counter();
            if !self.exchange() {
                return Err(-1);
            }
            let Some(own) = time_info(vcpu_info(0) + VCPU_INFO_TIME as u64) else { return Err(-2) };
            let reached = system_time(&self.answer(TIME), self.answer(REACHED));
            // A nanosecond is a tick.
            least = least.min(meter.between(system_time(&own, begin), reached));
        }
        Ok(least)
    }

    /// Measures from a call that sends, to the twin and back, to the first instruction of this domain's handler.
    fn ping_pong(&self, meter: Meter) -> Row {
        let mut least = i64::MAX;
        for _ in 0..meter.rounds(ROUNDS) {
            let begin = counter();
            if !self.exchange() {
                return Err(-1);
            }
            least = least.min(meter.between(begin, stamps::reached()));
        }
        Ok(least)
    }

    /// Measures two vCPUs that yield to each other: from one yield to the return from it, after the other has yielded
    /// too.
    ///
    /// **Errors:** -2 if they never met.
    pub fn yields(&self, meter: Meter) -> Row {
        self.ask(ASK_YIELD);
        let mut least = u64::MAX;
        // The first wakes it.
        self.exchange();
        for _ in 0..meter.rounds(ROUNDS * 8) {
            let round: u64 = self.answer(ROUND);
            let begin = counter();
            call(SCHED_OP, [SCHEDOP_YIELD.into(), 0]);
            let took = meter.since(begin);
            if self.answer::<u64>(ROUND) == round.wrapping_add(1) {
                least = least.min(took);
            }
        }
        self.ask(ASK_ECHO);
        if least == u64::MAX { Err(-2) } else { Ok(least.cast_signed()) }
    }

    /// Measures from the moment for which a timer was set to this domain's handler, while the twin has the CPU.
    fn under_load(&self, meter: Meter) -> Row {
        self.ask(ASK_SPIN);
        self.exchange();
        let row = wake_up_under_load(pages::take(), meter.rounds(WAKE_UPS));
        self.ask(ASK_ECHO);
        self.exchange();
        row
    }
}
