//! `sched_op`: yielding, blocking, polling, shutdown and watchdogs. **Source:** `sched.h`.

use crate::components::access::{Action, Object};
use crate::components::event_channel::{is_pending, poll};
use crate::components::vcpu_timers::Timer;
use crate::hypercalls::{Call, Handler, Operation, operation, permitted};
use crate::lifecycle::event_domain::HostedDomain;
use crate::lifecycle::power::domain_shutdown;
use crate::outcome::{Answer, Outcome};
use core::sync::atomic::Ordering;
use xen_abi::sched::{
    SCHEDOP_BLOCK, SCHEDOP_PIN_OVERRIDE, SCHEDOP_POLL, SCHEDOP_REMOTE_SHUTDOWN, SCHEDOP_SHUTDOWN,
    SCHEDOP_SHUTDOWN_CODE, SCHEDOP_WATCHDOG, SCHEDOP_YIELD, SchedPinOverride, SchedPoll, SchedRemoteShutdown,
    SchedShutdown, SchedWatchdog,
};
use xen_abi::shared_info::VCPU_INFO_UPCALL_MASK;
use xen_abi::{DomId, Errno};
use xenolith_hal::{CpuId, Machine, Time};

/// The most ports that one poll may name.
const MOST_POLLED_PORTS: u32 = 128;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// Returns the table of operations.
pub const fn operations<M: Machine>() -> &'static [Operation<Handler<M>>] {
    const {
        &[
            operation(SCHEDOP_YIELD, "SCHEDOP_yield", yield_cpu),
            operation(SCHEDOP_BLOCK, "SCHEDOP_block", block),
            operation(SCHEDOP_SHUTDOWN, "SCHEDOP_shutdown", shutdown),
            operation(SCHEDOP_POLL, "SCHEDOP_poll", poll_ports),
            operation(SCHEDOP_REMOTE_SHUTDOWN, "SCHEDOP_remote_shutdown", remote_shutdown),
            operation(SCHEDOP_SHUTDOWN_CODE, "SCHEDOP_shutdown_code", shutdown_code),
            operation(SCHEDOP_WATCHDOG, "SCHEDOP_watchdog", watchdog),
            permitted(Action::OverridePinning, SCHEDOP_PIN_OVERRIDE, "SCHEDOP_pin_override", pin_override),
        ]
    }
}

fn yield_cpu<M: Machine>(_: &mut Call<'_, M>) -> Answer {
    Ok(Outcome::Yield(0))
}

/// Implements `SCHEDOP_block`: enables events and blocks.
fn block<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    if let Some((page, offset)) = call.vcpu.info(&call.hv.machine) {
        let _ = page.store_u8(offset.wrapping_add(VCPU_INFO_UPCALL_MASK), 0);
    }
    Ok(Outcome::Block(0))
}

/// Implements `SCHEDOP_shutdown`.
///
/// **Errors:** `EINVAL` for a reason above the last, `EFAULT`.
fn shutdown<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let SchedShutdown { reason } = call.read_arg(1)?;
    domain_shutdown(call.hv, call.domain, reason & 0xff);
    Ok(Outcome::Stopped)
}

/// Implements `SCHEDOP_shutdown_code`: records why the domain is about to go down, for queries after a crash.
fn shutdown_code<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let SchedShutdown { reason } = call.read_arg(1)?;
    call.domain.shutdown_code.store(reason & 0xff, Ordering::SeqCst);
    Ok(Outcome::OK)
}

/// Implements `SCHEDOP_poll`: blocks until one of the ports is pending or the timeout expires. Returns 0 in both cases.
///
/// **Errors:** `EINVAL` for more than 128 ports or one that does not exist, `EFAULT`.
fn poll_ports<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let wanted: SchedPoll = call.read_arg(1)?;
    if wanted.nr_ports > MOST_POLLED_PORTS {
        return Err(Errno::EINVAL);
    }
    let domain = HostedDomain::new(call.hv, call.domain);
    poll::begin(&domain, call.vcpu.id);
    let (mut found, mut only) = (Ok(false), None);
    for index in 0..u64::from(wanted.nr_ports) {
        found = call.memory().read_at(wanted.ports, index).and_then(|port| {
            only = Some(port);
            is_pending(&domain, port)
        });
        if found != Ok(false) {
            break;
        }
    }
    if found != Ok(false) || (wanted.timeout != 0 && wanted.timeout <= call.hv.machine.now().0) {
        poll::end(&domain, call.vcpu.id);
        return found.map(|_| Outcome::OK);
    }
    if let (1, Some(port)) = (wanted.nr_ports, only) {
        poll::narrow(&domain, call.vcpu.id, port);
    }
    let deadline = if wanted.timeout == 0 { Time::NEVER } else { Time(wanted.timeout) };
    call.vcpu.timers.set(Timer::Poll, deadline);
    Ok(Outcome::Block(0))
}

/// Implements `SCHEDOP_remote_shutdown`: shuts another domain down, for the control domain.
///
/// **Errors:** `ESRCH` if there is no such domain, `EPERM`, `EFAULT`.
fn remote_shutdown<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let wanted: SchedRemoteShutdown = call.read_arg(1)?;
    if wanted.domain_id == DomId::SELF || wanted.domain_id == call.domain.id {
        return Err(Errno::ESRCH);
    }
    let domain = call.hv.domain(wanted.domain_id)?;
    call.may(Action::ShutDownRemotely, Object::Domain(domain.id))?;
    domain_shutdown(call.hv, &domain, wanted.reason & 0xff);
    Ok(Outcome::OK)
}

/// Implements `SCHEDOP_watchdog`: arms, renews or stops a watchdog that shuts the domain down when it is not renewed in
/// time: `id` 0 arms a new one.
///
/// **Errors:** `EINVAL` for one that is not in use and for a number above 2. If both are in use, `ENOSPC` as a number
/// of 32 bits, not negative as one of 64 bits: real Xen has it so, and callers compare with that.
fn watchdog<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let SchedWatchdog { id, timeout } = call.read_arg(1)?;
    let deadline = call.hv.machine.now().after_ns(u64::from(timeout) * NS_PER_SECOND);
    let made = match call.domain.watchdogs.set(id, timeout, deadline) {
        Err(Errno::ENOSPC) => u64::from((Errno::ENOSPC.as_return() as i32).cast_unsigned()),
        made => made?,
    };
    call.vcpu.timers.set(Timer::Watchdog, call.domain.watchdogs.deadline());
    Ok(Outcome::Done(made))
}

/// Implements `SCHEDOP_pin_override`: pins the calling vCPU to a CPU until it asks otherwise; a negative number unpins
/// it.
///
/// **Errors:** `EBUSY`, `EINVAL` for a CPU that does not exist or runs no guests, `EPERM`, `EFAULT`.
fn pin_override<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let SchedPinOverride { pcpu } = call.read_arg(1)?;
    let Ok(cpu) = u32::try_from(pcpu) else {
        let before = call.hv.scheduler.pin(&call.hv.machine, call.domain, call.vcpu, None);
        return before.map(|_| Outcome::OK).ok_or(Errno::EINVAL);
    };
    if !call.hv.scheduler.online().contains(CpuId(cpu)) {
        return Err(Errno::EINVAL);
    }
    if call.vcpu.schedule.pinned().is_some() {
        return Err(Errno::EBUSY);
    }
    call.hv.scheduler.pin(&call.hv.machine, call.domain, call.vcpu, Some(CpuId(cpu)));
    Ok(Outcome::OK)
}
