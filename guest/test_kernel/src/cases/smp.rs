//! A second vCPU: started by INIT and SIPI, interrupted, sent events, stopped and started again.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use xen_abi::hvm_op::{HVMOP_SET_EVTCHN_UPCALL_VECTOR, HvmEvtchnUpcallVector};
use xen_abi::sched::{SCHEDOP_POLL, SchedPoll};
use xen_abi::shared_info::{VCPU_INFO_PENDING_SEL, VCPU_INFO_TIME, VCPU_INFO_UPCALL_PENDING};
use xen_abi::vcpu::*;
use xen_abi::{DomId, GuestHandle, Port, VcpuId};
use xenolith_guest_kit::cpu::{cpuid, let_interrupts_in, read_msr, sleep_until_interrupt};
use xenolith_guest_kit::pages::{self, read_at, write_at};
use xenolith_guest_kit::{lapic, processors, traps, wait_until};

use crate::calls::{hvm, sched, vcpu, vcpu_plain};
use crate::domain::*;
use crate::runner::{Report, Runner};
use crate::waits::{LONG, SHORT};

/// The second processor's local APIC identifier: twice its vCPU number.
const APIC_ID: u32 = 2;

/// What the second processor is asked to do.
#[derive(Clone, Copy)]
enum Task {
    Nothing = 0,
    Cpuid = 1,
    ApicId = 2,
    Send = 3,
    Clock = 4,
    Sleep = 5,
    ApicBase = 6,
}

static TASK: AtomicU32 = AtomicU32::new(Task::Nothing as u32);
static ARGUMENT: AtomicU64 = AtomicU64::new(0);
static ANSWER: AtomicU64 = AtomicU64::new(0);

/// What the second processor runs: it does what it is asked, and lets interrupts in between.
fn serve(_index: usize) {
    loop {
        // In the order opposite to that of their writing, or an argument of before would go with the task of now.
        let task = TASK.load(Ordering::Acquire);
        let argument = ARGUMENT.load(Ordering::Acquire);
        let answer = match task {
            n if n == Task::Cpuid as u32 => {
                let c = cpuid(argument as u32, 0);
                u64::from(c.ebx) << 32 | u64::from(c.eax)
            }
            n if n == Task::ApicId as u32 => read_msr(lapic::ID),
            n if n == Task::ApicBase as u32 => read_msr(0x1b),
            n if n == Task::Send as u32 => send(Port(argument as u32)) as u64,
            n if n == Task::Clock as u32 => {
                time_info(vcpu_info_1() + VCPU_INFO_TIME as u64).map_or(0, |info| time_by(&info))
            }
            n if n == Task::Sleep as u32 => {
                sleep_until_interrupt();
                1
            }
            _ => {
                let_interrupts_in();
                continue;
            }
        };
        ANSWER.store(answer, Ordering::Release);
        TASK.store(Task::Nothing as u32, Ordering::Release);
    }
}

/// Calls `wake` until the second processor has woken from its halt and answered; a wake-up may be lost now and then in
/// an emulated machine, so there are five of them.
fn wake_up(r: &mut Report, wake: impl Fn()) {
    for _ in 0..5 {
        wake();
        if wait_until(LONG / 5, || TASK.load(Ordering::Acquire) == Task::Nothing as u32) {
            break;
        }
    }
    say(r, finished());
}

/// Returns where vCPU 1's information lies: an earlier case may have moved it.
fn vcpu_info_1() -> u64 {
    match crate::cases::vcpu::moved_vcpu_1() {
        0 => vcpu_info(1),
        moved => moved,
    }
}

/// Asks the second processor, and waits for the answer.
fn ask(task: Task, argument: u64) -> Option<u64> {
    start_task(task, argument);
    finished()
}

fn start_task(task: Task, argument: u64) {
    ARGUMENT.store(argument, Ordering::Release);
    TASK.store(task as u32, Ordering::Release);
}

fn finished() -> Option<u64> {
    wait_until(LONG, || TASK.load(Ordering::Acquire) == Task::Nothing as u32).then(|| ANSWER.load(Ordering::Acquire))
}

fn say(r: &mut Report, answer: Option<u64>) {
    match answer {
        Some(value) => r.hex(value),
        None => r.field("no-answer"),
    };
}

fn quiet_1() {
    write_at(vcpu_info_1() + VCPU_INFO_UPCALL_PENDING as u64, 0_u8);
    write_at(vcpu_info_1() + VCPU_INFO_PENDING_SEL as u64, 0_u64);
    quiet();
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    starting(t);
    identity(t);
    interrupts(t);
    events(t);
    stopping(t);
}

fn starting(t: &mut Runner) {
    t.case("smp/start-by-init-and-sipi", |r| {
        r.named("up-before", vcpu_plain(VCPUOP_IS_UP, 1));
        r.holds("arrived", processors::start(1, APIC_ID, serve, LONG));
        r.named("up-after", vcpu_plain(VCPUOP_IS_UP, 1)).named("arrivals", processors::started());
    });
    t.case("smp/sipi-to-a-running-processor-is-dropped", |r| {
        lapic::write(lapic::ICR, u64::from(APIC_ID) << 32 | 0x4608);
        wait_until(SHORT, || false);
        r.named("arrivals", processors::started());
        say(r, ask(Task::ApicId, 0));
    });
    t.case("smp/initialise-a-running-vcpu", |r| {
        let page = pages::take();
        r.result(crate::calls::call(xen_abi::hypercall::VCPU_OP, [VCPUOP_INITIALISE.into(), 1, page.address()]));
        r.result(vcpu_plain(VCPUOP_UP, 1));
    });
}

fn identity(t: &mut Runner) {
    t.case("smp/apic-id", |r| say(r, ask(Task::ApicId, 0)));
    t.case("smp/apic-base", |r| say(r, ask(Task::ApicBase, 0)));
    t.case("smp/cpuid-1-apic-id", |r| say(r, ask(Task::Cpuid, 1).map(|v| v >> 56)));
    t.case("smp/cpuid-vcpu-id", |r| say(r, ask(Task::Cpuid, 0x4000_0004)));
    t.case("smp/run-state", |r| {
        let mut a = VcpuRunstateInfo::default();
        r.result(vcpu(VCPUOP_GET_RUNSTATE_INFO, 1, &mut a)).holds("on-line", a.state != RUNSTATE_OFFLINE);
        r.holds("ran", a.time[0] != 0 || a.state == RUNSTATE_RUNNING);
    });
    t.case("smp/clocks-agree", |r| {
        let agree = || {
            let before = now();
            let there = ask(Task::Clock, 0).unwrap_or(0);
            (there >= before, there <= now())
        };
        // On a busy emulator real Xen's clocks are now and then apart until the next time they are set by one another, which
        // is done once a second: asked again over three.
        let again = (0..12).map(|_| {
            wait_until(250_000_000, || false);
            agree()
        });
        let (not_before, not_after) =
            core::iter::once(agree()).chain(again).find(|seen| *seen == (true, true)).unwrap_or_else(agree);
        r.holds("not-before", not_before).holds("not-after", not_after);
    });
}

fn interrupts(t: &mut Runner) {
    let comes = |vector: u8, bound: u64, raise: &dyn Fn()| {
        let before = traps::count(1, vector);
        raise();
        wait_until(bound, || traps::count(1, vector) != before)
    };
    t.case("smp/ipi-by-apic-id", |r| {
        r.holds("taken", comes(0x60, LONG, &|| lapic::send(APIC_ID, 0x60)));
    });
    t.case("smp/ipi-to-all-but-self", |r| {
        let here = traps::count(0, 0x61);
        r.holds("there", comes(0x61, LONG, &|| lapic::write(lapic::ICR, 0xc_4061)));
        r.holds("here", traps::count(0, 0x61) != here);
    });
    t.case("smp/ipi-to-all", |r| {
        let here = traps::count(0, 0x62);
        r.holds("there", comes(0x62, LONG, &|| lapic::write(lapic::ICR, 0x8_4062)));
        r.holds("here", wait_until(LONG, || traps::count(0, 0x62) != here));
    });
    t.case("smp/ipi-logical", |r| {
        r.holds("taken", comes(0x63, LONG, &|| lapic::write(lapic::ICR, 4 << 32 | 0x4863)));
    });
    t.case("smp/ipi-to-both-logically", |r| {
        let here = traps::count(0, 0x64);
        r.holds("there", comes(0x64, LONG, &|| lapic::write(lapic::ICR, 5 << 32 | 0x4864)));
        r.holds("here", wait_until(LONG, || traps::count(0, 0x64) != here));
    });
    t.case("smp/ipi-wakes-from-halt", |r| {
        start_task(Task::Sleep, 0);
        wait_until(SHORT, || false);
        r.holds("still-asleep", TASK.load(Ordering::Acquire) == Task::Sleep as u32);
        wake_up(r, || lapic::send(APIC_ID, 0x65));
    });
}

fn events(t: &mut Runner) {
    t.case("smp/event/upcall-vector-of-vcpu-1", |r| {
        let mut a = HvmEvtchnUpcallVector { vcpu: VcpuId(1), vector: UPCALL, pad: [0; 3] };
        r.result(hvm(HVMOP_SET_EVTCHN_UPCALL_VECTOR, &mut a));
    });
    let arrives = |port: Port, bound: u64| {
        let before = traps::count(1, UPCALL);
        let result = send(port);
        (result, wait_until(bound, || traps::count(1, UPCALL) != before))
    };
    t.case("smp/event/ipi-port", |r| {
        quiet_1();
        let (result, port) = bind_ipi(1);
        let (sent, came) = arrives(port, LONG);
        r.result(result).result(sent).holds("there", came);
        r.hex(read_at(vcpu_info_1() + VCPU_INFO_PENDING_SEL as u64)).holds("upcall-here", upcall_pending());
        close(port);
        quiet_1();
    });
    t.case("smp/event/port-moved-there-and-back", |r| {
        let (first, second) = connected_pair();
        quiet_1();
        r.result(bind_vcpu(first, 1));
        let (sent, came) = arrives(second, LONG);
        r.result(sent).holds("there", came);
        quiet_1();
        r.result(bind_vcpu(first, 0));
        let before = upcalls();
        r.result(send(second)).holds("here", upcall_after(before, LONG));
        close(first);
        close(second);
        quiet_1();
    });
    t.case("smp/event/sent-from-there", |r| {
        let (_, port) = bind_ipi(0);
        quiet_1();
        let before = upcalls();
        say(r, ask(Task::Send, port.0.into()));
        r.holds("here", upcall_after(before, LONG));
        close(port);
        quiet_1();
    });
    t.case("smp/event/poll-is-ended-from-there", |r| {
        let (_, port) = bind_ipi(0);
        quiet_1();
        set_mask(port, true);
        let page = pages::take();
        page.write(0, port);
        let begin = now();
        start_task(Task::Send, port.0.into());
        let mut a = SchedPoll {
            ports: GuestHandle::new(page.address()),
            nr_ports: 1,
            pad: [0; 4],
            timeout: begin + 3_000_000_000,
        };
        r.result(sched(SCHEDOP_POLL, &mut a)).holds("before-the-end", now() < begin + 2_900_000_000);
        say(r, finished());
        close(port);
        quiet_1();
    });
    t.case("smp/event/wakes-from-halt", |r| {
        let (_, port) = bind_ipi(1);
        quiet_1();
        start_task(Task::Sleep, 0);
        wait_until(SHORT, || false);
        wake_up(r, || {
            quiet_1();
            send(port);
        });
        close(port);
        quiet_1();
    });
    t.case("smp/event/timer-of-vcpu-1-set-from-here", |r| {
        let mut a = VcpuSetSingleshotTimer { timeout_abs_ns: now() + 1_000_000, ..Default::default() };
        r.result(vcpu(VCPUOP_SET_SINGLESHOT_TIMER, 1, &mut a)).result(vcpu_plain(VCPUOP_STOP_SINGLESHOT_TIMER, 1));
    });
    t.case("smp/event/twenty-there", |r| {
        let (_, port) = bind_ipi(1);
        let mut came = 0;
        for _ in 0..20 {
            quiet_1();
            // The emulated machine may lose a wake-up, so each may be sent three times.
            came += u32::from((0..3).any(|_| {
                quiet_1();
                arrives(port, LONG / 5).1
            }));
        }
        r.named("came", came);
        close(port);
        quiet_1();
    });
}

fn stopping(t: &mut Runner) {
    t.case("smp/down-and-up-again", |r| {
        r.result(vcpu_plain(VCPUOP_DOWN, 1)).result(vcpu_plain(VCPUOP_IS_UP, 1));
        start_task(Task::ApicId, 0);
        wait_until(SHORT, || false);
        r.holds("silent", TASK.load(Ordering::Acquire) == Task::ApicId as u32);
        r.result(vcpu_plain(VCPUOP_UP, 1));
        say(r, finished());
    });
    t.case("smp/down-twice", |r| {
        r.result(vcpu_plain(VCPUOP_DOWN, 1)).result(vcpu_plain(VCPUOP_DOWN, 1)).result(vcpu_plain(VCPUOP_UP, 1));
        r.result(vcpu_plain(VCPUOP_UP, 1));
        say(r, ask(Task::ApicId, 0));
    });
    t.case("smp/init-stops-it-and-sipi-starts-it-afresh", |r| {
        let before = processors::started();
        lapic::write(lapic::ICR, u64::from(APIC_ID) << 32 | 0xc500);
        wait_until(SHORT, || false);
        r.named("up", vcpu_plain(VCPUOP_IS_UP, 1));
        r.holds("arrived", processors::start(1, APIC_ID, serve, LONG));
        r.named("arrivals", processors::started().wrapping_sub(before));
        say(r, ask(Task::ApicId, 0));
    });
    t.case("smp/start-a-processor-that-does-not-exist", |r| {
        r.holds("arrived", processors::start(2, 4, serve, SHORT));
    });
    t.case("smp/reset-of-events-with-two-vcpus", |r| {
        let (_, port) = bind_ipi(1);
        let mut a = xen_abi::event_channel::EvtchnReset { dom: DomId::SELF };
        r.result(crate::calls::evtchn(xen_abi::event_channel::EVTCHNOP_RESET, &mut a));
        r.result(send(port));
    });
    vcpu_plain(VCPUOP_DOWN, 1);
}
