//! Time as guests see it: the clock in `vcpu_info`, run states, timers.

use crate::components::event_channel::{poll, raise_vcpu};
use crate::components::grant::World;
use crate::components::vcpu_timers::Timer;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::{Vcpu, VcpuCore};
use crate::domains::vcpu_ref::VcpuRef;
use crate::lifecycle::event_domain::HostedDomain;
use crate::lifecycle::power::domain_shutdown;
use crate::lifecycle::waking::notify;
use crate::memory::guest_memory::{GuestView, Layout};
use core::sync::atomic::Ordering;
use xen_abi::GuestHandle;
use xen_abi::sched::SHUTDOWN_WATCHDOG;
use xen_abi::shared_info::{
    PvclockFlags, TIME_SYSTEM_TIME, TIME_TSC_TIMESTAMP, TIME_TSC_TO_SYSTEM_MUL, TIME_VERSION, VCPU_INFO_TIME,
    VcpuTimeInfo,
};
use xen_abi::vcpu::{
    RUNSTATE_BLOCKED, RUNSTATE_OFFLINE, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING, VcpuRunstateInfo, XEN_RUNSTATE_UPDATE,
};
use xen_abi::virq::VIRQ_TIMER;
use xenolith_devices::pvclock::time_info;
use xenolith_hal::{GuestCpu, LogLevel, Machine, PageWords, Time};

/// Switches a vCPU in on this CPU (context switch).
pub fn switch_in<M: Machine>(hv: &Hypervisor<M>, entry: &VcpuRef<M>, core: &mut VcpuCore<M>, now: Time) {
    let Some(vcpu) = entry.vcpu() else { return };
    vcpu.runstate.lock().change(RUNSTATE_RUNNING, now);
    show_runstate(hv, &entry.domain, vcpu, core);
    update_clock(hv, vcpu, core.tsc_offset);
}

/// Switches a vCPU out.
pub fn switch_out<M: Machine>(hv: &Hypervisor<M>, entry: &VcpuRef<M>, core: &mut VcpuCore<M>, now: Time) {
    let Some(vcpu) = entry.vcpu() else { return };
    let state = if vcpu.is_blocked() {
        RUNSTATE_BLOCKED
    } else if vcpu.is_runnable() {
        RUNSTATE_RUNNABLE
    } else if vcpu.is_waiting() {
        RUNSTATE_BLOCKED
    } else {
        RUNSTATE_OFFLINE
    };
    vcpu.runstate.lock().change(state, now);
    show_runstate(hv, &entry.domain, vcpu, core);
}

/// Writes the run state to where the guest registered it, if anywhere. If the guest has unmapped the place, nothing is
/// written.
fn show_runstate<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>, core: &VcpuCore<M>) {
    show_runstate_as(hv, domain, vcpu, core, domain.events.form().layout());
}

/// Writes the run state in this layout, whatever that of the shared page is; see `show_runstate`.
pub fn show_runstate_as<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    vcpu: &Vcpu<M>,
    core: &VcpuCore<M>,
    layout: Layout,
) {
    let address = vcpu.runstate_area.load(Ordering::SeqCst);
    if address == 0 {
        return;
    }
    let view = GuestView::new(hv.memory(domain), core.hardware.paging(), layout);
    let mut info = vcpu.runstate.lock().as_stored();
    let at = GuestHandle::<VcpuRunstateInfo>::new(address);
    if domain.shows_runstate_updates() {
        // Readers wait while the mark is set, so it stands before and is gone after.
        info.state_entry_time |= XEN_RUNSTATE_UPDATE;
        let _ = view.write(at, &info);
        info.state_entry_time &= !XEN_RUNSTATE_UPDATE;
    }
    let _ = view.write(at, &info);
}

/// Returns what a guest needs to compute the time from its time stamp counter, as of now. `tsc_offset` is the guest's
/// TSC offset.
pub fn clock<M: Machine>(hv: &Hypervisor<M>, tsc_offset: i64) -> VcpuTimeInfo {
    time_info(hv.machine.time_base(), hv.tsc_scale, tsc_offset.cast_unsigned(), PvclockFlags::empty())
}

/// Writes what the guest needs to compute the time from its time stamp counter; see [`clock`].
pub fn update_clock<M: Machine>(hv: &Hypervisor<M>, vcpu: &Vcpu<M>, tsc_offset: i64) {
    if let Some((page, offset)) = vcpu.info(&hv.machine) {
        let _ = write_clock(&clock(hv, tsc_offset), page, offset.wrapping_add(VCPU_INFO_TIME));
    }
}

/// Writes the clock; the version is odd while the rest changes (a sequence lock). What the guest writes there meanwhile
/// harms only itself.
#[expect(clippy::arithmetic_side_effects, reason = "a vCPU's information lies in a page: its offset is that of a byte")]
fn write_clock(clock: &VcpuTimeInfo, page: &PageWords, at: usize) -> Option<()> {
    let version = page.load_u32(at + TIME_VERSION)? | 1;
    page.store_u32(at + TIME_VERSION, version)?;
    page.store_u64(at + TIME_TSC_TIMESTAMP, clock.tsc_timestamp)?;
    page.store_u64(at + TIME_SYSTEM_TIME, clock.system_time)?;
    // The multiplier, and behind it the shift, the flags (none) and two bytes that mean nothing.
    let scale = u64::from(clock.tsc_to_system_mul) | u64::from(clock.tsc_shift.cast_unsigned()) << u32::BITS;
    page.store_u64(at + TIME_TSC_TO_SYSTEM_MUL, scale)?;
    page.store_u32(at + TIME_VERSION, version.wrapping_add(1))
}

/// Gives the domain's shared page this form from now on, and writes the date to its place in it.
pub fn latch_form<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, layout: Layout) {
    if domain.events.form().layout() != layout {
        domain.events.form().latch(layout);
        update_wall_clock(hv, domain);
    }
}

/// Writes date and time at system time 0 to a domain's shared_info page.
pub fn update_wall_clock<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    // The page of a domain that is going may be another's before this CPU is next quiet, but not sooner.
    if let Some(page) = hv.machine.page(domain.shared_info).filter(|_| !domain.is_dying()) {
        let _ = write_wall_clock(hv, domain, page);
    }
}

fn write_wall_clock<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, page: &PageWords) -> Option<()> {
    let at_boot = hv.wall_clock();
    let seconds = at_boot.seconds.wrapping_add(domain.time_offset_seconds.load(Ordering::SeqCst));
    let places = domain.events.form().places();
    let version = page.load_u32(places.wc_version)? | 1;
    page.store_u32(places.wc_version, version)?;
    page.store_u32(places.wc_sec, seconds as u32)?;
    page.store_u32(places.wc_sec_hi, (seconds >> 32) as u32)?;
    page.store_u32(places.wc_nsec, at_boot.nanoseconds)?;
    page.store_u32(places.wc_version, version.wrapping_add(1))
}

/// Fires the expired timers of a vCPU, except its chipset's.
pub fn fire_due<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>, now: Time) {
    let timers = &vcpu.timers;
    if timers.deadline() > now {
        return;
    }
    let hosted = HostedDomain::new(hv, domain);
    let (one_shot, periodic) = (timers.take_due(Timer::OneShot, now), timers.take_due(Timer::Periodic, now));
    if one_shot || periodic {
        raise_vcpu(&hosted, vcpu.id, VIRQ_TIMER);
    }
    if timers.take_due(Timer::Poll, now) && poll::end(&hosted, vcpu.id) {
        notify(hv, domain, vcpu);
    }
    if timers.take_due(Timer::Watchdog, now) {
        watchdog_due(hv, domain, vcpu, now);
    }
    if timers.take_due(Timer::Lapic, now) {
        notify(hv, domain, vcpu);
    }
}

/// Handles a watchdog that may have expired, or may have been renewed meanwhile.
fn watchdog_due<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>, now: Time) {
    let deadline = domain.watchdogs.deadline();
    if deadline > now {
        vcpu.timers.set(Timer::Watchdog, deadline);
        return;
    }
    let line = format_args!("Watchdog timer fired for domain {}", domain.id);
    hv.machine.log(LogLevel::Warning, true, line);
    domain_shutdown(hv, domain, SHUTDOWN_WATCHDOG);
}
