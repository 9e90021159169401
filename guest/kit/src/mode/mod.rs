//! The mode in which the processor makes hypercalls: 64-bit mode, or one of the modes in which 32-bit kernels run. For one
//! call the processor switches to it and back.
//!
//! In each of them the first 4 GiB are mapped as in 64-bit mode, the window of single pages included; without paging there
//! is no window.
//!
//! Without the feature `modes` there is 64-bit mode alone: a kernel that measures does not look for others at each call.

#[cfg(feature = "modes")]
mod switch;

#[cfg(feature = "modes")]
pub use switch::{call, call_stub, current, set, write_msr};

/// A mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mode {
    /// 64-bit code.
    Long = 0,
    /// 32-bit code in long mode.
    #[cfg(feature = "modes")]
    Compatibility = 1,
    /// Protected mode without paging.
    #[cfg(feature = "modes")]
    Unpaged = 2,
    /// Protected mode with three levels of page tables.
    #[cfg(feature = "modes")]
    Pae = 3,
    /// Protected mode with two levels of page tables, and pages of 4 MiB.
    #[cfg(feature = "modes")]
    TwoLevels = 4,
}

/// Returns the mode in which hypercalls are made.
#[cfg(not(feature = "modes"))]
#[must_use]
pub const fn current() -> Mode {
    Mode::Long
}
