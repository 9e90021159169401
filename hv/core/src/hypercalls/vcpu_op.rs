//! `vcpu_op`: operations on a domain's own vCPUs. **Source:** `vcpu.h`.

use super::vcpu_start::initialise;
use crate::components::event_channel::{mark_everything, raise_vcpu};
use crate::components::grant::World;
use crate::components::vcpu_timers::Timer;
use crate::domains::vcpu::Vcpu;
use crate::hypercalls::{Call, Handler, Operation, operation};
use crate::lifecycle::event_domain::HostedDomain;
use crate::lifecycle::power::vcpu_down;
use crate::lifecycle::time::{show_runstate_as, update_clock};
use crate::lifecycle::waking::notify_number;
use crate::memory::guest_memory::{GuestView, Layout};
use crate::outcome::{Answer, Outcome};
use core::sync::atomic::Ordering;
use xen_abi::shared_info::{VCPU_INFO_SIZE, VcpuInfo};
use xen_abi::vcpu::{
    VCPUOP_DOWN, VCPUOP_GET_PHYSID, VCPUOP_GET_RUNSTATE_INFO, VCPUOP_INITIALISE, VCPUOP_IS_UP,
    VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, VCPUOP_REGISTER_VCPU_INFO, VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA,
    VCPUOP_SEND_NMI, VCPUOP_SET_PERIODIC_TIMER, VCPUOP_SET_SINGLESHOT_TIMER, VCPUOP_STOP_PERIODIC_TIMER,
    VCPUOP_STOP_SINGLESHOT_TIMER, VCPUOP_UP, VcpuGetPhysid, VcpuRegisterRunstateMemoryArea, VcpuRegisterTimeMemoryArea,
    VcpuRegisterVcpuInfo, VcpuSetPeriodicTimer, VcpuSetSingleshotTimer,
};
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{Errno, Mfn, VcpuId};
use xenolith_hal::{CpuId, Machine, PAGE_SIZE, PageKind, Rights, Time};

/// The shortest period of the periodic timer.
const SHORTEST_PERIOD_NS: u64 = 1_000_000;
/// A longer period than this is taken for a mistake.
const LONGEST_PERIOD_NS: u64 = u64::MAX >> 2;
/// A deadline further away than this (13 days) is taken for one in the past, by a guest's counter that wrapped.
const FURTHEST_NS: u64 = 1 << 50;
/// When the timer fires then: such a guest has work pending or no timer at all, and it cannot be told which.
const MIDDLE_WAY_NS: u64 = 100_000_000;

/// Returns the table of operations: first argument the operation, second the vCPU, third a structure.
pub const fn operations<M: Machine>() -> &'static [Operation<Handler<M>>] {
    const {
        &[
            operation(VCPUOP_INITIALISE, "VCPUOP_initialise", initialise),
            operation(VCPUOP_UP, "VCPUOP_up", up),
            operation(VCPUOP_DOWN, "VCPUOP_down", down),
            operation(VCPUOP_IS_UP, "VCPUOP_is_up", is_up),
            operation(VCPUOP_GET_RUNSTATE_INFO, "VCPUOP_get_runstate_info", get_runstate_info),
            operation(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, "VCPUOP_register_runstate_memory_area", register_runstate),
            operation(VCPUOP_SET_PERIODIC_TIMER, "VCPUOP_set_periodic_timer", set_periodic_timer),
            operation(VCPUOP_STOP_PERIODIC_TIMER, "VCPUOP_stop_periodic_timer", stop_periodic_timer),
            operation(VCPUOP_SET_SINGLESHOT_TIMER, "VCPUOP_set_singleshot_timer", set_singleshot_timer),
            operation(VCPUOP_STOP_SINGLESHOT_TIMER, "VCPUOP_stop_singleshot_timer", stop_singleshot_timer),
            operation(VCPUOP_REGISTER_VCPU_INFO, "VCPUOP_register_vcpu_info", register_vcpu_info),
            operation(VCPUOP_SEND_NMI, "VCPUOP_send_nmi", send_nmi),
            operation(VCPUOP_GET_PHYSID, "VCPUOP_get_physid", get_physical_id),
            operation(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, "VCPUOP_register_vcpu_time_memory_area", register_time),
        ]
    }
}

/// Checks what must hold for every operation, even one that does not exist.
///
/// **Errors:** `ENOENT` unless the second argument names a vCPU of the caller's domain.
pub fn is_of_a_vcpu<M: Machine>(call: &Call<'_, M>) -> Result<(), Errno> {
    target(call).map(|_| ())
}

/// Returns the vCPU that the second argument names.
///
/// **Errors:** `ENOENT`.
pub(super) fn target<'a, M: Machine>(call: &Call<'a, M>) -> Result<&'a Vcpu<M>, Errno> {
    call.domain.vcpu(VcpuId(call.arg_u32(1))).ok_or(Errno::ENOENT)
}

/// Returns the same as [`target`], for operations of a vCPU on itself.
///
/// **Errors:** `ENOENT`, and `EINVAL` for another one.
fn oneself<'a, M: Machine>(call: &Call<'a, M>) -> Result<&'a Vcpu<M>, Errno> {
    let vcpu = target(call)?;
    if vcpu.id == call.vcpu.id { Ok(vcpu) } else { Err(Errno::EINVAL) }
}

/// Implements `VCPUOP_up`.
///
/// **Errors:** `EINVAL` for one that was never given a state to start in.
fn up<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let vcpu = target(call)?;
    if !vcpu.is_initialised() {
        return Err(Errno::EINVAL);
    }
    if vcpu.bring_back_up() {
        call.hv.scheduler.wake(&call.hv.machine, call.domain, vcpu);
    }
    Ok(Outcome::OK)
}

fn down<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let vcpu = target(call)?;
    vcpu_down(call.hv, call.domain, vcpu);
    if vcpu.is_running() && vcpu.id != call.vcpu.id {
        call.hv.machine.kick(vcpu.processor());
    }
    Ok(Outcome::OK)
}

fn is_up<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    Ok(Outcome::Done(u64::from(target(call)?.is_up())))
}

/// Implements `VCPUOP_get_physid`: the numbers of the CPU that a vCPU of the control domain is pinned to.
///
/// **Errors:** `EINVAL` for another domain, and for a vCPU that may run on several CPUs; `EFAULT`.
fn get_physical_id<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let settings = target(call)?.schedule.effective();
    let online = call.hv.scheduler.online();
    let mut allowed = online.iter().filter(|cpu| settings.allows(*cpu));
    match (allowed.next(), allowed.next()) {
        (Some(CpuId(cpu)), None) if call.domain.subject().privileged => {
            let cpu = u64::from(cpu);
            call.write_arg(2, &VcpuGetPhysid { phys_id: cpu | cpu << u32::BITS })?;
            Ok(Outcome::OK)
        }
        _ => Err(Errno::EINVAL),
    }
}

fn get_runstate_info<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let info = target(call)?.runstate.lock().info(call.hv.machine.now());
    call.write_arg(2, &info)?;
    Ok(Outcome::OK)
}

/// Implements `VCPUOP_register_runstate_memory_area`: from now on the run state is written to this guest virtual
/// address at each change.
fn register_runstate<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let vcpu = target(call)?;
    let area: VcpuRegisterRunstateMemoryArea = call.read_arg(2)?;
    vcpu.runstate_area.store(area.addr.address, Ordering::SeqCst);
    if vcpu.id == call.vcpu.id {
        show_runstate_as(call.hv, call.domain, vcpu, call.core, call.layout);
    } else {
        let info = vcpu.runstate.lock().info(call.hv.machine.now());
        let _ = call.memory().write(area.addr, &info);
    }
    Ok(Outcome::OK)
}

/// Implements `VCPUOP_set_periodic_timer`.
///
/// **Errors:** `EINVAL` for a period under 1 ms or from 2^62 ns on.
fn set_periodic_timer<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let vcpu = target(call)?;
    let VcpuSetPeriodicTimer { period_ns } = call.read_arg(2)?;
    if !(SHORTEST_PERIOD_NS..=LONGEST_PERIOD_NS).contains(&period_ns) {
        return Err(Errno::EINVAL);
    }
    vcpu.timers.set_periodic(period_ns, call.hv.machine.now());
    if vcpu.id != call.vcpu.id {
        call.hv.scheduler.timer_changed(&call.hv.machine, &call.hv.domains, call.domain, vcpu);
    }
    Ok(Outcome::OK)
}

fn stop_periodic_timer<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    target(call)?.timers.set_periodic(0, Time(0));
    Ok(Outcome::OK)
}

/// Implements `VCPUOP_set_singleshot_timer`. A deadline in the past fires at once, whatever the flags say.
///
/// **Errors:** `EINVAL` for another vCPU, `EFAULT`.
fn set_singleshot_timer<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let vcpu = oneself(call)?;
    let wanted: VcpuSetSingleshotTimer = call.read_arg(2)?;
    let is_over = i64::try_from(wanted.timeout_abs_ns).is_err() || wanted.timeout_abs_ns < call.hv.machine.now().0;
    if is_over {
        vcpu.timers.set(Timer::OneShot, Time::NEVER);
        raise_vcpu(&HostedDomain::new(call.hv, call.domain), vcpu.id, VIRQ_TIMER);
    } else {
        vcpu.timers.set(Timer::OneShot, Time(wanted.timeout_abs_ns));
    }
    Ok(Outcome::OK)
}

/// Implements `set_timer_op(deadline)`, the old interface to the calling vCPU's one-shot timer: 0 stops it.
///
/// **Errors:** none.
pub fn set_timer_op<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let wanted = match call.layout {
        Layout::Native => call.arg(0),
        Layout::Compat => u64::from(call.arg_u32(0)) | u64::from(call.arg_u32(1)) << u32::BITS,
    };
    let now = call.hv.machine.now();
    let deadline = match i64::try_from(wanted) {
        Ok(0) => Time::NEVER,
        Ok(_) if Time(wanted).since_ns(now) < FURTHEST_NS => Time(wanted),
        _ => now.after_ns(MIDDLE_WAY_NS),
    };
    call.vcpu.timers.set(Timer::OneShot, deadline);
    Ok(Outcome::OK)
}

fn stop_singleshot_timer<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    oneself(call)?.timers.set(Timer::OneShot, Time::NEVER);
    Ok(Outcome::OK)
}

/// Implements `VCPUOP_register_vcpu_info`: moves a vCPU's `vcpu_info` to a place of the guest's choice, once. The old
/// contents are copied, and everything is marked as pending, so that no event is lost on the way.
///
/// **Errors:** `ENXIO` when it crosses a page's end or is not aligned; `EINVAL` when it was moved before, or is not the
/// guest's RAM; `EPERM`, `EFAULT`.
fn register_vcpu_info<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let vcpu = target(call)?;
    let wanted: VcpuRegisterVcpuInfo = call.read_arg(2)?;
    let offset = wanted.offset as usize;
    if offset > PAGE_SIZE - VCPU_INFO_SIZE || !offset.is_multiple_of(align_of::<VcpuInfo>()) {
        return Err(Errno::ENXIO);
    }
    if vcpu.has_own_info() {
        return Err(Errno::EINVAL);
    }
    if vcpu.id != call.vcpu.id && vcpu.is_up() {
        return Err(Errno::EINVAL);
    }
    let mapping = call.hv.memory(call.domain).find(wanted.gfn).ok_or(Errno::EINVAL)?;
    if mapping.kind != PageKind::Ram || !mapping.rights.contains(Rights::WRITE) {
        return Err(Errno::EINVAL);
    }
    let reference = call.hv.frames.reference(mapping.mfn, call.domain.id).ok_or(Errno::EINVAL)?;
    if let Err((errno, reference)) = call.domain.keep(reference) {
        call.hv.frames.put(reference);
        return Err(errno);
    }
    move_info(call, vcpu, mapping.mfn, offset);
    vcpu.mark_own_info();
    // Another one is down, so its offset stays as it is.
    let offset =
        if vcpu.id == call.vcpu.id { Some(call.core.tsc_offset) } else { vcpu.with_core(|core| core.tsc_offset) };
    update_clock(call.hv, vcpu, offset.unwrap_or(0));
    mark_everything(&HostedDomain::new(call.hv, call.domain), vcpu.id);
    Ok(Outcome::OK)
}

fn move_info<M: Machine>(call: &Call<'_, M>, vcpu: &Vcpu<M>, frame: Mfn, offset: usize) {
    let machine = &call.hv.machine;
    let mut info = [0; VCPU_INFO_SIZE];
    if let Some((page, from)) = vcpu.info(machine) {
        let _ = page.read_bytes(from, &mut info);
    }
    if let Some(page) = machine.page(frame) {
        let _ = page.write_bytes(offset, &info);
    }
    vcpu.set_info_place(frame, offset);
}

fn send_nmi<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let vcpu = target(call)?;
    vcpu.requests.post_nmi();
    notify_number(call.hv, call.domain, vcpu.id);
    Ok(Outcome::OK)
}

/// Implements `VCPUOP_register_vcpu_time_memory_area`: from now on the time is written to this guest virtual address
/// whenever its parameters change.
fn register_time<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let vcpu = target(call)?;
    let area: VcpuRegisterTimeMemoryArea = call.read_arg(2)?;
    vcpu.time_area.store(area.addr.address, Ordering::SeqCst);
    let view: GuestView<'_, M> = call.memory();
    let _ = view.write(area.addr, &crate::lifecycle::time::clock(call.hv, call.core.tsc_offset));
    Ok(Outcome::OK)
}
