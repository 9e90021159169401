//! The other domain's side: does what domain 0 asks of it by a page that both see.

use xen_abi::event_channel::{EVTCHNOP_SEND, EvtchnSend};
use xen_abi::grant_entry::GTF_PERMIT_ACCESS;
use xen_abi::hypercall::{EVENT_CHANNEL_OP, SCHED_OP};
use xen_abi::sched::SCHEDOP_YIELD;
use xen_abi::shared_info::{VCPU_INFO_TIME, VcpuTimeInfo};
use xen_abi::{DomId, Port};
use xenolith_guest_kit::calls::call;
use xenolith_guest_kit::domain::{self, GRANT_TABLE, after, alloc_unbound, consume, quiet, time_info, vcpu_info};
use xenolith_guest_kit::grants::{give, place};
use xenolith_guest_kit::pages::{self, Page};
use xenolith_guest_kit::{cpu, stamps};

use crate::exits::serve_events;

/// The page of both: what domain 0 asks, and what the peer answers. It lies at the same address in both domains.
pub static MAIL: Page = Page::new();

/// Fields of [`MAIL`]: an `ASK_*` by domain 0.
pub const ASKED: usize = 0;
/// 1 once the peer is ready, or the negative result of what failed.
pub const READY: usize = 8;
/// The peer's port, which leads to domain 0.
pub const PORT: usize = 16;
/// When the peer's handler was reached last, by the peer's counter.
pub const REACHED: usize = 24;
/// How often the peer has gone round.
pub const ROUND: usize = 32;
/// The peer's time information.
pub const TIME: usize = 64;

/// Sleep, and answer each event by one.
pub const ASK_ECHO: u64 = 0;
/// Yield for ever.
pub const ASK_YIELD: u64 = 1;
/// Run for ever.
pub const ASK_SPIN: u64 = 2;

/// The first entry by which the peer grants pages to domain 0, and how many.
pub const GRANTS: (u32, u32) = (16, 32);
/// The first entry by which it grants one page more, and how often.
pub const MORE_GRANTS: (u32, u32) = (64, 1000);
/// Frames of its grant table.
const TABLE_FRAMES: u64 = 3;

/// Returns the peer's whole life.
pub fn run() -> ! {
    match set_up() {
        Ok(port) => {
            MAIL.write(PORT, port);
            MAIL.write(READY, 1_i64);
            serve(port)
        }
        Err(result) => {
            MAIL.write(READY, result.min(-1));
            cpu::stop()
        }
    }
}

fn set_up() -> Result<Port, i64> {
    let checked = |result: i64| if result == 0 { Ok(()) } else { Err(result) };
    checked(domain::set_up())?;
    checked(serve_events())?;
    quiet();
    (0..TABLE_FRAMES).try_for_each(|index| checked(place(index, after(GRANT_TABLE, index))))?;
    let (first, count) = GRANTS;
    for (gref, page) in (first..).zip(pages::take_many(count as usize, 1)) {
        page.fill(0x5a);
        give(gref, GTF_PERMIT_ACCESS, DomId::DOM0, page.gfn());
    }
    let (page, (first, count)) = (pages::take(), MORE_GRANTS);
    (first..first + count).for_each(|gref| give(gref, GTF_PERMIT_ACCESS, DomId::DOM0, page.gfn()));
    let (result, port) = alloc_unbound(DomId::SELF, DomId::DOM0);
    checked(result).map(|()| port)
}

fn serve(port: Port) -> ! {
    let page = pages::take();
    page.write(0, EvtchnSend { port });
    let mut taken = stamps::count();
    loop {
        match MAIL.read(ASKED) {
            ASK_YIELD => {
                call(SCHED_OP, [SCHEDOP_YIELD.into(), 0]);
            }
            ASK_SPIN => cpu::let_interrupts_in(),
            _ => {
                while stamps::count() == taken && MAIL.read::<u64>(ASKED) == ASK_ECHO {
                    cpu::sleep_until_interrupt();
                }
            }
        }
        if stamps::count() != taken {
            taken = stamps::count();
            consume(port);
            MAIL.write(REACHED, stamps::reached());
            if let Some(info) = time_info(vcpu_info(0) + VCPU_INFO_TIME as u64) {
                MAIL.write::<VcpuTimeInfo>(TIME, info);
            }
            call(EVENT_CHANNEL_OP, [EVTCHNOP_SEND.into(), page.address()]);
        }
        MAIL.write(ROUND, MAIL.read::<u64>(ROUND).wrapping_add(1));
    }
}
