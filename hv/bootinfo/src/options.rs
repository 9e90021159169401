//! The hypervisor's command line as typed options.
//!
//! **Source:** names and meanings are those of `docs/misc/xen-command-line.pandoc`.

use arrayvec::ArrayVec;

use crate::complaint::Complaint;
use crate::option_kinds::{ConsoleTarget, CrashTest, Dom0Iommu, RebootMethod, Timestamps};
use crate::option_values::{ComPort, Dom0Memory, GrantLimits, Thresholds, VcpuCount};
use crate::option_word::{Refusal, Word};

/// The options of the command line; [`Default`] has what each is when it is not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `com1=`.
    pub com1: ComPort,
    /// `com2=`.
    pub com2: ComPort,
    /// `console=`, in order.
    pub consoles: ArrayVec<ConsoleTarget, 3>,
    /// `loglvl=`.
    pub log: Thresholds,
    /// `guest_loglvl=`.
    pub guest_log: Thresholds,
    /// `sync_console`: every line has left the port before the next instruction.
    pub sync_console: bool,
    /// `console_timestamps=`: what stands before each line of the hypervisor's.
    pub timestamps: Timestamps,
    /// `console_to_ring`: what guests print goes into the console ring as well.
    pub guests_to_ring: bool,
    /// `conring_size=`: the console ring in bytes, a power of two.
    pub console_ring_bytes: usize,
    /// `conswitch=`: the control character (1 to 26) that switches input, 0 for none.
    pub switch_character: u8,
    /// `conswitch=` ending in `x`: input starts at the hypervisor and not at dom0.
    pub input_starts_at_hypervisor: bool,
    /// `dom0_mem=`.
    pub dom0_memory: Dom0Memory,
    /// `dom0_max_vcpus=`.
    pub dom0_vcpus: Option<VcpuCount>,
    /// `dom0_vcpus_pin`: each vCPU of dom0's runs on the CPU of its own number alone.
    pub dom0_vcpus_pinned: bool,
    /// `dom0=verbose`.
    pub dom0_verbose: bool,
    /// `iommu=`: an IOMMU is used where there is one.
    pub iommu: bool,
    /// `iommu=required`: the machine does not start without one.
    pub iommu_required: bool,
    /// `dom0-iommu=`.
    pub dom0_iommu: Dom0Iommu,
    /// `noreboot`: stop after a panic.
    pub no_reboot: bool,
    /// `reboot=`: the way to try first.
    pub reboot: Option<RebootMethod>,
    /// `watchdog` and `watchdog_timeout=`.
    pub watchdog: Watchdog,
    /// `mem=`: RAM from this machine address on is left alone.
    pub memory_end: Option<u64>,
    /// `availmem=`: how many bytes of RAM are used, from the lowest on.
    pub memory_bytes: Option<u64>,
    /// `gnttab=`, `gnttab_max_frames=` and `gnttab_max_maptrack_frames=`.
    pub grants: GrantLimits,
    /// `maxcpus=`, or 1 by `nosmp`.
    pub max_cpus: Option<u32>,
    /// `guests-on-cpu0=`; none leaves them off it where the CPU is known to lose them there.
    pub guests_on_cpu0: Option<bool>,
    /// `x2apic=`; none takes it where it is of use.
    pub x2apic: Option<bool>,
    /// `smep=`.
    pub smep: bool,
    /// `smap=`.
    pub smap: bool,
    /// `crash-test=`.
    pub crash_test: Option<CrashTest>,
    /// `debug-exit=`: the port of QEMU's `isa-debug-exit`, by which the emulator ends with a code.
    pub debug_exit: Option<u16>,
}

/// The watchdog over CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchdog {
    pub is_on: bool,
    /// After how many seconds a CPU counts as stuck.
    pub timeout_s: u32,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { is_on: false, timeout_s: 5 }
    }
}

impl Default for Options {
    fn default() -> Self {
        let mut consoles = ArrayVec::new();
        consoles.push(ConsoleTarget::Com1);
        Self {
            com1: ComPort { baud: None, line_control: 3, io_base: 0x3f8 },
            com2: ComPort { baud: None, line_control: 3, io_base: 0x2f8 },
            consoles,
            log: Thresholds::HYPERVISOR,
            guest_log: Thresholds::GUEST,
            sync_console: false,
            timestamps: Timestamps::None,
            guests_to_ring: false,
            console_ring_bytes: 16384,
            switch_character: 1,
            input_starts_at_hypervisor: false,
            dom0_memory: Dom0Memory::default(),
            dom0_vcpus: None,
            dom0_vcpus_pinned: false,
            dom0_verbose: false,
            iommu: true,
            iommu_required: false,
            dom0_iommu: Dom0Iommu::default(),
            no_reboot: false,
            reboot: None,
            watchdog: Watchdog::default(),
            memory_end: None,
            memory_bytes: None,
            grants: GrantLimits::default(),
            max_cpus: None,
            guests_on_cpu0: None,
            x2apic: None,
            smep: true,
            smap: true,
            crash_test: None,
            debug_exit: None,
        }
    }
}

impl Options {
    /// Reads a command line up to its end or a lone `--`, behind which dom0's kernel's own options begin. Calls
    /// `complain` for each word that is not understood; the other words count all the same.
    #[must_use]
    pub fn parse(line: &str, complain: &mut dyn FnMut(Complaint<'_>)) -> Self {
        let mut options = Self::default();
        for text in line.split_ascii_whitespace().take_while(|text| *text != "--") {
            let word = Word::new(text);
            let name = word.name;
            let refusal = options.take(word, &mut |part, refusal| {
                complain(match refusal {
                    Refusal::NotBuilt => Complaint::PartNotBuilt { name, part },
                    Refusal::BadValue(allowed) => Complaint::BadPart { name, part, allowed },
                    Refusal::Unknown => Complaint::BadPart { name, part, allowed: "nothing of this kind" },
                });
            });
            match refusal {
                Ok(()) => {}
                // The name as it was written: a name that nobody knows may begin with "no-" as well.
                Err(Refusal::Unknown) => {
                    complain(Complaint::Unknown { name: text.split_once('=').map_or(text, |(name, _)| name) });
                }
                Err(Refusal::NotBuilt) => complain(Complaint::NotBuilt { name }),
                Err(Refusal::BadValue(allowed)) => {
                    complain(Complaint::BadValue { name, value: word.value.unwrap_or_default(), allowed });
                }
            }
        }
        options
    }

    /// Takes one option. Parts of a list that are refused are given to `refuse`, one by one.
    fn take<'a>(&mut self, word: Word<'a>, refuse: &mut dyn FnMut(&'a str, Refusal)) -> Result<(), Refusal> {
        match word.name {
            "com1" | "com2" | "console" | "console_timestamps" | "console_to_ring" | "loglvl" | "guest_loglvl"
            | "sync_console" | "conring_size" | "conswitch" => self.take_console(word, refuse),
            "dom0" | "dom0_mem" | "dom0_max_vcpus" | "dom0_vcpus_pin" | "dom0-iommu" => self.take_dom0(word, refuse),
            "gnttab" | "gnttab_max_frames" | "gnttab_max_maptrack_frames" => self.grants.take(word, refuse),
            "iommu" => self.take_iommu(word, refuse),
            "reboot" => self.take_reboot(word, refuse),
            "crash-test" | "debug-exit" | "guests-on-cpu0" => self.take_own(word),
            _ => self.take_machine(word),
        }
    }
}
