//! Statistics of guest exits on each CPU, by exit code: what a slow guest spends its time on shows here first.
//!
//! Each CPU counts in a page of its own, so that counting is one load and one store.

use super::exits::{IOIO, NESTED_FAULT};
use super::per_cpu::CpuData;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};
use xen_abi::hypercall;
use xenolith_hal::{CpuId, PageWords};

/// Exit codes below this have a counter of their own.
const CODES: u64 = 0xa5;
const NESTED_FAULTS: usize = 0xa5;
const OTHERS: usize = 0xa6;
/// VMMCALL.
const HYPERCALL: u64 = 0x81;
/// Where the counters of hypercalls begin, and how many there are.
const HYPERCALLS: usize = 0x100;
const HYPERCALL_NUMBERS: u64 = 64;

/// Names of the exits that Linux makes, as the manual has them. **Source:** AMD manual volume 2, appendix C.
const NAMES: [(usize, &str); 27] = [
    (0x10, "CR0 written"),
    (0x14, "CR4 written"),
    (0x20, "debug register read"),
    (0x30, "debug register written"),
    (0x37, "debug register written"),
    (0x41, "#DB"),
    (0x51, "#AC"),
    (0x52, "#MC"),
    (0x60, "INTR"),
    (0x61, "NMI"),
    (0x62, "SMI"),
    (0x63, "INIT"),
    (0x6f, "RDPMC"),
    (0x72, "CPUID"),
    (0x74, "IRET"),
    (0x76, "INVD"),
    (0x78, "HLT"),
    (0x7a, "INVLPGA"),
    (0x7b, "IOIO"),
    (0x7c, "MSR"),
    (0x7f, "SHUTDOWN"),
    (0x80, "VMRUN"),
    (0x81, "VMMCALL"),
    (0x89, "WBINVD"),
    (0x8d, "XSETBV"),
    (NESTED_FAULTS, "NPF"),
    (OTHERS, "others"),
];

/// The counters of one CPU.
#[derive(Clone, Copy)]
pub struct ExitCounts(&'static PageWords);

impl ExitCounts {
    /// Creates counters in a page of zeros that is not used otherwise.
    pub const fn new(page: &'static PageWords) -> Self {
        Self(page)
    }

    /// Counts an exit. `rax` is the guest's, which names a hypercall. Only the CPU itself calls this.
    #[inline]
    pub(super) fn count(self, code: u64, rax: u64) {
        let index = match code {
            ..CODES => code as usize,
            NESTED_FAULT => NESTED_FAULTS,
            _ => OTHERS,
        };
        self.add_one(index);
        if code == HYPERCALL && rax < HYPERCALL_NUMBERS {
            self.add_one(HYPERCALLS + rax as usize);
        }
    }

    /// Counts a port access.
    #[inline]
    pub(super) fn count_port(self) {
        self.add_one(IOIO as usize);
    }

    #[inline]
    fn add_one(self, index: usize) {
        if let Some(word) = self.0.words().get(index) {
            // Nobody else adds, so this needs no lock of the bus; a reset at this moment may be lost.
            word.store(word.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    fn get(self, index: usize) -> u64 {
        self.0.words().get(index).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn reset(self) {
        self.0.words().iter().for_each(|word: &AtomicU64| word.store(0, Ordering::Relaxed));
    }
}

/// Resets the counters of all CPUs below `cpus`.
pub fn reset(cpus: usize) {
    all(cpus).for_each(ExitCounts::reset);
}

/// The counters of the CPUs below a number, as lines for the console.
pub struct Shown {
    pub cpus: usize,
}

fn all(cpus: usize) -> impl Iterator<Item = ExitCounts> {
    (0..cpus).filter_map(|cpu| CpuData::of(CpuId(u32::try_from(cpu).ok()?))?.counts())
}

impl Shown {
    /// Writes a line for a counter that is not 0: the sum, and the share of each CPU if there are several.
    fn line(&self, f: &mut fmt::Formatter<'_>, kind: &str, name: &str, index: usize) -> fmt::Result {
        let total: u64 = all(self.cpus).map(|counts| counts.get(index)).sum();
        if total == 0 {
            return Ok(());
        }
        write!(f, "\n  {kind} {name:<24} {total:>10}")?;
        if self.cpus > 1 {
            f.write_str("  =")?;
            for (cpu, counts) in all(self.cpus).enumerate() {
                write!(f, "{} {}", if cpu == 0 { "" } else { " +" }, counts.get(index))?;
            }
        }
        Ok(())
    }

    fn codes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for index in 0..=OTHERS {
            match NAMES.iter().find(|(known, _)| *known == index) {
                Some((_, name)) => self.line(f, "exits", name, index)?,
                None => {
                    let mut name = arrayvec::ArrayString::<8>::new();
                    write!(name, "{index:#x}")?;
                    self.line(f, "exits", &name, index)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exits = |counts: ExitCounts| (0..=OTHERS).map(|index| counts.get(index)).sum::<u64>();
        write!(f, "exits from guests: {}", all(self.cpus).map(exits).sum::<u64>())?;
        self.codes(f)?;
        for number in 0..HYPERCALL_NUMBERS {
            let known = hypercall::CONSTANTS.constants.iter().find(|known| known.value == i128::from(number));
            let name = known.map_or("?", |known| known.name.trim_start_matches("__HYPERVISOR_"));
            self.line(f, "calls", name, HYPERCALLS + number as usize)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use alloc::string::ToString;

    fn counts() -> ExitCounts {
        ExitCounts::new(Box::leak(Box::new(PageWords::new())))
    }

    #[test]
    fn each_exit_is_counted_by_its_code_and_a_hypercall_by_its_number_too() {
        let counts = counts();
        for (code, rax) in [(0x72, 0), (0x81, 12), (0x81, 12), (0x81, u64::MAX), (0x400, 0), (0x403, 0), (u64::MAX, 0)]
        {
            counts.count(code, rax);
        }
        assert_eq!(counts.get(0x72), 1);
        assert_eq!(counts.get(0x81), 3);
        assert_eq!(counts.get(HYPERCALLS + 12), 2);
        assert_eq!(counts.get(NESTED_FAULTS), 1);
        assert_eq!(counts.get(OTHERS), 2);
        counts.reset();
        assert_eq!(counts.get(0x81), 0);
    }

    #[test]
    fn no_two_counters_share_a_place() {
        assert!(OTHERS < HYPERCALLS && HYPERCALLS + HYPERCALL_NUMBERS as usize <= PageWords::new().words().len());
        assert!(NAMES.is_sorted_by_key(|(index, _)| *index));
    }

    #[test]
    fn only_what_happened_is_shown_with_its_name_and_the_share_of_each_cpu() {
        let cpus = [250, 251].map(|cpu| CpuData::of(CpuId(cpu)).unwrap());
        let pages = [counts(), counts()];
        cpus.iter().zip(pages).for_each(|(data, counts)| data.count_in(counts));
        pages[0].count(0x81, u64::from(hypercall::MEMORY_OP));
        pages[1].count(0x81, u64::from(hypercall::MEMORY_OP));
        pages[1].count(0x8b, 0);
        let shown = Shown { cpus: 252 }.to_string();
        assert_eq!(
            shown.lines().collect::<alloc::vec::Vec<_>>(),
            [
                "exits from guests: 3",
                "  exits VMMCALL                           2  = 1 + 1",
                "  exits 0x8b                              1  = 0 + 1",
                "  calls MEMORY_OP                         2  = 1 + 1",
            ]
        );
    }
}
