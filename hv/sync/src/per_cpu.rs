//! One value for each CPU.

use core::marker::PhantomData;

use crate::padded::Padded;

/// The most CPUs that are used.
pub const MAX_CPUS: usize = 256;

/// A physical CPU, counted from 0 in the order in which they came up. Always below [`MAX_CPUS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuIndex(u16);

impl CpuIndex {
    /// The CPU that booted.
    pub const BOOT: Self = Self(0);

    /// Returns the CPU of that number, if there can be one.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number < MAX_CPUS as u32 { Some(Self(number as u16)) } else { None }
    }

    /// Returns the number, for indexing.
    #[must_use]
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }

    /// Returns the number, for the public interface.
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        self.0 as u32
    }

    /// Returns every CPU that there can be.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..MAX_CPUS as u32).filter_map(Self::new)
    }
}

/// Proof that the code runs on a certain CPU, and stays there for as long as the proof lives.
pub struct CurrentCpu {
    index: CpuIndex,
    here: PhantomData<*const ()>,
}

impl CurrentCpu {
    /// # Safety
    /// The caller runs on CPU `index`, does not move to another one while the value lives, and is not an NMI or
    /// machine-check handler (one could interrupt a [`PerCpuLocal::with`] half way).
    #[must_use]
    pub const unsafe fn new(index: CpuIndex) -> Self {
        Self { index, here: PhantomData }
    }

    /// Returns the CPU.
    #[must_use]
    pub const fn index(&self) -> CpuIndex {
        self.index
    }
}

/// A value for each CPU that every CPU may access: atomics and locks.
#[derive(Debug)]
pub struct PerCpu<T> {
    cells: [Padded<T>; MAX_CPUS],
}

impl<T> PerCpu<T> {
    /// Builds it from one value for each CPU, in order. `const`, so that it can be a static.
    #[must_use]
    pub const fn new(cells: [Padded<T>; MAX_CPUS]) -> Self {
        Self { cells }
    }

    /// Builds it from a function of the CPU.
    #[must_use]
    pub fn from_fn(mut value_of: impl FnMut(CpuIndex) -> T) -> Self {
        Self { cells: core::array::from_fn(|number| Padded(value_of(CpuIndex(number as u16)))) }
    }

    /// Calls `look` with the value of `cpu`.
    #[inline]
    pub fn with<O>(&self, cpu: CpuIndex, look: impl FnOnce(&T) -> O) -> O {
        look(&cell_of(&self.cells, cpu).0)
    }
}

/// A value for each CPU that only that CPU accesses: `Cell` and `RefCell` will do.
pub struct PerCpuLocal<T> {
    cells: [Padded<T>; MAX_CPUS],
}

// SAFETY: `with` wants the proof of being on the CPU whose value is looked at, so no value is ever seen by two CPUs
// at once; it is only moved to its CPU (`Send`).
unsafe impl<T: Send> Sync for PerCpuLocal<T> {}

impl<T> PerCpuLocal<T> {
    /// Builds it from one value for each CPU, in order. `const`, so that it can be a static.
    #[must_use]
    pub const fn new(cells: [Padded<T>; MAX_CPUS]) -> Self {
        Self { cells }
    }

    /// Calls `look` with the value of the CPU that this runs on. Calls may nest: each gets a shared reference only.
    #[inline]
    pub fn with<O>(&self, cpu: &CurrentCpu, look: impl FnOnce(&T) -> O) -> O {
        look(&cell_of(&self.cells, cpu.index).0)
    }
}

#[inline]
fn cell_of<T>(cells: &[Padded<T>; MAX_CPUS], cpu: CpuIndex) -> &Padded<T> {
    // SAFETY: a `CpuIndex` is below `MAX_CPUS`, the length of the array: no other constructor exists.
    unsafe { cells.get_unchecked(cpu.as_usize()) }
}
