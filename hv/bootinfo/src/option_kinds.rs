//! Options that choose between a few values.

/// A device that shows the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleTarget {
    /// The first serial port.
    Com1,
    /// The second serial port.
    Com2,
    /// The text screen.
    Vga,
}

/// What stands before each line of the hypervisor's on the console.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// No date and no time: the line begins with `(XEN)`.
    #[default]
    None,
    /// The date and the time of day, UTC.
    Date,
    /// The same, to the millisecond.
    DateMilliseconds,
    /// Seconds and microseconds since the start.
    SinceBoot,
    /// Ticks of the time stamp counter.
    Raw,
}

/// What `dom0-iommu=` asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dom0Iommu {
    /// `none`: start without one, whatever that leaves unprotected.
    pub none: bool,
    /// `passthrough`: dom0's DMA is not translated.
    pub passthrough: bool,
}

/// How the machine is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebootMethod {
    /// By the ACPI reset register.
    Acpi,
    /// By the chipset's port 0xcf9.
    Pci,
    /// By the same port, with power off and on in between.
    Power,
    /// By the keyboard controller.
    Keyboard,
    /// By a triple fault.
    Triple,
}

/// A fault to provoke once the machine is up, to test how it is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashTest {
    /// A panic of the program itself.
    Panic,
    /// A read of memory that is not mapped.
    PageFault,
    /// A write to code.
    WriteText,
    /// Running data.
    RunData,
    /// Running past the end of the stack.
    StackOverflow,
    /// A panic on the last CPU instead of the first.
    OtherCpu,
    /// An exception on the last CPU while its GS base is not the hypervisor's.
    ForeignGs,
    /// The last CPU does not begin its loop, with interrupts off.
    StuckCpu,
}

pub(crate) fn parse_crash_test(value: &str) -> Option<CrashTest> {
    match value {
        "panic" => Some(CrashTest::Panic),
        "page-fault" => Some(CrashTest::PageFault),
        "write-text" => Some(CrashTest::WriteText),
        "run-data" => Some(CrashTest::RunData),
        "stack-overflow" => Some(CrashTest::StackOverflow),
        "other-cpu" => Some(CrashTest::OtherCpu),
        "foreign-gs" => Some(CrashTest::ForeignGs),
        "stuck-cpu" => Some(CrashTest::StuckCpu),
        _ => None,
    }
}
