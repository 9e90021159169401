//! The loop: one seed after the other, until the time is up, a panic or a hang.

use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::corpus;

/// One input may run for this long before it counts as a hang: of processor time, as the machine may be busy.
const HANG: Duration = Duration::from_secs(20);
/// One input may wait for this long, whatever for.
const STANDSTILL: Duration = Duration::from_secs(600);

/// Something that is fuzzed.
pub struct Target {
    pub name: &'static str,
    /// Makes one input of the dice, panics when the code under it is wrong, and returns how many calls were made.
    pub run: fn(&mut fastrand::Rng) -> u64,
    /// What is counted.
    pub calls: &'static str,
    /// The inputs that are kept.
    pub corpus: &'static str,
}

/// How long, and from which input on.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seconds: u64,
    /// The number of the first input, which is its seed too.
    pub first: u64,
    /// How many inputs at most.
    pub count: Option<u64>,
    /// How many calls at most; the last input may make more.
    pub calls: Option<u64>,
}

impl Plan {
    /// Returns the plan for this number of seconds, from this input on.
    pub const fn new(seconds: u64, first: u64) -> Self {
        Self { seconds, first, count: None, calls: None }
    }

    fn is_done(&self, ran: u64, calls: u64) -> bool {
        self.count.is_some_and(|count| ran >= count) || self.calls.is_some_and(|most| calls >= most)
    }
}

/// The number of the input that runs now.
static NOW: AtomicU64 = AtomicU64::new(0);
/// Inputs run, one after the other.
static RUNNING: AtomicBool = AtomicBool::new(false);

/// Runs the plan. A panic or a hang ends the process, after saying how to run that input again.
pub fn run(target: &Target, plan: Plan) {
    let name = target.name;
    NOW.store(plan.first, Ordering::Relaxed);
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        usual(info);
        eprintln!("{}", again(name, NOW.load(Ordering::Relaxed)));
    }));
    RUNNING.store(true, Ordering::Relaxed);
    thread::spawn(move || watch(name));
    let began = Instant::now();
    let (mut ran, mut calls) = (0, 0_u64);
    let mut kept = 0;
    if plan.count.is_none() {
        for seed in corpus::numbers(target.corpus) {
            calls = calls.saturating_add(one(target, seed));
            kept += 1;
        }
    }
    while began.elapsed().as_secs() < plan.seconds && !plan.is_done(ran, calls) {
        calls = calls.saturating_add(one(target, plan.first.wrapping_add(ran)));
        ran += 1;
    }
    RUNNING.store(false, Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    let rate = calls as f64 / seconds.max(f64::EPSILON);
    let unit = target.calls;
    println!(
        "{name}: {kept} kept inputs and {ran} from {} on in {seconds:.1} s, {calls} {unit}, {rate:.0} a second, nothing found",
        plan.first
    );
}

/// Runs one input, and returns how many calls were made.
pub fn one(target: &Target, seed: u64) -> u64 {
    NOW.store(seed, Ordering::Relaxed);
    (target.run)(&mut fastrand::Rng::with_seed(seed))
}

fn again(name: &str, seed: u64) -> String {
    format!("{name}: input {seed} fails; run it again with: cargo xtask fuzz {name} --input {seed}")
}

/// Returns how long the first thread has run, which is the one that runs inputs.
fn ran() -> Duration {
    let said = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    Duration::from_nanos(said.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0))
}

/// Ends the process when one input takes too long.
fn watch(name: &'static str) {
    let mut seen = (NOW.load(Ordering::Relaxed), Instant::now(), ran());
    while RUNNING.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(500));
        let now = NOW.load(Ordering::Relaxed);
        if now != seen.0 {
            seen = (now, Instant::now(), ran());
        } else if ran().saturating_sub(seen.2) > HANG || seen.1.elapsed() > STANDSTILL {
            eprintln!("it hangs\n{}", again(name, now));
            std::process::exit(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_input() {
        let roll = |seed| fastrand::Rng::with_seed(seed).u64(..);
        assert_eq!(roll(7), roll(7));
        assert_ne!(roll(7), roll(8));
    }

    #[test]
    fn as_many_inputs_run_as_were_asked_for() {
        static RAN: AtomicU64 = AtomicU64::new(0);
        let target = Target {
            name: "counting",
            run: |_| {
                RAN.fetch_add(1, Ordering::Relaxed);
                1
            },
            calls: "inputs",
            corpus: "1\n2\n",
        };
        run(&target, Plan { count: Some(5), ..Plan::new(60, 3) });
        assert_eq!(RAN.load(Ordering::Relaxed), 5);
        // The two that are kept count too.
        run(&target, Plan { calls: Some(6), ..Plan::new(60, 3) });
        assert_eq!(RAN.load(Ordering::Relaxed), 5 + 6);
    }
}
