//! Boot: from the boot loader to a running machine.

mod cpus;
mod early;
mod entry;
mod machine;
mod trampoline;

use xenolith_bootinfo::acpi::AcpiTables;
use xenolith_bootinfo::{BootInfo, MemoryPlan, Options};

pub use cpus::run_on_every_cpu;
pub use early::start;

/// All that is known about the machine once it runs.
#[derive(Debug, Clone, Copy)]
pub struct Booted {
    /// What the boot loader said.
    pub info: &'static BootInfo,
    /// The command line.
    pub options: &'static Options,
    /// What the firmware said.
    pub acpi: &'static AcpiTables,
    /// Which RAM is free.
    pub plan: &'static MemoryPlan,
}
