//! An ordinary domain that is asked what domain 0 is asked: a twin of this kernel, whose lines domain 0 prints.

use core::fmt::Write;

use xen_abi::DomId;
use xen_abi::domctl::DomctlCreatedomain;
use xen_abi::sched::{SCHEDOP_POLL, SchedPoll};
use xenolith_guest_kit::console::Line;
use xenolith_guest_kit::twin::Twin;
use xenolith_guest_kit::{cpu, pages, relay, wait_until};

use crate::calls::sched;
use crate::domain::now;
use crate::runner::{Report, Runner};
use crate::toolstack::{options, shutdown_reason};
use crate::waits::LONG;

/// The word on the command line by which the kernel knows what it is.
pub const ROLE: &str = "domu";
const VCPUS: u32 = 2;
/// The spare frame at which the twin's lines are seen.
const SLOT: u64 = 0x40;
/// How long the twin may say nothing, in ticks.
const SILENCE: u64 = 10 * LONG;
/// How long domain 0 sleeps between two looks, in nanoseconds.
const NAP: u64 = 500_000;

/// Runs the twin's cases, if any of them is wanted.
pub fn run(t: &mut Runner) {
    run_twin(t, ROLE, "domu/", options(), |_| Ok(()));
}

/// Runs the cases of a twin whose command line names its `role`, if any of them is wanted: their names begin with `names`.
/// `prepare` is called with the twin before it runs.
pub fn run_twin(
    t: &mut Runner,
    role: &str,
    names: &str,
    options: DomctlCreatedomain,
    prepare: impl FnOnce(DomId) -> Result<(), i64>,
) {
    let wanted = |prefix: &str| names.starts_with(prefix) || prefix.starts_with(names);
    let left_out = t.without().is_some_and(|without| without.split(',').any(|prefix| names.starts_with(prefix)));
    if left_out || !t.only().is_none_or(|only| only.split(',').any(wanted)) {
        return;
    }
    let mut words = Line::new();
    // Prefixes that are too long are cut, and choose more cases.
    let _ = write!(words, "role={role}");
    for (name, prefixes) in [("only", t.only()), ("without", t.without())] {
        if let Some(prefixes) = prefixes {
            let _ = write!(words, " {name}={prefixes}");
        }
    }
    match begin(words.text(), options, prepare) {
        Ok((twin, lines)) => {
            print(t, &twin, lines);
            t.case_of(format_args!("{names}ends"), |r| end(r, &twin));
        }
        Err(errno) => t.case_of(format_args!("{names}ends"), |r| {
            r.named_result("failed", errno);
        }),
    }
}

fn begin(
    words: &str,
    options: DomctlCreatedomain,
    prepare: impl FnOnce(DomId) -> Result<(), i64>,
) -> Result<(Twin, u64), i64> {
    let twin = Twin::with(options, pages::take(), words, VCPUS)?;
    prepare(twin.id)?;
    let lines = twin.see(relay::frame(), SLOT)?;
    twin.unpause();
    Ok((twin, lines))
}

/// Prints what it says until it has shut down, or says nothing for too long.
fn print(t: &mut Runner, twin: &Twin, lines: u64) {
    let mut last = cpu::ticks();
    while cpu::ticks().wrapping_sub(last) < SILENCE {
        match relay::take(lines) {
            Some(line) => {
                if line.text().starts_with("CASE ") {
                    t.count_one();
                }
                line.print();
                last = cpu::ticks();
            }
            None if shutdown_reason(twin.id).is_some() => return,
            None => nap(),
        }
    }
}

fn nap() {
    sched(SCHEDOP_POLL, &mut SchedPoll { timeout: now() + NAP, ..SchedPoll::default() });
}

fn end(r: &mut Report, twin: &Twin) {
    r.named("reason", shutdown_reason(twin.id).map_or(-1, i64::from));
    r.result(twin.unsee(SLOT)).result(twin.destroy()).holds("gone", wait_until(LONG, || twin.is_gone()));
}
