//! What the boot options and the build decided, and what a guest may ask of it.

use alloc::string::String;
use xenolith_devices::cpuid::Capabilities;
use xenolith_devices::msr::Mtrr;

/// The version of Xen's interface that is spoken.
pub const XEN_MAJOR: u16 = 4;
/// The version of Xen's interface that is spoken.
pub const XEN_MINOR: u16 = 17;

/// What a guest sees of the build, and how the hypervisor was told to behave.
#[derive(Default)]
pub struct Settings {
    /// The command line, as `xl info` shows it.
    pub command_line: String,
    /// What follows the version number, with its dot.
    pub extra_version: &'static str,
    pub compiler: &'static str,
    pub compiled_by: &'static str,
    pub compile_domain: &'static str,
    pub compile_date: &'static str,
    pub change_set: &'static str,
    /// Bytes of the build's identity; 20 as real Xen has them.
    pub build_id: [u8; 20],
    /// Wait instead of starting the machine anew when dom0 or the hypervisor ends.
    pub no_reboot: bool,
    /// The rate of the time stamp counters, in ticks a millisecond.
    pub tsc_khz: u32,
    /// The level of the CPUs' microcode, as MSR 0x8b gives it.
    pub microcode: u64,
    /// The machine's memory type ranges, which dom0 is shown.
    pub mtrr: Mtrr,
    /// What the machine does for guests besides showing its CPU's features.
    pub capabilities: Capabilities,
    /// Frames of RAM in the machine, the hypervisor's own among them.
    pub ram_pages: u64,
}
