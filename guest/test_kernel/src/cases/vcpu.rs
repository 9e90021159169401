//! vCPU operations: information areas, timers, run state, and starting by hypercall.

use core::sync::atomic::{AtomicU64, Ordering};

use xen_abi::hypercall::{SET_TIMER_OP, VCPU_OP};
use xen_abi::shared_info::{TIME_VERSION, VCPU_INFO_SIZE, VCPU_INFO_TIME};
use xen_abi::vcpu::*;
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{Gfn, GuestHandle};
use xenolith_guest_kit::mode::{self, Mode};
use xenolith_guest_kit::pages::{self, Access, read_at};
use xenolith_guest_kit::wait_until;

use crate::calls::{self, call, vcpu, vcpu_plain};
use crate::domain::*;
use crate::runner::{Report, Runner};
use crate::waits::{LONG, SHORT};

/// Where vCPU 1's information was moved to; 0 while it is in the shared page.
static MOVED: AtomicU64 = AtomicU64::new(0);

/// Returns where vCPU 1's information was moved to; 0 while it is in the shared page.
pub fn moved_vcpu_1() -> u64 {
    MOVED.load(Ordering::Relaxed)
}

/// vCPU numbers that do not exist.
const BAD_VCPUS: &[(&str, u32)] = &[("2", 2), ("128", 128), ("8192", 8192), ("0xffffffff", u32::MAX)];

/// Runs the cases that leave the shared page in use for vCPU 0.
pub fn run(t: &mut Runner) {
    plain(t);
    timers(t);
    clock(t);
    run_state(t);
    time_area(t);
    start(t);
}

/// Runs the cases again that do not depend on the caller being 64-bit code.
pub fn run_again(t: &mut Runner) {
    plain(t);
    timers(t);
    run_state(t);
    time_area(t);
}

fn plain(t: &mut Runner) {
    for (name, number) in [
        ("is-up", VCPUOP_IS_UP),
        ("stop-periodic-timer", VCPUOP_STOP_PERIODIC_TIMER),
        ("stop-singleshot-timer", VCPUOP_STOP_SINGLESHOT_TIMER),
        ("up", VCPUOP_UP),
    ] {
        for id in [0, 1] {
            if number == VCPUOP_UP && id == 1 {
                continue;
            }
            t.case_of(format_args!("vcpu/{name}/vcpu-{id}"), |r| {
                r.result(vcpu_plain(number, id));
            });
        }
    }
    for number in 0..14 {
        t.case_of(format_args!("vcpu/bad-vcpu/operation-{number}"), |r| {
            for (_, id) in BAD_VCPUS.iter().copied() {
                r.result(call(VCPU_OP, [number, id.into(), pages::take().address()]));
            }
        });
    }
    for number in [14_u32, 15, 100, u32::MAX] {
        t.case_of(format_args!("vcpu/unknown-operation/{number:#x}"), |r| {
            r.result(vcpu_plain(number, 0)).result(vcpu_plain(number, 2));
        });
    }
    t.case("vcpu/physical-id", |r| {
        let mut a = VcpuGetPhysid { phys_id: 0x55 };
        r.result(vcpu(VCPUOP_GET_PHYSID, 0, &mut a)).hex(a.phys_id);
    });
    for id in [0, 1] {
        t.case_of(format_args!("vcpu/run-state-info/of-{id}"), |r| {
            let mut a = VcpuRunstateInfo::default();
            r.result(vcpu(VCPUOP_GET_RUNSTATE_INFO, id, &mut a)).named("state", a.state);
            r.holds("entry-in-the-past", a.state_entry_time <= now()).holds("entry-known", a.state_entry_time != 0);
            r.holds("ran", a.time[0] != 0).holds("was-offline", a.time[3] != 0);
        });
    }
    t.case("vcpu/run-state-info/times-add-up", |r| {
        let mut a = VcpuRunstateInfo::default();
        r.result(vcpu(VCPUOP_GET_RUNSTATE_INFO, 0, &mut a));
        let mut b = a;
        wait_until(SHORT, || false);
        r.result(vcpu(VCPUOP_GET_RUNSTATE_INFO, 0, &mut b));
        let (before, after): (u64, u64) = (a.time.iter().sum(), b.time.iter().sum());
        r.holds("grows", after > before).holds("running-grows", b.time[0] > a.time[0]);
    });
}

fn one_shot(id: u32, timeout_abs_ns: u64, flags: u32) -> i64 {
    let mut a =
        VcpuSetSingleshotTimer { timeout_abs_ns, flags: SingleshotFlags(flags), ..VcpuSetSingleshotTimer::default() };
    vcpu(VCPUOP_SET_SINGLESHOT_TIMER, id, &mut a)
}

fn periodic(id: u32, period_ns: u64) -> i64 {
    vcpu(VCPUOP_SET_PERIODIC_TIMER, id, &mut VcpuSetPeriodicTimer { period_ns })
}

/// Sets a timer by `set` and says whether it comes, and whether it comes too early.
fn fires(r: &mut Report, at: u64, bound: u64, set: impl FnOnce() -> i64) {
    let (_, port) = bind_virq(VIRQ_TIMER, 0);
    quiet();
    let before = upcalls();
    r.result(set());
    let came = wait_until(bound, || pending(port) && upcalls() != before);
    r.holds("came", came);
    if came {
        r.holds("early", now() < at);
        consume(port);
        let after = upcalls();
        r.holds("again", upcall_after(after, SHORT));
    }
    vcpu_plain(VCPUOP_STOP_SINGLESHOT_TIMER, 0);
    vcpu_plain(VCPUOP_STOP_PERIODIC_TIMER, 0);
    close(port);
    quiet();
}

/// Makes the old call for the one-shot timer, to which 32-bit code passes the moment in two halves.
fn set_timer(moment: u64) -> i64 {
    if mode::current() == Mode::Long {
        return call(SET_TIMER_OP, [moment]);
    }
    call(SET_TIMER_OP, [moment & u64::from(u32::MAX), moment >> u32::BITS])
}

fn timers(t: &mut Runner) {
    t.case("timer/one-shot/in-a-millisecond", |r| {
        let at = now() + 1_000_000;
        fires(r, at, LONG, || one_shot(0, at, 0));
    });
    t.case("timer/one-shot/past-time", |r| {
        let at = now() - 1_000_000;
        fires(r, at, LONG, || one_shot(0, at, 0));
    });
    t.case("timer/one-shot/zero", |r| fires(r, 0, LONG, || one_shot(0, 0, 0)));
    t.case("timer/one-shot/past-time-must-be-future", |r| {
        let at = now() - 1_000_000;
        fires(r, at, LONG, || one_shot(0, at, 1));
    });
    t.case("timer/one-shot/future-must-be-future", |r| {
        let at = now() + 50_000_000;
        fires(r, at, LONG, || one_shot(0, at, 1));
    });
    t.case("timer/one-shot/unknown-flags", |r| {
        let at = now() + 1_000_000;
        fires(r, at, LONG, || one_shot(0, at, 0xfe));
    });
    t.case("timer/one-shot/far-away", |r| fires(r, 0, SHORT, || one_shot(0, u64::MAX / 2, 0)));
    t.case("timer/one-shot/negative", |r| fires(r, 0, LONG, || one_shot(0, u64::MAX, 0)));
    t.case("timer/one-shot/replaced-by-a-later-one", |r| {
        let at = now() + 800_000_000;
        fires(r, at, LONG, || {
            one_shot(0, now() + 500_000_000, 0);
            one_shot(0, at, 0)
        });
    });
    t.case("timer/one-shot/stopped", |r| {
        fires(r, 0, SHORT, || {
            one_shot(0, now() + 1_500_000_000, 0);
            vcpu_plain(VCPUOP_STOP_SINGLESHOT_TIMER, 0)
        });
    });
    for (name, id) in [("1", 1), ("2", 2)] {
        t.case_of(format_args!("timer/one-shot/for-vcpu-{name}"), |r| {
            r.result(one_shot(id, now() + 1_000_000, 0));
        });
    }
    t.case("timer/one-shot/without-a-port", |r| {
        let before = upcalls();
        r.result(one_shot(0, now() + 1_000_000, 0)).holds("upcall", upcall_after(before, SHORT));
    });
    t.case("timer/periodic/ten-milliseconds", |r| {
        let (_, port) = bind_virq(VIRQ_TIMER, 0);
        r.result(periodic(0, 10_000_000));
        let mut ticks = 0;
        for _ in 0..3 {
            if wait_until(LONG, || pending(port)) {
                ticks += 1;
                consume(port);
            }
        }
        r.named("ticks", ticks).result(vcpu_plain(VCPUOP_STOP_PERIODIC_TIMER, 0));
        wait_until(SHORT, || false);
        consume(port);
        r.holds("after-stop", wait_until(SHORT, || pending(port)));
        close(port);
        quiet();
    });
    for (name, id, period) in [
        ("period-0", 0, 0),
        ("period-999999", 0, 999_999),
        ("period-1000000", 0, 1_000_000),
        ("period-huge", 0, u64::MAX),
        ("period-2-to-62", 0, 1 << 62),
        ("vcpu-1", 1, 10_000_000),
        ("vcpu-2", 2, 10_000_000),
    ] {
        t.case_of(format_args!("timer/periodic/{name}"), |r| {
            r.result(periodic(id, period)).result(vcpu_plain(VCPUOP_STOP_PERIODIC_TIMER, id));
        });
    }
    t.case("timer/old-call/in-a-millisecond", |r| {
        let at = now() + 1_000_000;
        fires(r, at, LONG, || set_timer(at));
    });
    t.case("timer/old-call/past-time", |r| fires(r, 0, LONG, || set_timer(now() - 1_000_000)));
    t.case("timer/old-call/zero-stops", |r| {
        fires(r, 0, SHORT, || {
            set_timer(now() + 1_500_000_000);
            set_timer(0)
        });
    });
    t.case("timer/old-call/negative", |r| fires(r, 0, SHORT, || set_timer(1 << 63)));
}

fn clock(t: &mut Runner) {
    let at = vcpu_info(0) + VCPU_INFO_TIME as u64;
    t.case("clock/fields", |r| {
        let Some(info) = time_info(at) else {
            r.field("torn");
            return;
        };
        r.holds("version-even", info.version.is_multiple_of(2)).holds("version-not-zero", info.version != 0);
        r.holds("multiplier", info.tsc_to_system_mul != 0).holds("shift-small", info.tsc_shift.unsigned_abs() < 32);
        r.named("flags", info.flags.0).holds("padding-zero", info.pad0 == 0 && info.pad1 == [0; 2]);
        r.holds("tsc-in-the-past", info.tsc_timestamp <= xenolith_guest_kit::cpu::ticks());
    });
    t.case("clock/monotonic-over-many-reads", |r| {
        let (mut last, mut falls) = (now(), 0);
        for _ in 0..20_000 {
            let next = now();
            falls += u32::from(next < last);
            last = next;
        }
        r.holds("monotonic", falls == 0);
    });
    t.case("clock/agrees-with-hvm-get-time", |r| {
        let mut a = xen_abi::hvm_op::HvmGetTime::default();
        let before = now();
        r.result(crate::calls::hvm(xen_abi::hvm_op::HVMOP_GET_TIME, &mut a));
        r.holds("between", before <= a.now && a.now <= now() + 1_000_000);
    });
    t.case("clock/wall-clock", |r| {
        use xen_abi::shared_info::*;
        let version: u32 = shared(SHARED_INFO_WC_VERSION);
        let (seconds, ns): (u32, u32) = (shared(SHARED_INFO_WC_SEC), shared(SHARED_INFO_WC_NSEC));
        r.holds("version-even", version.is_multiple_of(2)).holds("version-not-zero", version != 0);
        r.holds("after-2020", seconds > 1_577_836_800).holds("nanoseconds", ns < 1_000_000_000);
        r.named("high", shared::<u32>(SHARED_INFO_WC_SEC_HI));
    });
    t.case("clock/of-a-vcpu-that-is-down", |r| {
        let info: xen_abi::shared_info::VcpuTimeInfo = read_at(vcpu_info(1) + VCPU_INFO_TIME as u64);
        r.named("version", info.version).holds("multiplier", info.tsc_to_system_mul != 0);
    });
}

fn register_run_state(address: u64) -> i64 {
    let mut a = VcpuRegisterRunstateMemoryArea { addr: GuestHandle::new(address) };
    vcpu(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, 0, &mut a)
}

fn run_state(t: &mut Runner) {
    t.case("run-state-area/filled-at-once", |r| {
        let page = pages::take();
        r.result(register_run_state(page.address()));
        let state: VcpuRunstateInfo = calls::get(page.address(), 0);
        r.named("state", state.state).holds("entry-known", state.state_entry_time != 0);
    });
    t.case("run-state-area/updated-after-a-sleep", |r| {
        let page = pages::take();
        r.result(register_run_state(page.address()));
        let before: VcpuRunstateInfo = page.read(0);
        let (_, port) = bind_virq(VIRQ_TIMER, 0);
        quiet();
        let was = upcalls();
        let begin = now();
        one_shot(0, begin + 20_000_000, 0);
        while upcalls() == was && now() < begin + 2_000_000_000 {
            xenolith_guest_kit::cpu::sleep_until_interrupt();
        }
        let after: VcpuRunstateInfo = page.read(0);
        r.named("state", after.state).holds("blocked-longer", after.time[2] > before.time[2]);
        r.holds("entry-later", after.state_entry_time > before.state_entry_time);
        close(port);
        quiet();
    });
    for (name, address) in [
        ("null", 0),
        ("unmapped", pages::unmap(10)),
        ("not-canonical", 0x8000_0000_0000_0000),
        ("not-aligned", pages::take().address() + 4),
        ("across-two-pages", pages::take_many(2, 1).first().map_or(0, |p| p.address() + 4080)),
        ("read-only", pages::map(11, pages::take().gfn(), Access::ReadOnly)),
    ] {
        t.case_of(format_args!("run-state-area/{name}"), |r| {
            r.result(register_run_state(address));
        });
    }
    register_run_state(0);
}

fn time_area(t: &mut Runner) {
    t.case("time-area/filled-at-once", |r| {
        let page = pages::take();
        let mut a = VcpuRegisterTimeMemoryArea { addr: GuestHandle::new(page.address()) };
        r.result(vcpu(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, 0, &mut a));
        r.holds("multiplier", page.read::<u32>(24) != 0);
        let version: u32 = page.read(TIME_VERSION);
        r.holds("version-even", version.is_multiple_of(2));
    });
    t.case("time-area/unmapped", |r| {
        let mut a = VcpuRegisterTimeMemoryArea { addr: GuestHandle::new(pages::unmap(10)) };
        r.result(vcpu(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, 0, &mut a));
    });
    t.case("time-area/null", |r| {
        let mut a = VcpuRegisterTimeMemoryArea { addr: GuestHandle::new(0) };
        r.result(vcpu(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, 0, &mut a));
    });
}

fn start(t: &mut Runner) {
    for (name, id) in [("0", 0), ("1", 1)] {
        t.case_of(format_args!("vcpu/initialise/vcpu-{name}-with-zeroes"), |r| {
            r.result(call(VCPU_OP, [VCPUOP_INITIALISE.into(), id, pages::take().address()]));
        });
    }
    t.case("vcpu/initialise/null-pointer", |r| {
        r.result(call(VCPU_OP, [VCPUOP_INITIALISE.into(), 1, 0]));
    });
    t.case("vcpu/up/vcpu-1-not-initialised", |r| {
        r.result(vcpu_plain(VCPUOP_UP, 1)).result(vcpu_plain(VCPUOP_IS_UP, 1));
    });
    t.case("vcpu/down/vcpu-1-that-is-down", |r| {
        r.result(vcpu_plain(VCPUOP_DOWN, 1)).result(vcpu_plain(VCPUOP_IS_UP, 1));
    });
}

fn register_info(id: u32, gfn: Gfn, offset: u32) -> i64 {
    vcpu(VCPUOP_REGISTER_VCPU_INFO, id, &mut VcpuRegisterVcpuInfo { gfn, offset, reserved: 0 })
}

/// Runs the cases that move vCPU information out of the shared page; to come after all that look for it there.
pub fn run_last(t: &mut Runner) {
    let page = pages::take();
    for (name, gfn, offset) in [
        ("offset-not-aligned", page.gfn(), 1),
        ("offset-past-the-last-fit", page.gfn(), 4096 - 63),
        ("offset-4096", page.gfn(), 4096),
        ("offset-0xffffffff", page.gfn(), u32::MAX),
        ("offset-0xffffffc0", page.gfn(), 0xffff_ffc0),
        ("frame-nowhere", SPARE, 0),
        ("frame-beyond-all", Gfn(u64::MAX), 0),
        ("frame-beyond-the-address-width", Gfn(1 << 40), 0),
    ] {
        t.case_of(format_args!("vcpu-info/bad-{name}"), |r| {
            r.result(register_info(1, gfn, offset)).result(register_info(2, gfn, offset));
        });
    }
    t.case("vcpu-info/of-a-vcpu-that-is-down", |r| {
        let moved = register_info(1, page.gfn(), 0x100);
        if moved == 0 {
            MOVED.store(page.address() + 0x100, Ordering::Relaxed);
        }
        r.result(moved).result(register_info(1, page.gfn(), 0x200));
        r.hex(page.read(0x100));
    });
    t.case("vcpu-info/last-offset-that-fits-and-what-is-pending-moves", |r| {
        let (_, port) = bind_ipi(0);
        let before = upcalls();
        r.result(send(port)).holds("taken", upcall_after(before, LONG));
        let place = pages::take();
        let offset = 4096 - VCPU_INFO_SIZE;
        r.holds("old-place", upcall_pending());
        r.result(register_info(0, place.gfn(), offset as u32));
        vcpu_info_moved(place.address() + offset as u64);
        r.hex(place.read::<u8>(offset).into()).hex(place.read(offset + 8));
        r.holds("time", place.read::<u32>(offset + VCPU_INFO_TIME + 24) != 0);
        r.holds("upcall-by-registering", upcall_after(before.wrapping_add(1), SHORT));
        place.write(offset, 0_u8);
        place.write(offset + 8, 0_u64);
        close(port);
        let (_, port) = bind_ipi(0);
        let before = upcalls();
        r.result(send(port)).holds("taken", upcall_after(before, LONG));
        r.hex(place.read::<u8>(offset).into()).hex(place.read(offset + 8));
        place.write(offset, 0_u8);
        place.write(offset + 8, 0_u64);
        close(port);
        r.result(register_info(0, place.gfn(), 0));
    });
    t.case("vcpu/operation-with-a-null-argument", |r| {
        for number in [
            VCPUOP_GET_RUNSTATE_INFO,
            VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA,
            VCPUOP_SET_PERIODIC_TIMER,
            VCPUOP_SET_SINGLESHOT_TIMER,
            VCPUOP_REGISTER_VCPU_INFO,
            VCPUOP_GET_PHYSID,
        ] {
            r.result(call(VCPU_OP, [number.into(), 0, pages::unmap(10)]));
        }
    });
    t.case("vcpu/send-nmi/to-itself", |r| {
        let fault = xenolith_guest_kit::catch(|| {
            let result = vcpu_plain(VCPUOP_SEND_NMI, 0);
            wait_until(SHORT, || false);
            result as u64
        });
        r.caught(fault);
    });
}
