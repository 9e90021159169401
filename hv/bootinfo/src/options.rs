//! The hypervisor's command line as typed options.
//!
//! **Source:** names and meanings are those of `docs/misc/xen-command-line.pandoc`.

use core::fmt;

use arrayvec::ArrayVec;

use crate::option_kinds::{
    ConsoleTarget, CrashTest, Dom0Iommu, Dom0Mode, RebootMethod, parse_crash_test, parse_reboot,
};
use crate::option_values::{ComPort, Dom0Memory, Thresholds, VcpuCount, parse_boolean, parse_number, parse_size};

/// The options, each at what it is when nothing is said.
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
    /// `dom0=pvh` or `dom0=pv`.
    pub dom0_mode: Dom0Mode,
    /// `dom0=verbose`.
    pub dom0_verbose: bool,
    /// `iommu=`: an IOMMU is used where there is one.
    pub iommu: bool,
    /// `dom0-iommu=`.
    pub dom0_iommu: Dom0Iommu,
    /// `noreboot`: stop after a panic.
    pub no_reboot: bool,
    /// `reboot=`: the way to try first.
    pub reboot: Option<RebootMethod>,
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
            console_ring_bytes: 16384,
            switch_character: 1,
            input_starts_at_hypervisor: false,
            dom0_memory: Dom0Memory::default(),
            dom0_vcpus: None,
            dom0_mode: Dom0Mode::Pvh,
            dom0_verbose: false,
            iommu: true,
            dom0_iommu: Dom0Iommu::default(),
            no_reboot: false,
            reboot: None,
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

/// What is wrong with a word of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint<'a> {
    /// No option has this name.
    Unknown {
        /// The name.
        name: &'a str,
    },
    /// The option is known, its value is not. The option keeps what it had.
    BadValue {
        /// The option's name.
        name: &'a str,
        /// What stood behind it.
        value: &'a str,
        /// What may stand there.
        allowed: &'static str,
    },
}

impl fmt::Display for Complaint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(f, "parameter \"{name}\" unknown!"),
            Self::BadValue { name, value, allowed } => {
                write!(f, "parameter \"{name}\" has invalid value \"{value}\": allowed is {allowed}")
            }
        }
    }
}

/// Why one option was not taken.
enum Refusal {
    Unknown,
    BadValue(&'static str),
}

/// One word of the command line, taken apart.
#[derive(Clone, Copy)]
struct Word<'a> {
    name: &'a str,
    value: Option<&'a str>,
    /// It was written `no-name`.
    negated: bool,
}

impl<'a> Word<'a> {
    fn new(text: &'a str) -> Self {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        match name.strip_prefix("no-") {
            Some(name) if value.is_none() => Self { name, value, negated: true },
            _ => Self { name, value, negated: false },
        }
    }

    /// The value as a boolean: none at all means yes.
    fn boolean(self) -> Result<bool, Refusal> {
        match self.value {
            _ if self.negated => Ok(false),
            None => Ok(true),
            Some(value) => parse_boolean(value).ok_or(Refusal::BadValue("a boolean (yes, no, on, off, 1, 0)")),
        }
    }

    /// The value as `read` reads it, or a refusal that says what is `allowed`.
    fn value<T>(self, allowed: &'static str, read: impl FnOnce(&'a str) -> Option<T>) -> Result<T, Refusal> {
        match self.value {
            Some(value) if !self.negated => read(value).ok_or(Refusal::BadValue(allowed)),
            _ => Err(Refusal::BadValue(allowed)),
        }
    }
}

impl Options {
    /// Reads a command line up to its end or a lone `--`, which starts what belongs to dom0's kernel. Each word that
    /// is not understood is given to `complain`; the others count all the same.
    #[must_use]
    pub fn parse(line: &str, complain: &mut dyn FnMut(Complaint<'_>)) -> Self {
        let mut options = Self::default();
        for text in line.split_ascii_whitespace().take_while(|text| *text != "--") {
            let word = Word::new(text);
            match options.take(word) {
                Ok(()) => {}
                // A name of our own may begin with "no-" as well; only those that are known are told from negations.
                Err(Refusal::Unknown) => {
                    let name = text.split_once('=').map_or(text, |(name, _)| name);
                    complain(Complaint::Unknown { name });
                }
                Err(Refusal::BadValue(allowed)) => {
                    let value = word.value.unwrap_or_default();
                    complain(Complaint::BadValue { name: word.name, value, allowed });
                }
            }
        }
        options
    }

    fn take(&mut self, word: Word<'_>) -> Result<(), Refusal> {
        match word.name {
            "com1" | "com2" | "console" | "loglvl" | "guest_loglvl" | "sync_console" | "conring_size" | "conswitch" => {
                self.take_console(word)
            }
            "dom0_mem" | "dom0_max_vcpus" | "dom0" | "dom0-iommu" => self.take_dom0(word),
            _ => self.take_machine(word),
        }
    }

    fn take_console(&mut self, word: Word<'_>) -> Result<(), Refusal> {
        const COM: &str = "<baud>|auto[,<data bits><parity><stop bits>[,<I/O base>]], as 115200,8n1";
        const LEVEL: &str =
            "none, error, warning, info, debug or all, and after a slash the same for what is rate-limited";
        match word.name {
            "com1" => self.com1 = word.value(COM, |value| ComPort::parse(value, 0x3f8))?,
            "com2" => self.com2 = word.value(COM, |value| ComPort::parse(value, 0x2f8))?,
            "console" => self.consoles = word.value("a list of com1, com2, vga and none", parse_consoles)?,
            "loglvl" => self.log = word.value(LEVEL, Thresholds::parse)?,
            "guest_loglvl" => self.guest_log = word.value(LEVEL, Thresholds::parse)?,
            "sync_console" => self.sync_console = word.boolean()?,
            "conring_size" => {
                self.console_ring_bytes = word.value("a size from 16K to 64M", |value| {
                    let bytes = usize::try_from(parse_size(value)?).ok()?;
                    (16_384..=64 << 20).contains(&bytes).then(|| 1 << bytes.ilog2())
                })?;
            }
            _ => {
                let letters = word.value("a letter, and x after it to start at the hypervisor", Some)?.as_bytes();
                (self.switch_character, self.input_starts_at_hypervisor) = match letters {
                    [letter @ b'a'..=b'z'] => (letter & 0x1f, false),
                    [letter @ b'a'..=b'z', b'x'] => (letter & 0x1f, true),
                    [_, b'x'] => (0, true),
                    _ => (0, false),
                };
            }
        }
        Ok(())
    }

    fn take_dom0(&mut self, word: Word<'_>) -> Result<(), Refusal> {
        match word.name {
            "dom0_mem" => {
                self.dom0_memory =
                    word.value("a list of <size>, min:<size> and max:<size>, as 2G,max:4G", Dom0Memory::parse)?;
            }
            "dom0_max_vcpus" => {
                self.dom0_vcpus = Some(word.value("<number>, <min>-<max>, <min>- or -<max>", VcpuCount::parse)?);
            }
            "dom0" => {
                const ALLOWED: &str = "a list of pvh, pv and verbose";
                for part in word.value(ALLOWED, Some)?.split(',') {
                    let part = Word::new(part);
                    match part.name {
                        "pvh" if part.boolean()? => self.dom0_mode = Dom0Mode::Pvh,
                        "pv" if part.boolean()? => self.dom0_mode = Dom0Mode::Pv,
                        "verbose" => self.dom0_verbose = part.boolean()?,
                        _ => return Err(Refusal::BadValue(ALLOWED)),
                    }
                }
            }
            _ => {
                const ALLOWED: &str = "a list of none, passthrough, strict, map-reserved and map-inclusive";
                for part in word.value(ALLOWED, Some)?.split(',') {
                    let part = Word::new(part);
                    match part.name {
                        "none" => self.dom0_iommu.none = part.boolean()?,
                        "passthrough" => self.dom0_iommu.passthrough = part.boolean()?,
                        "strict" => self.dom0_iommu.strict = part.boolean()?,
                        "map-reserved" => self.dom0_iommu.map_reserved = Some(part.boolean()?),
                        "map-inclusive" => self.dom0_iommu.map_inclusive = part.boolean()?,
                        _ => return Err(Refusal::BadValue(ALLOWED)),
                    }
                }
            }
        }
        Ok(())
    }

    fn take_machine(&mut self, word: Word<'_>) -> Result<(), Refusal> {
        match word.name {
            "noreboot" => self.no_reboot = word.boolean()?,
            "reboot" => match word.value("acpi, pci, kbd, triple or no", parse_reboot)? {
                Some(method) => self.reboot = Some(method),
                None => self.no_reboot = true,
            },
            "maxcpus" => {
                self.max_cpus = Some(word.value("a number from 1 on", |value| {
                    parse_number(value).and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0)
                })?);
            }
            "nosmp" => {
                if word.boolean()? {
                    self.max_cpus = Some(1);
                }
            }
            "iommu" if word.value.is_none() => self.iommu = word.boolean()?,
            "iommu" => {
                const ALLOWED: &str = "a list of a boolean, force, verbose and debug";
                for part in word.value(ALLOWED, Some)?.split(',') {
                    match part {
                        "force" | "required" | "verbose" | "debug" => self.iommu = true,
                        _ => self.iommu = parse_boolean(part).ok_or(Refusal::BadValue(ALLOWED))?,
                    }
                }
            }
            "guests-on-cpu0" => self.guests_on_cpu0 = Some(word.boolean()?),
            "x2apic" => self.x2apic = Some(word.boolean()?),
            "smep" => self.smep = word.boolean()?,
            "smap" => self.smap = word.boolean()?,
            "crash-test" => {
                self.crash_test =
                    Some(word.value(
                        "panic, page-fault, write-text, run-data, stack-overflow or other-cpu",
                        parse_crash_test,
                    )?);
            }
            "debug-exit" => {
                self.debug_exit = Some(word.value("an I/O port, as 0xf4", |value| {
                    parse_number(value).and_then(|port| u16::try_from(port).ok())
                })?);
            }
            // GRUB's script passes these for the sake of BIOS calls, of which there are none here.
            "real-mode" if word.negated => {}
            "edd" => {}
            _ => return Err(Refusal::Unknown),
        }
        Ok(())
    }
}

fn parse_consoles(value: &str) -> Option<ArrayVec<ConsoleTarget, 3>> {
    let mut consoles = ArrayVec::new();
    for name in value.split(',') {
        let target = match name {
            "com1" => ConsoleTarget::Com1,
            "com2" => ConsoleTarget::Com2,
            "vga" => ConsoleTarget::Vga,
            "none" => continue,
            _ => return None,
        };
        if !consoles.contains(&target) {
            consoles.try_push(target).ok()?;
        }
    }
    Some(consoles)
}
