//! Domain 0: makes the twin, is its device, and prints what it says.

use xen_abi::dm_op::{XEN_DMOP_IO_RANGE_MEMORY, XEN_DMOP_IO_RANGE_PORT};
use xen_abi::event_channel::{EVTCHNOP_SEND, EvtchnSend};
use xen_abi::hypercall::{EVENT_CHANNEL_OP, SCHED_OP};
use xen_abi::ioreq::{ADDRESSES_FALL, DATA_IS_POINTER, DIRECTION_READ, IOREQ_TYPE_COPY, IOREQ_TYPE_PIO, Ioreq};
use xen_abi::sched::{SCHEDOP_POLL, SchedPoll};
use xen_abi::{Gfn, GuestHandle, Port};
use xenolith_guest_kit::calls::call;
use xenolith_guest_kit::console::line;
use xenolith_guest_kit::device_model::Server;
use xenolith_guest_kit::domain::{consume, now, set_mask};
use xenolith_guest_kit::pages::{self, Page, read_at, write_at};
use xenolith_guest_kit::toolstack::checked;
use xenolith_guest_kit::twin::Twin;

use crate::mail::{self, Letter, kind};
use crate::place::{AFTER, BEFORE, DEVICE, DEVICE_BYTES, HELD};

/// Spare frames at which pages of the twin are seen: what the device holds, RAM beside it, letters, and any other page.
const HELD_SLOT: u64 = 0x10;
const BESIDE_SLOT: u64 = 0x12;
const MAIL_SLOT: u64 = 0x14;
const OTHER_SLOT: u64 = 0x15;
const SECOND: u64 = 1_000_000_000;
/// How long nothing is printed at most, in nanoseconds.
const SILENCE: u64 = 5 * SECOND;

struct Host {
    twin: Twin,
    server: Server,
    held: u64,
    /// Pages of the twin's memory and where they are seen: those beside the device, and one that changes.
    pages: [(Gfn, u64); 3],
    mail: u64,
    /// When to stop, by the system's time, and when to say how far it is.
    until: u64,
    next_line: u64,
}

/// Lets the twin play with these words on its command line, for `seconds`.
///
/// **Errors:** what the call gave that failed.
pub fn serve(words: &str, seconds: u64) -> Result<(), i64> {
    let scratch = pages::take();
    let twin = Twin::with_platform(scratch, words)?;
    let ranges = [
        (XEN_DMOP_IO_RANGE_PORT, mail::PORT..=mail::PORT + 3),
        (XEN_DMOP_IO_RANGE_MEMORY, DEVICE..=DEVICE + DEVICE_BYTES - 1),
    ];
    let server = Server::new(pages::take(), twin.id, &ranges)?;
    let [first, second] = HELD.each_ref().map(Page::gfn);
    let held = twin.see(first, HELD_SLOT)?;
    twin.see(second, HELD_SLOT + 1)?;
    let [before, after] = [&BEFORE, &AFTER].map(Page::gfn);
    let seen =
        [(before, twin.see(before, BESIDE_SLOT)?), (after, twin.see(after, BESIDE_SLOT + 1)?), (Gfn(u64::MAX), 0)];
    let mail = twin.see(mail::MAIL.gfn(), MAIL_SLOT)?;
    let begin = now();
    let mut host =
        Host { twin, server, held, pages: seen, mail, until: begin + seconds * SECOND, next_line: begin + SILENCE };
    checked(host.twin.unpause())?;
    host.answer_all(begin)
}

impl Host {
    /// Answers requests until the twin has come to its end.
    fn answer_all(&mut self, begin: u64) -> Result<(), i64> {
        let port = self.server.port();
        set_mask(port, true);
        let (send, poll) = (pages::take(), pages::take());
        send.write(0, EvtchnSend { port });
        poll.write::<Port>(64, port);
        poll.write(0, SchedPoll { ports: GuestHandle::new(poll.address() + 64), nr_ports: 1, ..SchedPoll::default() });
        loop {
            consume(port);
            let Some(request) = self.server.request() else {
                checked(call(SCHED_OP, [SCHEDOP_POLL.into(), poll.address()]))?;
                continue;
            };
            let answer = match request.kind {
                IOREQ_TYPE_COPY => self.copy(&request)?,
                IOREQ_TYPE_PIO => {
                    let letter = Letter::read(self.mail);
                    if letter.kind == kind::END {
                        let seconds = (now() - begin) / SECOND;
                        line(format_args!("DICE END {} cases, {} differ, {seconds} s", letter.cases, letter.differing));
                        return Ok(());
                    }
                    self.open(letter).into()
                }
                _ => 0,
            };
            self.server.answer(&request, answer);
            checked(call(EVENT_CHANNEL_OP, [EVTCHNOP_SEND.into(), send.address()]))?;
        }
    }

    /// Returns the answer to a letter.
    fn open(&mut self, letter: Letter) -> u32 {
        let now = now();
        match letter.kind {
            kind::LINE => letter.text.print(),
            _ if now >= self.next_line => {
                line(format_args!("DICE {} cases, {} differ", letter.cases, letter.differing));
                self.next_line = now + SILENCE;
            }
            _ => {}
        }
        if letter.kind == kind::PROGRESS && now >= self.until { mail::STOP } else { mail::GO_ON }
    }

    /// Does what a request asks of the device's memory; returns what was read.
    fn copy(&mut self, request: &Ioreq) -> Result<u64, i64> {
        let Ioreq { addr, data, count, size, state_and_flags: flags, .. } = *request;
        let (size, is_read) = (u64::from(size), flags & DIRECTION_READ != 0);
        let mut value = 0;
        for element in 0..u64::from(count) {
            let moved = element * size;
            let moved = if flags & ADDRESSES_FALL != 0 { moved.wrapping_neg() } else { moved };
            let (at, pointer) = (addr.wrapping_add(moved), data.wrapping_add(moved));
            if at < DEVICE || at + size > DEVICE + DEVICE_BYTES || size > 8 {
                line(format_args!(
                    "BAD request: {size} bytes at {at:#x}, element {element} of {count}, flags {flags:#x}"
                ));
                return Ok(u64::MAX);
            }
            for byte in 0..size {
                let held = self.held + (at - DEVICE) + byte;
                match (is_read, flags & DATA_IS_POINTER != 0) {
                    (true, true) => write_at::<u8>(self.memory(pointer + byte)?, read_at(held)),
                    (false, true) => write_at::<u8>(held, read_at(self.memory(pointer + byte)?)),
                    (true, false) => value |= u64::from(read_at::<u8>(held)) << (8 * byte),
                    (false, false) => write_at(held, (data >> (8 * byte)) as u8),
                }
            }
        }
        Ok(value)
    }

    /// Returns where a byte of the twin's memory is seen.
    fn memory(&mut self, at: u64) -> Result<u64, i64> {
        let frame = Gfn(at >> 12);
        if let Some((_, seen)) = self.pages.iter().find(|(there, _)| *there == frame) {
            return Ok(seen + (at & 0xfff));
        }
        let [.., (last, seen)] = &mut self.pages;
        if *seen != 0 {
            self.twin.unsee(OTHER_SLOT);
        }
        (*last, *seen) = (frame, self.twin.see(frame, OTHER_SLOT)?);
        Ok(*seen + (at & 0xfff))
    }
}
