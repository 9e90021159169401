//! The physical CPU as a vCPU needs it; tests put a scripted one in its place.

use super::features::Features;
use xenolith_hal::{CpuId, Mpa, PageWords, Registers};

/// A physical CPU.
pub trait Processor: Send + 'static {
    /// Returns the calling CPU.
    fn this_cpu() -> CpuId;

    /// Returns the features that all CPUs have.
    fn features() -> Features;

    /// Runs the guest of a control block until it exits: loads the general registers, all but RAX and RSP, and stores
    /// them after the exit. Host interrupts stay off before and after, but end the run.
    ///
    /// # Safety
    /// `guest` holds a valid control block whose nested tables let the guest reach only what is its domain's, and
    /// whose intercepts are those of `svm::exits`. `host` was filled by `svm::enable_cpu` on this CPU.
    unsafe fn enter(registers: &mut Registers, guest: Mpa, host: Mpa);

    /// Makes the local APIC signal its pending interrupts again, without taking one.
    fn recall_interrupts();

    /// Enables interrupts for a moment, so that pending host interrupts are taken.
    fn open_interrupt_window();

    /// Passes a machine check that ended a run to the host's handler.
    fn machine_check();

    /// Saves the FPU's state to a page.
    fn save_fpu(area: &PageWords);

    /// Loads the FPU's state from a page that [`Processor::save_fpu`] or [`Processor::reset_fpu`] wrote.
    fn load_fpu(area: &PageWords);

    /// Makes a page of zeros the state after a reset.
    fn reset_fpu(area: &PageWords);

    /// Reads DR0 to DR3.
    fn debug_addresses() -> [u64; 4];

    /// Reads the page attribute table (PAT).
    fn page_attributes() -> u64;

    /// Sets the page attribute table of an emulated CPU, which ignores it.
    fn set_page_attributes(value: u64);

    /// Sets DR0 to DR3.
    fn set_debug_addresses(addresses: &[u64; 4]);
}
