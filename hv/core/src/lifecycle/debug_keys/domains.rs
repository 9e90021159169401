//! Debug key `q`: every domain and each of its vCPUs, with what it waits for.

use super::until::Milliseconds;
use super::{Known, Until, Vector, each_domain, say};
use crate::components::event_channel::poll;
use crate::components::vcpu_timers::Timer;
use crate::domains::domain::{Domain, Shutdown};
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::{Vcpu, VcpuCore};
use crate::lifecycle::event_domain::HostedDomain;
use crate::memory::guest_memory::Layout;
use core::fmt;
use core::sync::atomic::Ordering;
use xen_abi::shared_info::{VCPU_INFO_UPCALL_MASK, VCPU_INFO_UPCALL_PENDING};
use xen_abi::vcpu::{RUNSTATE_BLOCKED, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING};
use xenolith_hal::{GuestCpu, Machine, Time};

pub(super) fn report<M: Machine>(hv: &Hypervisor<M>) {
    let now = hv.machine.now();
    say(hv, format_args!("'q' pressed -> dumping domain info (now = {})", now.0));
    each_domain(hv, |domain| report_domain(hv, domain, now));
}

fn report_domain<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, now: Time) {
    let id = domain.id;
    say(hv, format_args!("General information for domain {id}:"));
    let (life, pauses) = (domain.life(), Known(domain.pauses_if_free()));
    match domain.shutdown_reason() {
        Shutdown::NONE => say(hv, format_args!("    life={life:?} pause_count={pauses}")),
        Shutdown(reason) => say(hv, format_args!("    life={life:?} pause_count={pauses} shutdown={reason}")),
    }
    if let Some(pages) = hv.frames.account(id) {
        let (total, max, shared, claimed) = (pages.total(), pages.max(), pages.shared(), pages.claimed());
        let paging = Known(domain.physmap.pool_in_use_if_free());
        say(
            hv,
            format_args!(
                "    nr_pages={total} max_pages={max} xenheap_pages={shared} outstanding_pages={claimed} \
                 paging_pages={paging}"
            ),
        );
    }
    say(hv, format_args!("VCPU information and callbacks for domain {id}:"));
    say(hv, format_args!("    callback vector {}", Vector(domain.callback_vector())));
    for vcpu in &domain.vcpus {
        report_vcpu(hv, domain, vcpu, now);
    }
}

fn report_vcpu<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>, now: Time) {
    let (id, cpu) = (vcpu.id, vcpu.processor().0);
    let has = if vcpu.is_running() { 'T' } else { 'F' };
    say(hv, format_args!("    VCPU{id}: CPU{cpu} [has={has}] {}, {}", State(vcpu), Spell { vcpu, now }));
    report_upcall(hv, domain, vcpu);
    let told = vcpu.try_with_core(|core| report_core(hv, core, now));
    if told.is_none() {
        let what = if vcpu.is_running() { "its CPU has its registers" } else { "its registers are busy" };
        say(hv, format_args!("      {what}; RIP when it last left its guest {:#018x}", vcpu.last_rip()));
    }
    report_timers(hv, vcpu, now);
}

fn report_upcall<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) {
    let byte = |at: usize| vcpu.info(&hv.machine).and_then(|(page, offset)| page.load_u8(offset.checked_add(at)?));
    let at = domain.events.form().places().pending_sel;
    let selector = vcpu.info(&hv.machine).and_then(|(page, offset)| match domain.events.form().layout() {
        Layout::Native => page.load_u64(offset.checked_add(at)?),
        Layout::Compat => page.load_u32(offset.checked_add(at)?).map(u64::from),
    });
    let (pending, mask) = (byte(VCPU_INFO_UPCALL_PENDING).unwrap_or(0), byte(VCPU_INFO_UPCALL_MASK).unwrap_or(0));
    let vector = Some(vcpu.upcall_vector.load(Ordering::SeqCst)).filter(|vector| *vector != 0);
    let polled = poll::wish(&HostedDomain::new(hv, domain), vcpu.id);
    say(
        hv,
        format_args!(
            "      upcall_pend={pending:02x} upcall_mask={mask:02x} pending_sel={:#x} upcall vector {}, {polled}, {}",
            selector.unwrap_or(0),
            Vector(vector),
            if vcpu.requests.pending() { "has requests" } else { "no requests" }
        ),
    );
}

fn report_core<M: Machine>(hv: &Hypervisor<M>, core: &VcpuCore<M>, now: Time) {
    let registers = core.hardware.registers();
    say(
        hv,
        format_args!(
            "      RIP {:#018x} RSP {:#018x} RFLAGS {:#x}, local APIC: pending {}, deliverable {}, timer {}{}",
            registers.rip,
            registers.rsp,
            registers.rflags,
            Vector(core.lapic.highest_pending()),
            Vector(core.lapic.highest_deliverable()),
            Until { now, at: core.lapic.deadline() },
            if core.nmi_pending { ", NMI pending" } else { "" }
        ),
    );
}

fn report_timers<M: Machine>(hv: &Hypervisor<M>, vcpu: &Vcpu<M>, now: Time) {
    for (timer, name) in [
        (Timer::OneShot, "one-shot"),
        (Timer::Periodic, "periodic"),
        (Timer::Poll, "poll"),
        (Timer::Watchdog, "watchdog"),
        (Timer::Lapic, "local APIC"),
    ] {
        let at = vcpu.timers.get(timer);
        if at != Time::NEVER {
            say(hv, format_args!("      {name} timer {}", Until { now, at }));
        }
    }
    let at = vcpu.schedule.sleeps_until();
    if at != Time::NEVER {
        say(hv, format_args!("      some CPU wakes it {}", Until { now, at }));
    }
}

/// The reasons that keep a vCPU from running, or that it is runnable.
struct State<'a, M: Machine>(&'a Vcpu<M>);

impl<M: Machine> fmt::Display for State<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(vcpu) = self;
        let pauses = vcpu.pauses();
        if vcpu.is_runnable() {
            f.write_str(if vcpu.is_running() { "running" } else { "runnable" })?;
        } else {
            let separated = [
                (!vcpu.is_up(), "down "),
                (vcpu.is_blocked(), "blocked "),
                (vcpu.is_waiting(), "waits for its device model "),
            ];
            separated.iter().filter(|(holds, _)| *holds).try_for_each(|(_, word)| f.write_str(word))?;
            write!(f, "pause_count={pauses}")?;
        }
        f.write_str(match vcpu.schedule.is_aside() {
            Some(true) => ", in no queue",
            Some(false) => ", in a queue or on a CPU",
            None => ", queue busy",
        })
    }
}

/// A vCPU's run state, and for how long.
struct Spell<'a, M: Machine> {
    vcpu: &'a Vcpu<M>,
    now: Time,
}

impl<M: Machine> fmt::Display for Spell<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(info) = self.vcpu.runstate.try_lock().map(|state| state.info(self.now)) else {
            return f.write_str("account busy");
        };
        let word = match info.state {
            RUNSTATE_RUNNING => "has run",
            RUNSTATE_RUNNABLE => "has waited",
            RUNSTATE_BLOCKED => "has slept",
            _ => "has been off",
        };
        write!(f, "{word} for {}", Milliseconds(self.now.since_ns(Time(info.state_entry_time))))
    }
}
