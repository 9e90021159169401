//! Scheduling operations.

use xen_abi::hypercall::{SCHED_OP, SCHED_OP_COMPAT};
use xen_abi::sched::*;
use xen_abi::vcpu::{VCPUOP_SET_SINGLESHOT_TIMER, VcpuSetSingleshotTimer};
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{DomId, GuestHandle, Port};
use xenolith_guest_kit::cpu::{interrupts_off, interrupts_on};
use xenolith_guest_kit::{lapic, pages};

use crate::calls::{call, sched, vcpu};
use crate::domain::*;
use crate::runner::Runner;
use crate::waits::LONG;

/// Runs the cases.
pub fn run(t: &mut Runner) {
    waiting(t);
    polling(t);
    others(t);
}

fn timer_in(ns: u64) {
    let mut a = VcpuSetSingleshotTimer { timeout_abs_ns: now() + ns, ..VcpuSetSingleshotTimer::default() };
    vcpu(VCPUOP_SET_SINGLESHOT_TIMER, 0, &mut a);
}

/// Blocks, with the local APIC's timer to end it after a second: the result, and whether it took half of that.
fn block_at_most_a_second() -> (i64, bool) {
    lapic::write(lapic::TIMER_DIVIDE, 0xb);
    lapic::write(lapic::LVT_TIMER, 0x44);
    // The virtual APIC's bus clock is 100 MHz.
    lapic::write(lapic::TIMER_INITIAL, 100_000_000);
    let begin = now();
    let result = call(SCHED_OP, [SCHEDOP_BLOCK.into(), 0]);
    let slept = now() > begin + 500_000_000;
    lapic::write(lapic::TIMER_INITIAL, 0);
    lapic::write(lapic::LVT_TIMER, 0x1_0000);
    (result, slept)
}

fn waiting(t: &mut Runner) {
    t.case("sched/yield", |r| {
        r.result(call(SCHED_OP, [SCHEDOP_YIELD.into(), 0]));
    });
    t.case("sched/yield/bad-pointer-is-not-looked-at", |r| {
        r.result(call(SCHED_OP, [SCHEDOP_YIELD.into(), 0x8000_0000_0000_0000]));
    });
    t.case("sched/block/event-already-taken", |r| {
        let (_, port) = bind_ipi(0);
        send(port);
        interrupts_on();
        let (result, slept) = block_at_most_a_second();
        interrupts_off();
        r.result(result).holds("slept", slept).holds("pending", upcall_pending());
        close(port);
        quiet();
    });
    t.case("sched/block/event-waits-with-interrupts-off", |r| {
        let (_, port) = bind_ipi(0);
        send(port);
        let (result, slept) = block_at_most_a_second();
        r.result(result).holds("slept", slept).holds("pending", upcall_pending());
        close(port);
        quiet();
    });
    t.case("sched/block/another-interrupt-waits-with-interrupts-off", |r| {
        lapic::send_to_self(0x45);
        let (result, slept) = block_at_most_a_second();
        r.result(result).holds("slept", slept);
        quiet();
    });
    t.case("sched/block/clears-the-upcall-mask", |r| {
        let at = vcpu_info(0) + xen_abi::shared_info::VCPU_INFO_UPCALL_MASK as u64;
        pages::write_at(at, 1_u8);
        interrupts_on();
        let (result, slept) = block_at_most_a_second();
        interrupts_off();
        r.result(result).holds("slept", slept).named("mask", pages::read_at::<u8>(at));
        pages::write_at(at, 0_u8);
    });
    t.case("sched/block/until-a-timer", |r| {
        let (_, port) = bind_virq(VIRQ_TIMER, 0);
        quiet();
        let (begin, before) = (now(), upcalls());
        timer_in(20_000_000);
        interrupts_on();
        let (result, _) = block_at_most_a_second();
        interrupts_off();
        r.result(result).holds("waited", now() >= begin + 20_000_000).holds("taken", upcall_after(before, LONG));
        close(port);
        quiet();
    });
    t.case("sched/halt/until-a-timer", |r| {
        let (_, port) = bind_virq(VIRQ_TIMER, 0);
        quiet();
        let (begin, before) = (now(), upcalls());
        timer_in(5_000_000);
        while upcalls() == before && now() < begin + 2_000_000_000 {
            xenolith_guest_kit::cpu::sleep_until_interrupt();
        }
        r.holds("waited", now() >= begin + 5_000_000).holds("taken", upcalls() != before);
        close(port);
        quiet();
    });
}

/// Polls for 5 ms ports on which nothing comes: the result, and whether it waited so long. Whatever else is delivered ends a
/// poll early, as on a busy emulator now and then something is; so it is tried again.
fn poll_that_runs_out(ports: &[Port]) -> (i64, bool) {
    for _ in 0..4 {
        quiet();
        let until = now() + 5_000_000;
        let result = poll(ports, until);
        if result != 0 || now() >= until {
            return (result, result == 0);
        }
    }
    (0, false)
}

/// Polls `ports` until system time `timeout` (0: no end): the result.
fn poll(ports: &[Port], timeout: u64) -> i64 {
    let page = pages::take();
    for (index, port) in ports.iter().enumerate() {
        page.write(index * 4, *port);
    }
    let mut a =
        SchedPoll { ports: GuestHandle::new(page.address()), nr_ports: ports.len() as u32, pad: [0; 4], timeout };
    sched(SCHEDOP_POLL, &mut a)
}

fn polling(t: &mut Runner) {
    t.case("sched/poll/pending-port", |r| {
        let (_, port) = bind_ipi(0);
        set_mask(port, true);
        send(port);
        r.result(poll(&[port], 0));
        close(port);
        quiet();
    });
    t.case("sched/poll/second-of-two-pending", |r| {
        let ports = [bind_ipi(0).1, bind_ipi(0).1];
        for port in ports {
            set_mask(port, true);
        }
        send(ports[1]);
        r.result(poll(&ports, 0));
        for port in ports {
            close(port);
        }
        quiet();
    });
    t.case("sched/poll/runs-out", |r| {
        let (_, port) = bind_ipi(0);
        set_mask(port, true);
        let (result, waited) = poll_that_runs_out(&[port]);
        r.result(result).holds("waited", waited);
        close(port);
        quiet();
    });
    t.case("sched/poll/no-port-runs-out", |r| {
        let (result, waited) = poll_that_runs_out(&[]);
        r.result(result).holds("waited", waited);
    });
    t.case("sched/poll/past-time", |r| {
        let (_, port) = bind_ipi(0);
        set_mask(port, true);
        r.result(poll(&[port], 1));
        close(port);
        quiet();
    });
    t.case("sched/poll/until-a-masked-timer", |r| {
        let (_, port) = bind_virq(VIRQ_TIMER, 0);
        quiet();
        set_mask(port, true);
        let begin = now();
        timer_in(5_000_000);
        r.result(poll(&[port], begin + 3_000_000_000)).holds("pending", pending(port));
        r.holds("waited", now() >= begin + 5_000_000).holds("before-the-end", now() < begin + 3_000_000_000);
        close(port);
        quiet();
    });
    t.case("sched/poll/unmasked-event-ends-it", |r| {
        let (_, port) = bind_ipi(0);
        let (_, other) = bind_ipi(0);
        set_mask(port, true);
        send(other);
        let begin = now();
        r.result(poll(&[port], begin + 2_000_000_000)).holds("at-once", now() < begin + 1_000_000_000);
        close(port);
        close(other);
        quiet();
    });
    for (name, port) in [("0", 0), ("closed", 40), ("4095", 4095), ("4096", 4096), ("0xffffffff", u32::MAX)] {
        t.case_of(format_args!("sched/poll/bad-port-{name}"), |r| {
            r.result(poll(&[Port(port)], now() + 1_000_000));
        });
    }
    for (name, count) in [("128-ports", 128), ("129-ports", 129), ("0xffffffff-ports", u32::MAX)] {
        t.case_of(format_args!("sched/poll/{name}"), |r| {
            let page = pages::take();
            for index in 0..1024 {
                page.write(index * 4, 1_u32);
            }
            let mut a = SchedPoll {
                ports: GuestHandle::new(page.address()),
                nr_ports: count,
                pad: [0; 4],
                timeout: now() + 1_000_000,
            };
            r.result(sched(SCHEDOP_POLL, &mut a));
        });
    }
    for (name, address) in [("null", 0), ("unmapped", pages::unmap(10)), ("not-canonical", 0x8000_0000_0000_0000)] {
        t.case_of(format_args!("sched/poll/list-{name}"), |r| {
            let mut a =
                SchedPoll { ports: GuestHandle::new(address), nr_ports: 1, pad: [0; 4], timeout: now() + 1_000_000 };
            r.result(sched(SCHEDOP_POLL, &mut a));
        });
    }
}

fn others(t: &mut Runner) {
    for (name, domain, reason) in [
        ("of-nobody", DomId(77), SHUTDOWN_POWEROFF),
        ("of-io", DomId::IO, SHUTDOWN_POWEROFF),
        ("of-xen", DomId::XEN, SHUTDOWN_POWEROFF),
        ("of-invalid", DomId::INVALID, SHUTDOWN_POWEROFF),
        ("of-self", DomId::SELF, SHUTDOWN_POWEROFF),
        ("of-nobody-bad-reason", DomId(77), 99),
    ] {
        t.case_of(format_args!("sched/remote-shutdown/{name}"), |r| {
            let mut a = SchedRemoteShutdown { domain_id: domain, pad: [0; 2], reason };
            r.result(sched(SCHEDOP_REMOTE_SHUTDOWN, &mut a));
        });
    }
    let watchdog = |id: u32, timeout: u32| sched(SCHEDOP_WATCHDOG, &mut SchedWatchdog { id, timeout });
    t.case("sched/watchdog/set-feed-stop", |r| {
        let first = watchdog(0, 1000);
        r.result(first).result(watchdog(first as u32, 1000)).result(watchdog(first as u32, 0));
        r.result(watchdog(first as u32, 0));
    });
    t.case("sched/watchdog/how-many", |r| {
        let ids = [watchdog(0, 1000), watchdog(0, 1000), watchdog(0, 1000)];
        for id in ids {
            r.result(id);
        }
        for id in [1, 2] {
            r.result(watchdog(id, 0));
        }
    });
    for (name, id, timeout) in [("bad-number", 3, 1000), ("bad-number-0xffffffff", u32::MAX, 0)] {
        t.case_of(format_args!("sched/watchdog/{name}"), |r| {
            r.result(watchdog(id, timeout));
        });
    }
    for (name, pcpu) in [("1", 1), ("5", 5), ("0x7fffffff", i32::MAX), ("undo", -1), ("undo-again", -1)] {
        t.case_of(format_args!("sched/pin-override/{name}"), |r| {
            r.result(sched(SCHEDOP_PIN_OVERRIDE, &mut SchedPinOverride { pcpu }));
        });
    }
    t.case("sched/pin-override/and-back", |r| {
        r.result(sched(SCHEDOP_PIN_OVERRIDE, &mut SchedPinOverride { pcpu: 1 }));
        r.result(sched(SCHEDOP_PIN_OVERRIDE, &mut SchedPinOverride { pcpu: 2 }));
        r.result(sched(SCHEDOP_PIN_OVERRIDE, &mut SchedPinOverride { pcpu: -1 }));
    });
    t.case("sched/shutdown-code/poweroff", |r| {
        r.result(sched(SCHEDOP_SHUTDOWN_CODE, &mut SchedShutdown { reason: SHUTDOWN_POWEROFF }));
    });
    for number in [8_u64, 9, 100, 0xffff_ffff] {
        t.case_of(format_args!("sched/unknown-operation/{number:#x}"), |r| {
            r.result(call(SCHED_OP, [number, pages::take().address()]));
        });
    }
    t.case("sched/old-call/yield", |r| {
        r.result(call(SCHED_OP_COMPAT, [0, 0]));
    });
    t.case("sched/old-call/unknown", |r| {
        r.result(call(SCHED_OP_COMPAT, [5, 0]));
    });
}
