//! What the boot options and the build decided.

use alloc::string::String;
use xenolith_devices::cpuid::Capabilities;
use xenolith_devices::msr::Mtrr;

/// The major version of Xen whose interface is implemented.
pub const XEN_MAJOR: u16 = 4;
/// The minor version of Xen whose interface is implemented.
pub const XEN_MINOR: u16 = 17;

/// The upper bounds of a domain's grant table. **Source:** Xen's `gnttab_max_frames`, `gnttab_max_maptrack_frames`
/// and `gnttab=max-ver`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrantBounds {
    pub frames: u32,
    pub maptrack_frames: u32,
    pub version: u32,
}

impl GrantBounds {
    /// The bounds when no boot option names others.
    pub const DEFAULT: Self = Self { frames: 64, maptrack_frames: 1024, version: 2 };
}

impl Default for GrantBounds {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a guest sees of the build, and the boot options that change the hypervisor's behaviour.
#[derive(Default)]
pub struct Settings {
    /// The command line, as `xl info` shows it.
    pub command_line: String,
    /// The rest of the version after the number, with its dot (`xen_extra`).
    pub extra_version: &'static str,
    pub compiler: &'static str,
    pub compiled_by: &'static str,
    pub compile_domain: &'static str,
    pub compile_date: &'static str,
    pub change_set: &'static str,
    /// The build identifier; 20 bytes as real Xen has them.
    pub build_id: [u8; 20],
    /// The bounds of every grant table, dom0's among them.
    pub grants: GrantBounds,
    /// Wait instead of starting the machine anew when dom0 or the hypervisor ends.
    pub no_reboot: bool,
    /// After how many seconds a CPU that does not come back to its loop ends the machine; 0 for never.
    pub watchdog_timeout_s: u32,
    /// The rate of the time stamp counters, in ticks per millisecond.
    pub tsc_khz: u32,
    /// The microcode patch level of the CPUs (MSR 0x8b).
    pub microcode: u64,
    /// The machine's memory type ranges, which dom0 is shown.
    pub mtrr: Mtrr,
    /// What the machine can do for guests besides showing its CPU's features.
    pub capabilities: Capabilities,
    /// Frames of RAM in the machine, the hypervisor's own among them.
    pub ram_pages: u64,
}
