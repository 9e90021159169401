//! The rows: which are run, how one is timed, and how it is printed.

use core::arch::asm;
use core::fmt::Arguments;

use xenolith_guest_kit::catch;
use xenolith_guest_kit::console::line;

/// How often an operation is repeated; the least of its times is its row.
pub const ROUNDS: u32 = 64;
/// The same for operations that take long.
pub const FEW_ROUNDS: u32 = 12;

/// Returns the time-stamp counter. Nothing that has an effect moves across it.
#[inline(always)]
pub fn counter() -> u64 {
    let value: u64;
    // SAFETY: reads the counter into registers that are named.
    unsafe {
        asm!("rdtsc", "shl rdx, 32", "or rax, rdx", out("rax") value, out("rdx") _, options(nostack));
    }
    value
}

/// Times operations, less what the timing itself takes.
#[derive(Clone, Copy)]
pub struct Meter {
    /// What a pair of readings with nothing between them gives.
    empty: u64,
    /// The rounds never end, for one who watches them from outside.
    endless: bool,
}

impl Meter {
    fn new() -> Self {
        let unadjusted = Self { empty: 0, endless: false };
        Self { empty: unadjusted.least(ROUNDS, || ()), endless: false }
    }

    /// Returns how often to go round instead of `usual` times.
    pub fn rounds(&self, usual: u32) -> u32 {
        if self.endless { u32::MAX } else { usual }
    }

    /// Returns the ticks since `begin`, which [`counter`] gave.
    #[inline(always)]
    pub fn since(&self, begin: u64) -> u64 {
        counter().wrapping_sub(begin).saturating_sub(self.empty)
    }

    /// Returns the ticks from `begin`, which [`counter`] gave, to `end`, at which another reading was taken.
    pub fn between(&self, begin: u64, end: u64) -> i64 {
        end.wrapping_sub(begin).wrapping_sub(self.empty).cast_signed()
    }

    /// Returns the least ticks of `rounds` single runs of `operation`.
    #[inline(always)]
    pub fn least(&self, rounds: u32, mut operation: impl FnMut()) -> u64 {
        let mut least = u64::MAX;
        for _ in 0..self.rounds(rounds) {
            let begin = counter();
            operation();
            least = least.min(self.since(begin));
        }
        least
    }
}

/// What a row comes to: ticks, or why it could not be taken.
pub type Row = Result<i64, i64>;

/// Picks, counts and prints the rows.
pub struct Bench<'a> {
    only: Option<&'a str>,
    /// The row that is to go round for ever.
    profiled: Option<&'a str>,
    count: u32,
    /// The rows may differ a little from run to run.
    about: bool,
    pub meter: Meter,
}

impl<'a> Bench<'a> {
    /// Creates a bench for the rows whose names hold one of the texts of `only`, or for all. `profiled` goes round for
    /// ever.
    pub fn new(only: Option<&'a str>, profiled: Option<&'a str>) -> Self {
        Self { only, profiled, count: 0, about: false, meter: Meter::new() }
    }

    /// Marks the rows from now on as ones that may differ a little from run to run.
    pub fn rows_may_differ(&mut self) {
        self.about = true;
    }

    /// Returns whether any of these rows is wanted.
    pub fn wants(&self, names: &[&str]) -> bool {
        let wanted = |name: &&str| {
            self.only.is_none_or(|only| only.split(',').any(|text| name.contains(text) || text.contains(*name)))
        };
        names.iter().any(wanted)
    }

    /// Prints one row, if it is wanted. The error is a hypercall's result.
    pub fn row(&mut self, name: &str, take: impl FnOnce(Meter) -> Row) {
        if !self.wants(&[name]) {
            return;
        }
        self.count += 1;
        if self.profiled == Some(name) {
            self.meter.endless = true;
            line(format_args!("BENCH PROFILE"));
        }
        match catch(|| take(self.meter)) {
            Ok(Ok(ticks)) if self.about => line(format_args!("ROW {name} ~= {ticks}")),
            Ok(Ok(ticks)) => say(name, format_args!("{ticks}")),
            Ok(Err(result)) => say(name, format_args!("- result {result}")),
            Err(fault) => say(name, format_args!("- fault {} at {:#x}", fault.name(), fault.address)),
        }
    }

    /// Prints the row of something that is met by chance: it may differ a little by how the code around it falls.
    pub fn sampled(&mut self, name: &str, take: impl FnOnce(Meter) -> Row) {
        let before = core::mem::replace(&mut self.about, true);
        self.row(name, take);
        self.about = before;
    }

    /// Prints the row of an operation that is simply repeated.
    pub fn repeated(&mut self, name: &str, rounds: u32, operation: impl FnMut()) {
        self.row(name, |meter| Ok(meter.least(rounds, operation).cast_signed()));
    }

    /// Prints the row of a hypercall that gives 0 or more when it went well.
    pub fn call(&mut self, name: &str, rounds: u32, mut call: impl FnMut() -> i64) {
        self.row(name, |meter| {
            let first = call();
            if first < 0 {
                return Err(first);
            }
            Ok(meter
                .least(rounds, || {
                    call();
                })
                .cast_signed())
        });
    }

    /// Returns how many rows were printed.
    pub fn count(&self) -> u32 {
        self.count
    }
}

fn say(name: &str, what: Arguments<'_>) {
    line(format_args!("ROW {name} = {what}"));
}
