//! The counters of a build with `-Cinstrument-coverage`: which pieces of code have run.
//!
//! They lie in a section of the program and are read through the file that is this process's memory, which asks for no
//! `unsafe`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSection};

/// The section of the counters, 8 bytes each. **Source:** LLVM's "Instrumentation Profile Format".
const SECTION: &str = "__llvm_prf_cnts";
const BYTES: usize = 8;

/// A set of counters: of pieces of code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces(Vec<u64>);

impl Pieces {
    fn add(&mut self, counter: usize) {
        if self.0.len() <= counter / 64 {
            self.0.resize(counter / 64 + 1, 0);
        }
        self.0[counter / 64] |= 1 << (counter % 64);
    }

    /// Returns how many of them are not in `others`.
    pub fn beyond(&self, others: &Self) -> u32 {
        let others = others.0.iter().copied().chain(std::iter::repeat(0));
        self.0.iter().zip(others).map(|(own, other)| (own & !other).count_ones()).sum()
    }

    /// Adds all of `others`.
    pub fn join(&mut self, others: &Self) {
        self.0.resize(self.0.len().max(others.0.len()), 0);
        self.0.iter_mut().zip(&others.0).for_each(|(own, other)| *own |= other);
    }
}

impl FromIterator<usize> for Pieces {
    fn from_iter<T: IntoIterator<Item = usize>>(counters: T) -> Self {
        let mut pieces = Self::default();
        counters.into_iter().for_each(|counter| pieces.add(counter));
        pieces
    }
}

/// The counters of this process.
pub struct Counters {
    memory: File,
    start: u64,
    before: Vec<u8>,
    now: Vec<u8>,
}

/// Returns where this program's file begins in memory.
fn base() -> io::Result<u64> {
    let program = std::env::current_exe()?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let own = maps.lines().filter(|line| line.ends_with(&*program.to_string_lossy()));
    let starts = own.filter_map(|line| u64::from_str_radix(line.split('-').next()?, 16).ok());
    starts.min().ok_or_else(|| io::Error::other("the program is not in its own memory"))
}

/// Returns address and size of the counters in this program's file, and whether the address counts from where the file
/// is loaded; none in a build that does not count.
fn section(file: &[u8]) -> Option<(u64, u64, bool)> {
    let elf = ElfFile64::<Endianness>::parse(file).ok()?;
    let section = elf.section_by_name(SECTION)?;
    let moves = elf.elf_header().e_type(Endianness::Little) == object::elf::ET_DYN;
    Some((section.address(), section.size(), moves))
}

impl Counters {
    /// Finds the counters; none in a build that does not count.
    ///
    /// **Errors:** the program's file or memory cannot be read.
    pub fn find() -> io::Result<Option<Self>> {
        let file = std::fs::read(std::env::current_exe()?)?;
        let Some((address, size, moves)) = section(&file) else { return Ok(None) };
        let start = address + if moves { base()? } else { 0 };
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let memory = File::open("/proc/self/mem")?;
        Ok(Some(Self { memory, start, before: vec![0; size], now: vec![0; size] }))
    }

    /// Returns what has run since the last look.
    ///
    /// **Errors:** the memory cannot be read.
    pub fn look(&mut self) -> io::Result<Pieces> {
        std::mem::swap(&mut self.before, &mut self.now);
        self.memory.read_exact_at(&mut self.now, self.start)?;
        let both = self.before.chunks_exact(BYTES).zip(self.now.chunks_exact(BYTES));
        Ok(both.enumerate().filter(|(_, (before, now))| before != now).map(|(counter, _)| counter).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_others_is_counted_whichever_set_is_longer() {
        let (few, many): (Pieces, Pieces) = ([3, 70].into_iter().collect(), [3, 4, 200].into_iter().collect());
        assert_eq!((few.beyond(&many), many.beyond(&few)), (1, 2));
        let mut both = few.clone();
        both.join(&many);
        assert_eq!((both.beyond(&few), both.beyond(&many), few.beyond(&both)), (2, 1, 0));
    }

    #[test]
    fn a_build_that_does_not_count_has_no_counters_and_one_that_does_sees_what_runs() {
        let Some(mut counters) = Counters::find().unwrap() else { return };
        assert!(counters.look().unwrap().beyond(&Pieces::default()) > 0);
        let quiet = counters.look().unwrap();
        assert!(quiet.beyond(&Pieces::default()) < 1_000, "little runs between two looks");
    }

    #[test]
    fn the_program_lies_in_its_own_memory() {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut magic = [0; 4];
        memory.read_exact_at(&mut magic, base().unwrap()).unwrap();
        assert_eq!(&magic, b"\x7fELF");
    }
}
