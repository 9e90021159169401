//! Event channels of one domain: ports that lead to itself.

use xen_abi::event_channel::*;
use xen_abi::hypercall::EVENT_CHANNEL_OP;
use xen_abi::{DomId, Port};
use xenolith_guest_kit::calls::{Plain, call};
use xenolith_guest_kit::domain::{alloc_unbound, close, connected_pair, consume, quiet, set_mask};
use xenolith_guest_kit::pages::{self, Page};
use xenolith_guest_kit::{cpu, stamps};

use crate::bench::{Bench, Meter, ROUNDS, Row, counter};
use crate::exits::serve_events;

/// Returns a call with one argument structure, put in its page once.
fn prepared<T: Plain>(page: &'static Page, operation: u32, value: T) -> impl Fn() -> i64 {
    page.write(0, value);
    move || call(EVENT_CHANNEL_OP, [operation.into(), page.address()])
}

/// Takes the rows.
pub fn run(b: &mut Bench<'_>) {
    let served = serve_events();
    quiet();
    let page = pages::take();
    b.row("event/send-self-to-upcall", |meter| if served == 0 { send_to_upcall(meter, page) } else { Err(served) });
    let (first, second) = connected_pair();
    set_mask(second, true);
    b.call("event/send-self-masked", ROUNDS, prepared(page, EVTCHNOP_SEND, EvtchnSend { port: first }));
    consume(second);
    set_mask(second, false);
    b.call("event/unmask", ROUNDS, prepared(page, EVTCHNOP_UNMASK, EvtchnUnmask { port: second }));
    let status = EvtchnStatus { dom: DomId::SELF, port: second, ..EvtchnStatus::default() };
    b.call("event/status", ROUNDS, prepared(page, EVTCHNOP_STATUS, status));
    drop_pair(first, second);
    b.row("event/alloc-close", |meter| alloc_close(meter, page));
}

/// Measures from the call that sends to the first instruction of the handler.
pub fn send_to_upcall(meter: Meter, page: &'static Page) -> Row {
    let (first, second) = connected_pair();
    let send = prepared(page, EVTCHNOP_SEND, EvtchnSend { port: first });
    // A new connection shows as an event.
    cpu::let_interrupts_in();
    consume(second);
    let (mut least, mut taken) = (i64::MAX, stamps::count());
    cpu::interrupts_on();
    for _ in 0..meter.rounds(ROUNDS) {
        let begin = counter();
        let result = send();
        if result != 0 || stamps::count() == taken {
            cpu::interrupts_off();
            return Err(if result == 0 { -1 } else { result });
        }
        taken = stamps::count();
        least = least.min(meter.between(begin, stamps::reached()));
        consume(second);
    }
    cpu::interrupts_off();
    drop_pair(first, second);
    Ok(least)
}

fn drop_pair(first: Port, second: Port) {
    close(first);
    close(second);
    quiet();
}

/// Returns a port that is given out, and closed.
pub fn alloc_close(meter: Meter, page: &'static Page) -> Row {
    let (result, port) = alloc_unbound(DomId::SELF, DomId::SELF);
    if result != 0 {
        return Err(result);
    }
    close(port);
    // The lowest free port is given again each time.
    let wanted = EvtchnAllocUnbound { dom: DomId::SELF, remote_dom: DomId::SELF, port: Port(0) };
    let alloc = prepared(page, EVTCHNOP_ALLOC_UNBOUND, wanted);
    page.write(64, EvtchnClose { port });
    let ticks = meter.least(ROUNDS, || {
        alloc();
        call(EVENT_CHANNEL_OP, [EVTCHNOP_CLOSE.into(), page.address() + 64]);
    });
    Ok(ticks.cast_signed())
}
