//! The destruction of a domain: from `XEN_DOMCTL_destroydomain` to the last of its pages.
//!
//! It goes through [`Stage`]s, each of which can be preempted and continued. Afterwards the domain is dead: nothing of
//! it is left but pages that other domains still map. When the last of them is released, [`reap`] removes it from the
//! table. The control domain is notified of both.
//!
//! A dying domain gets nothing new: its memory may not grow ([`Account::set_max`]), its event channels allocate no
//! port, its p2m has no root, its grant table is closed.

use crate::budget::Budget;
use crate::components::event_channel;
use crate::components::grant::{World, release_mappings};
use crate::components::placing::place::release_memory;
use crate::components::stage::Stage;
use crate::domains::domain::{Domain, Life};
use crate::domains::hypervisor::Hypervisor;
use crate::lifecycle::event_domain::HostedDomain;
use crate::lifecycle::ioreq_servers;
use crate::lifecycle::making;
use crate::lifecycle::power::notify_control_domain;
use crate::lifecycle::stopped::wait_until_stopped;
use crate::lifecycle::waking::pause_all;
use crate::memory::frames::Account;
use xenolith_hal::{Gfn, GrantHandle, Machine, Mfn, Time};

/// Steps between two checks of the clock: mappings of grants, pages of memory, frames of the machine.
const HANDLES: u32 = 64;
const PAGES: u32 = 8;
const FRAMES: u64 = 4096;
/// The longest time between two checks for dead domains to remove, in nanoseconds.
const REAP_EVERY_NS: u64 = 10_000_000;

/// Progress of a destruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The domain is dead.
    Done,
    /// There is more to do.
    Again,
}

/// Destroys a domain for about a millisecond. To be called until it is done, by one CPU at a time, and never by the
/// domain itself.
pub fn destroy<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) -> Progress {
    let budget = Budget::start(&hv.machine);
    loop {
        let stage = *domain.destruction.lock();
        let next = match step(hv, domain, stage, budget) {
            Some(Stage::Over) => {
                *domain.destruction.lock() = Stage::Over;
                return Progress::Done;
            }
            // It does not go on now.
            None => return Progress::Again,
            Some(next) => next,
        };
        *domain.destruction.lock() = next;
        if budget.is_over(&hv.machine) {
            return Progress::Again;
        }
    }
}

/// Does part of a stage, and returns the next stage; None if this one must be continued.
fn step<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, stage: Stage, budget: Budget) -> Option<Stage> {
    match stage {
        Stage::Stop => {
            stop(hv, domain);
            ioreq_servers::end_all(hv, domain, true);
            wait_until_stopped(hv, &domain.vcpus).then_some(Stage::Events)
        }
        Stage::Events => {
            match event_channel::teardown(&HostedDomain::new(hv, domain), || budget.is_over(&hv.machine)) {
                event_channel::Progress::Done => Some(Stage::Mappings(GrantHandle(0))),
                event_channel::Progress::Again => None,
            }
        }
        Stage::Mappings(from) => {
            let next = release_mappings(hv, domain, from, HANDLES);
            Some(next.map_or(Stage::Memory(Gfn(0)), Stage::Mappings))
        }
        Stage::Memory(from) => Some(release_memory(hv, domain, from, PAGES).map_or(Stage::Bookkeeping, Stage::Memory)),
        Stage::Bookkeeping => Some(if give_up_bookkeeping(hv, domain) {
            Stage::Strays(Mfn(0))
        } else {
            // Somebody gave it a page meanwhile, or has one of its vCPUs.
            Stage::Memory(Gfn(0))
        }),
        Stage::Strays(from) => Some(match hv.frames.release_strays(domain.id, from, FRAMES) {
            Some(next) => Stage::Strays(next),
            None => {
                end(hv, domain);
                Stage::Over
            }
        }),
        Stage::Over => Some(Stage::Over),
    }
}

/// Closes the domain to anything new, and makes its vCPUs leave their CPUs.
fn stop<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    if !domain.pass_on(Life::Dying) {
        return;
    }
    if let Some(account) = hv.frames.account(domain.id) {
        account.set_max(0);
    }
    let _ = hv.frames.claim(domain.id, 0);
    let _ = hv.frames.set_cache(domain.id, 0);
    hv.global_virqs.forget(domain.id);
    pause_all(hv, domain);
}

/// Frees page tables, vCPUs, and what was shared with the hypervisor. Returns false, to be called again after another look
/// at its memory, if anything is still mapped in the p2m or a vCPU's core is in use.
fn give_up_bookkeeping<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) -> bool {
    for vcpu in &domain.vcpus {
        vcpu.forget_info();
    }
    while let Some(reference) = domain.let_go() {
        hv.frames.put_later(reference);
    }
    let mut found = None;
    hv.memory(domain).edit(|editor| {
        found = editor.take_next(Gfn(0));
        if found.is_none() {
            editor.tear_down();
        }
    });
    if let Some((_, there)) = found {
        crate::components::placing::place::give_up(hv, domain, there);
        return false;
    }
    if !domain.physmap.with_pool(|pool| making::tear_down(hv, &domain.vcpus, domain.id, pool)) {
        return false;
    }
    domain.grants.give_up(&hv.frames);
    if let Some(shared) = domain.give_up_shared_page() {
        hv.frames.release_shared(shared);
    }
    true
}

fn end<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    if domain.pass_on(Life::Dead) {
        hv.domains.note_dead(domain);
        hv.scheduler.release(domain.vcpus.len());
        notify_control_domain(hv);
        // So that it is taken out of the list even if nothing else interrupts the caller.
        hv.scheduler.request_turn(&hv.machine);
    }
}

/// Removes dead domains of which no page is left from the table. Returns the time of the next check, if there are any
/// others. Costs nothing while no domain is dead.
#[inline]
pub fn reap<M: Machine>(hv: &Hypervisor<M>) -> Option<Time> {
    if hv.domains.has_dead() { reap_dead(hv) } else { None }
}

/// Returns the slow path, kept apart so that finding no dead domain is short code.
#[cold]
#[inline(never)]
fn reap_dead<M: Machine>(hv: &Hypervisor<M>) -> Option<Time> {
    // The CPU in control checks when it is done, or soon after.
    if let Some(_in_control) = hv.domains.take_control() {
        let gone = |domain: &Domain<M>| hv.frames.account(domain.id).is_none_or(Account::is_empty);
        while hv.domains.remove_dead(gone).is_some() {
            notify_control_domain(hv);
        }
    }
    hv.domains.has_dead().then(|| hv.machine.now().after_ns(REAP_EVERY_NS))
}
