//! The FIFO form of event channels: control blocks, event words, queues.

use xen_abi::event_channel::*;
use xen_abi::event_fifo::*;
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{DomId, Gfn, Port, VcpuId};
use xenolith_guest_kit::pages::{self, Page, write_at};

use crate::calls::evtchn;
use crate::domain::*;
use crate::runner::{Report, Runner};
use crate::waits::{LONG, SHORT};

/// The pages of the FIFO form: a control block for each vCPU, and the event words.
struct Fifo {
    control: &'static Page,
    words: &'static Page,
}

impl Fifo {
    fn word(&self, port: Port) -> u32 {
        self.words.read((port.0 as usize % 1024) * 4)
    }

    fn set_word(&self, port: Port, value: u32) {
        self.words.write((port.0 as usize % 1024) * 4, value);
    }

    fn ready(&self) -> u32 {
        self.control.read(CONTROL_BLOCK_READY)
    }

    fn head(&self, priority: usize) -> u32 {
        self.control.read(CONTROL_BLOCK_HEAD + 4 * priority)
    }

    /// Says a port's word, the ready bits and the head of one queue.
    fn say(&self, r: &mut Report, port: Port, priority: usize) {
        r.hex(self.word(port).into()).hex(self.ready().into()).named("head", self.head(priority));
    }

    /// Forgets everything queued, as if it had been handled.
    fn clear(&self) {
        for index in 0..1024 {
            self.set_word(Port(index), 0);
        }
        self.control.write(CONTROL_BLOCK_READY, 0_u32);
        for priority in 0..16 {
            self.control.write(CONTROL_BLOCK_HEAD + 4 * priority, 0_u32);
        }
        write_at(vcpu_info(0) + xen_abi::shared_info::VCPU_INFO_UPCALL_PENDING as u64, 0_u8);
        quiet();
    }
}

fn init_control(gfn: Gfn, offset: u32, vcpu: u32) -> (i64, u8) {
    let mut a = EvtchnInitControl { control_gfn: gfn, offset, vcpu: VcpuId(vcpu), ..EvtchnInitControl::default() };
    (evtchn(EVTCHNOP_INIT_CONTROL, &mut a), a.link_bits)
}

fn expand(gfn: Gfn) -> i64 {
    evtchn(EVTCHNOP_EXPAND_ARRAY, &mut EvtchnExpandArray { array_gfn: gfn })
}

fn set_priority(port: Port, priority: u32) -> i64 {
    evtchn(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port, priority })
}

fn reset() -> i64 {
    let result = evtchn(EVTCHNOP_RESET, &mut EvtchnReset { dom: DomId::SELF });
    quiet();
    result
}

/// Turns the FIFO form on with fresh pages, runs `f`, and goes back to the 2-level ABI.
fn with_fifo(r: &mut Report, f: impl FnOnce(&mut Report, &Fifo)) {
    let fifo = Fifo { control: pages::take(), words: pages::take() };
    let set_up = (init_control(fifo.control.gfn(), 0, 0).0, expand(fifo.words.gfn()));
    if set_up == (0, 0) {
        f(r, &fifo);
    } else {
        r.result(set_up.0).result(set_up.1);
    }
    reset();
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    set_up(t);
    queues(t);
    masks(t);
    priorities(t);
    change(t);
}

fn set_up(t: &mut Runner) {
    t.case("fifo/init-control/first-vcpu", |r| {
        let page = pages::take();
        let (result, bits) = init_control(page.gfn(), 0, 0);
        r.result(result).named("link-bits", bits).hex(page.read::<u64>(0)).result(reset());
    });
    t.case("fifo/init-control/twice-on-one-vcpu", |r| {
        let page = pages::take();
        r.result(init_control(page.gfn(), 0, 0).0).result(init_control(page.gfn(), 128, 0).0).result(reset());
    });
    t.case("fifo/init-control/two-vcpus-in-one-page", |r| {
        let page = pages::take();
        r.result(init_control(page.gfn(), 0, 0).0).result(init_control(page.gfn(), 128, 1).0).result(reset());
    });
    t.case("fifo/init-control/second-vcpu-first", |r| {
        let page = pages::take();
        r.result(init_control(page.gfn(), 0, 1).0).result(expand(pages::take().gfn()));
        r.result(init_control(page.gfn(), 128, 0).0).result(reset());
    });
    t.case("fifo/init-control/last-offset-that-fits", |r| {
        let page = pages::take();
        for offset in [4096 - 72, 4096 - 64, 4088] {
            r.result(init_control(page.gfn(), offset, 0).0).result(reset());
        }
    });
    t.case("fifo/init-control/keeps-ports", |r| {
        let (_, p) = bind_ipi(0);
        r.result(init_control(pages::take().gfn(), 0, 0).0).result(expand(pages::take().gfn()));
        let (result, status) = status(DomId::SELF, p);
        r.result(result).named("status", status.status).result(reset());
    });
    t.case("fifo/expand-array/bad-frames", |r| {
        r.result(init_control(pages::take().gfn(), 0, 0).0);
        r.result(expand(SPARE)).result(expand(Gfn(u64::MAX))).result(expand(SHARED_INFO)).result(reset());
    });
    t.case("fifo/expand-array/until-it-is-full", |r| {
        r.result(init_control(pages::take().gfn(), 0, 0).0);
        let page = pages::take();
        let mut added = 0;
        let refused = loop {
            match expand(page.gfn()) {
                0 if added < 1000 => added += 1,
                other => break other,
            }
        };
        r.named("pages", added).result(refused).result(reset());
    });
    t.case("fifo/ports-past-the-two-level-limit", |r| {
        r.result(init_control(pages::take().gfn(), 0, 0).0);
        let words = pages::take_many(6, 1);
        for page in words {
            expand(page.gfn());
        }
        let mut last = (0, Port(0));
        for _ in 0..5000 {
            last = alloc_unbound(DomId::SELF, DomId::SELF);
        }
        r.result(last.0).named("port", last.1).result(send(last.1));
        let (_, second) = bind_interdomain(DomId::SELF, last.1);
        r.named("second", second).result(send(second));
        let word = words.get(last.1.0 as usize / 1024).map_or(0, |p| p.read::<u32>((last.1.0 as usize % 1024) * 4));
        r.hex(word.into()).result(reset());
    });
    t.case("fifo/reset-brings-the-two-level-form-back", |r| {
        with_fifo(r, |r, _| {
            r.result(reset());
        });
        let (_, p) = bind_ipi(0);
        let before = upcalls();
        r.result(send(p)).holds("pending", pending(p)).holds("taken", upcall_after(before, LONG));
        close(p);
        quiet();
    });
}

fn queues(t: &mut Runner) {
    t.case("fifo/send/links-and-raises", |r| {
        with_fifo(r, |r, fifo| {
            let (_, p) = bind_ipi(0);
            fifo.clear();
            let before = upcalls();
            r.result(send(p));
            fifo.say(r, p, 7);
            r.holds("upcall", upcall_pending()).holds("taken", upcall_after(before, LONG));
        });
    });
    t.case("fifo/send/twice-links-once", |r| {
        with_fifo(r, |r, fifo| {
            let (_, p) = bind_ipi(0);
            fifo.clear();
            r.result(send(p)).result(send(p));
            fifo.say(r, p, 7);
        });
    });
    t.case("fifo/send/three-ports-in-order", |r| {
        with_fifo(r, |r, fifo| {
            let ports = [bind_ipi(0).1, bind_ipi(0).1, bind_ipi(0).1];
            fifo.clear();
            let [a, b, c] = ports;
            r.result(send(b)).result(send(c)).result(send(a));
            r.named("head", fifo.head(7));
            for port in ports {
                r.hex(fifo.word(port).into());
            }
        });
    });
    t.case("fifo/send/after-the-head-was-taken", |r| {
        with_fifo(r, |r, fifo| {
            let (first, second) = (bind_ipi(0).1, bind_ipi(0).1);
            fifo.clear();
            r.result(send(first));
            // As a handler does: the head moves to the word's link (none), the word is cleared.
            fifo.control.write(CONTROL_BLOCK_READY, 0_u32);
            fifo.control.write(CONTROL_BLOCK_HEAD + 28, 0_u32);
            fifo.set_word(first, 0);
            r.result(send(second));
            fifo.say(r, second, 7);
            r.hex(fifo.word(first).into());
        });
    });
    t.case("fifo/send/no-upcall-while-the-queue-is-not-empty", |r| {
        with_fifo(r, |r, fifo| {
            let (first, second) = (bind_ipi(0).1, bind_ipi(0).1);
            fifo.clear();
            let before = upcalls();
            r.result(send(first)).holds("taken", upcall_after(before, LONG));
            write_at(vcpu_info(0) + xen_abi::shared_info::VCPU_INFO_UPCALL_PENDING as u64, 0_u8);
            let after = upcalls();
            r.result(send(second)).holds("again", upcall_after(after, SHORT));
            fifo.say(r, second, 7);
        });
    });
    t.case("fifo/connecting-raises-the-connecting-end", |r| {
        with_fifo(r, |r, fifo| {
            let (first, second) = connected_pair();
            r.hex(fifo.word(first).into()).hex(fifo.word(second).into());
        });
    });
    t.case("fifo/close/clears-what-was-pending", |r| {
        with_fifo(r, |r, fifo| {
            let (_, p) = bind_ipi(0);
            fifo.clear();
            r.result(send(p)).result(close(p));
            fifo.say(r, p, 7);
        });
    });
    t.case("fifo/broken-link-of-the-tail-does-no-harm", |r| {
        with_fifo(r, |r, fifo| {
            let (first, second) = (bind_ipi(0).1, bind_ipi(0).1);
            fifo.clear();
            r.result(send(first));
            fifo.set_word(first, fifo.word(first) | 0x1_ffff);
            r.result(send(second));
            r.hex(fifo.word(first).into()).hex(fifo.word(second).into()).named("head", fifo.head(7));
        });
    });
}

fn masks(t: &mut Runner) {
    let masked = 1_u32 << EVTCHN_FIFO_MASKED;
    t.case("fifo/masked-port-is-pending-but-not-linked", |r| {
        with_fifo(r, |r, fifo| {
            let (_, p) = bind_ipi(0);
            fifo.clear();
            fifo.set_word(p, masked);
            r.result(send(p));
            fifo.say(r, p, 7);
            r.holds("upcall", upcall_pending());
        });
    });
    t.case("fifo/unmask-links-what-is-pending", |r| {
        with_fifo(r, |r, fifo| {
            let (_, p) = bind_ipi(0);
            fifo.clear();
            fifo.set_word(p, masked);
            let before = upcalls();
            r.result(send(p)).result(unmask(p));
            fifo.say(r, p, 7);
            r.holds("taken", upcall_after(before, LONG));
        });
    });
    t.case("fifo/unmask-of-what-is-not-pending", |r| {
        with_fifo(r, |r, fifo| {
            let (_, p) = bind_ipi(0);
            fifo.clear();
            fifo.set_word(p, masked);
            r.result(unmask(p));
            fifo.say(r, p, 7);
        });
    });
    t.case("fifo/unmask/bad-ports", |r| {
        with_fifo(r, |r, _| {
            for bad in [0, 500, 1023, 1024, 4096, 131_071, 131_072] {
                r.result(unmask(Port(bad)));
            }
        });
    });
    t.case("fifo/busy-port-is-not-linked", |r| {
        with_fifo(r, |r, fifo| {
            let (_, p) = bind_ipi(0);
            fifo.clear();
            fifo.set_word(p, masked | 1 << EVTCHN_FIFO_BUSY);
            r.result(send(p));
            fifo.say(r, p, 7);
        });
    });
}

fn priorities(t: &mut Runner) {
    t.case("fifo/set-priority/each", |r| {
        with_fifo(r, |r, _| {
            let (_, p) = bind_ipi(0);
            for priority in [0, 7, 15, 16, u32::MAX] {
                r.result(set_priority(p, priority));
            }
        });
    });
    t.case("fifo/set-priority/bad-ports", |r| {
        with_fifo(r, |r, _| {
            for bad in [0, 500, 1024, 4096, 131_072] {
                r.result(set_priority(Port(bad), 3));
            }
        });
    });
    t.case("fifo/priority-chooses-the-queue", |r| {
        with_fifo(r, |r, fifo| {
            let (high, low) = (bind_ipi(0).1, bind_ipi(0).1);
            fifo.clear();
            r.result(set_priority(high, 0)).result(set_priority(low, 15)).result(send(low)).result(send(high));
            r.hex(fifo.ready().into()).named("head-0", fifo.head(0)).named("head-15", fifo.head(15));
        });
    });
    t.case("fifo/priority-changed-while-linked", |r| {
        with_fifo(r, |r, fifo| {
            let (_, p) = bind_ipi(0);
            fifo.clear();
            r.result(send(p)).result(set_priority(p, 2)).result(send(p));
            r.hex(fifo.ready().into()).named("head-7", fifo.head(7)).named("head-2", fifo.head(2));
            fifo.clear();
            r.result(send(p));
            r.hex(fifo.ready().into()).named("head-7", fifo.head(7)).named("head-2", fifo.head(2));
        });
    });
    t.case("fifo/priority-is-forgotten-on-close", |r| {
        with_fifo(r, |r, fifo| {
            let (_, p) = bind_ipi(0);
            fifo.clear();
            r.result(set_priority(p, 1)).result(close(p));
            let (_, again) = bind_ipi(0);
            r.holds("same-port", again == p).result(send(again)).hex(fifo.ready().into());
        });
    });
}

fn change(t: &mut Runner) {
    t.case("fifo/virq-in-a-queue", |r| {
        with_fifo(r, |r, fifo| {
            let (_, p) = bind_virq(VIRQ_TIMER, 0);
            fifo.clear();
            let mut timer =
                xen_abi::vcpu::VcpuSetSingleshotTimer { timeout_abs_ns: now() + 1_000_000, ..Default::default() };
            let before = upcalls();
            r.result(crate::calls::vcpu(xen_abi::vcpu::VCPUOP_SET_SINGLESHOT_TIMER, 0, &mut timer));
            r.holds("taken", upcall_after(before, LONG));
            fifo.say(r, p, 7);
        });
    });
    t.case("fifo/moved-to-a-vcpu-without-control-block", |r| {
        with_fifo(r, |r, fifo| {
            let (_, p) = alloc_unbound(DomId::SELF, DomId::SELF);
            let (_, other) = bind_interdomain(DomId::SELF, p);
            fifo.clear();
            r.result(bind_vcpu(p, 1)).result(send(other));
            fifo.say(r, p, 7);
            r.result(bind_vcpu(p, 0)).result(send(other));
            fifo.say(r, p, 7);
        });
    });
    // These two last: on Xen the port is pending again whenever an array is made.
    t.case("fifo/send-without-an-event-array", |r| {
        r.result(init_control(pages::take().gfn(), 0, 0).0);
        let (result, p) = bind_ipi(0);
        r.result(result).named("port", p).result(send(p)).result(set_priority(p, 1)).result(unmask(p)).result(reset());
    });
    t.case("fifo/init-control/moves-what-is-pending", |r| {
        let (_, p) = bind_ipi(0);
        send(p);
        let (control, words) = (pages::take(), pages::take());
        r.result(init_control(control.gfn(), 0, 0).0).result(expand(words.gfn()));
        r.hex(words.read::<u32>(p.0 as usize * 4).into()).hex(control.read::<u32>(0).into());
        r.result(reset());
    });
}
