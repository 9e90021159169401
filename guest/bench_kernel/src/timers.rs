//! The one-shot timer of a vCPU.

use xen_abi::VcpuId;
use xen_abi::hypercall::VCPU_OP;
use xen_abi::shared_info::VCPU_INFO_TIME;
use xen_abi::vcpu::{VCPUOP_SET_SINGLESHOT_TIMER, VCPUOP_STOP_SINGLESHOT_TIMER, VcpuSetSingleshotTimer};
use xen_abi::virq::VIRQ_TIMER;
use xenolith_guest_kit::calls::{call, vcpu_plain};
use xenolith_guest_kit::domain::{bind_virq, close, consume, now, quiet, time_info, vcpu_info};
use xenolith_guest_kit::pages::{self, Page};
use xenolith_guest_kit::{cpu, stamps};

use crate::bench::{Bench, FEW_ROUNDS, ROUNDS, Row};

/// How far ahead a timer is set that is to run down, in nanoseconds.
const AHEAD: u64 = 300_000;
/// How much further each is than the last one under load, in nanoseconds: no part of a time slice.
const STEP: u64 = 631_000;
/// Long enough for all free memory of the machine to be cleared, in nanoseconds.
const A_REST: u64 = 3_000_000_000;
/// One that is not.
pub const NEVER_REACHED: u64 = 60_000_000_000;

/// Takes the rows.
pub fn run(b: &mut Bench<'_>) {
    let page = pages::take();
    b.call("timer/set-singleshot", ROUNDS, || set(page, now() + NEVER_REACHED));
    vcpu_plain(VCPUOP_STOP_SINGLESHOT_TIMER, 0);
    b.row("timer/halt-to-upcall", |meter| halt_to_upcall(page, meter.rounds(FEW_ROUNDS)));
    b.row("timer/halt-to-upcall-rested", |meter| {
        rest(page)?;
        halt_to_upcall(page, meter.rounds(FEW_ROUNDS))
    });
}

/// Sleeps until a hypervisor has done its idle work, such as scrubbing free memory.
///
/// **Errors:** the result of the call that failed.
pub fn rest(page: &'static Page) -> Result<(), i64> {
    let (bound, port) = bind_virq(VIRQ_TIMER, 0);
    if bound != 0 {
        return Err(bound);
    }
    quiet();
    let (until, taken) = (now() + A_REST, stamps::count());
    let result = set(page, until);
    while result == 0 && stamps::count() == taken {
        cpu::sleep_until_interrupt();
    }
    consume(port);
    close(port);
    quiet();
    if result == 0 { Ok(()) } else { Err(result) }
}

/// Sets the timer of this vCPU.
pub fn set(page: &'static Page, timeout_abs_ns: u64) -> i64 {
    page.write(0, VcpuSetSingleshotTimer { timeout_abs_ns, ..VcpuSetSingleshotTimer::default() });
    call(VCPU_OP, [VCPUOP_SET_SINGLESHOT_TIMER.into(), VcpuId(0).0.into(), page.address()])
}

/// Measures from the moment for which a timer was set to the first instruction of the handler, of a vCPU that sleeps
/// meanwhile on a CPU that has nothing else to do.
pub fn halt_to_upcall(page: &'static Page, rounds: u32) -> Row {
    least_wake_up(page, rounds, 0)
}

/// Returns the same on a CPU that has something else to do. Each sleep is longer than the last one, so that they do not
/// keep step with what the hypervisor does by the clock.
pub fn wake_up_under_load(page: &'static Page, rounds: u32) -> Row {
    least_wake_up(page, rounds, STEP)
}

fn least_wake_up(page: &'static Page, rounds: u32, step: u64) -> Row {
    let (bound, port) = bind_virq(VIRQ_TIMER, 0);
    if bound != 0 {
        return Err(bound);
    }
    quiet();
    let mut least = i64::MAX;
    for round in 0..rounds {
        let until = now() + AHEAD + u64::from(round) * step;
        let taken = stamps::count();
        let result = set(page, until);
        if result != 0 {
            return Err(result);
        }
        while stamps::count() == taken {
            cpu::sleep_until_interrupt();
        }
        least = least.min(stamps::reached().wrapping_sub(counter_at(until)).cast_signed());
        consume(port);
    }
    close(port);
    quiet();
    Ok(least)
}

/// Returns what the time-stamp counter shows at a system time, by vCPU 0's own information.
pub fn counter_at(system_time: u64) -> u64 {
    let Some(info) = time_info(vcpu_info(0) + VCPU_INFO_TIME as u64) else { return 0 };
    // The information may be younger than the moment.
    let passed = i128::from(system_time.wrapping_sub(info.system_time).cast_signed()) << 32;
    let shifted = passed / i128::from(info.tsc_to_system_mul.max(1));
    let ticks = if info.tsc_shift < 0 { shifted << -info.tsc_shift } else { shifted >> info.tsc_shift };
    info.tsc_timestamp.wrapping_add_signed(ticks as i64)
}
