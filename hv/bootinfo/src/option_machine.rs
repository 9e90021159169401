//! Options of the machine, and options that Xen does not have.

use crate::option_kinds::{RebootMethod, parse_crash_test};
use crate::option_names;
use crate::option_values::{parse_boolean, parse_number, parse_size};
use crate::option_word::{Refusal, Word};
use crate::options::{Options, Watchdog};

impl Options {
    /// Takes one option of the machine's.
    pub(crate) fn take_machine(&mut self, word: Word<'_>) -> Result<(), Refusal> {
        const MEMORY: &str = "a size, as 4G";
        match word.name {
            "noreboot" => self.no_reboot = word.boolean()?,
            "mem" => self.memory_end = positive(word.value(MEMORY, parse_size)?),
            "availmem" => self.memory_bytes = positive(word.value(MEMORY, parse_size)?),
            // None is what one without others is.
            "maxcpus" => {
                let count = word.value("a number", |value| u32::try_from(parse_number(value)?).ok())?;
                self.max_cpus = Some(count.max(1));
            }
            "nosmp" => {
                if word.boolean()? {
                    self.max_cpus = Some(1);
                }
            }
            "sched" => {
                return match word.value {
                    Some("credit2") => Ok(()),
                    Some("credit" | "rtds" | "arinc653" | "null") => Err(Refusal::NotBuilt),
                    _ => Err(Refusal::BadValue("credit2")),
                };
            }
            // With one CPU there is nobody to watch it, whatever is forced.
            "watchdog" => self.watchdog.is_on = word.value == Some("force") || word.boolean()?,
            "watchdog_timeout" => {
                let seconds = word.value("seconds", |value| u32::try_from(parse_number(value)?).ok())?;
                self.watchdog = Watchdog { is_on: seconds > 0, timeout_s: seconds };
            }
            "x2apic" => self.x2apic = Some(word.boolean()?),
            "smep" => self.smep = protection(word)?,
            "smap" => self.smap = protection(word)?,
            // GRUB's script begins with it, for loaders that swallow a word.
            "placeholder" if word.value.is_none() => {}
            _ => return option_names::look_up(word),
        }
        Ok(())
    }

    /// Takes one option that Xen does not have.
    pub(crate) fn take_own(&mut self, word: Word<'_>) -> Result<(), Refusal> {
        const CRASH_TEST: &str =
            "panic, page-fault, write-text, run-data, stack-overflow, other-cpu, foreign-gs or stuck-cpu";
        match word.name {
            "guests-on-cpu0" => self.guests_on_cpu0 = Some(word.boolean()?),
            "crash-test" => self.crash_test = Some(word.value(CRASH_TEST, parse_crash_test)?),
            "debug-exit" => {
                let port = |value| parse_number(value).and_then(|port| u16::try_from(port).ok());
                self.debug_exit = Some(word.value("an I/O port, as 0xf4", port)?);
            }
            _ => return Err(Refusal::Unknown),
        }
        Ok(())
    }

    /// Takes `iommu=`.
    pub(crate) fn take_iommu<'a>(
        &mut self,
        word: Word<'a>,
        refuse: &mut dyn FnMut(&'a str, Refusal),
    ) -> Result<(), Refusal> {
        const ALLOWED: &str = "a list of a boolean, force, required, verbose, debug and amd-iommu-perdev-intremap";
        let Some(list) = word.value else {
            self.iommu = word.boolean()?;
            return Ok(());
        };
        for part in list.split(',') {
            self.take_iommu_part(Word::new(part), ALLOWED).unwrap_or_else(|refusal| refuse(part, refusal));
        }
        Ok(())
    }

    fn take_iommu_part(&mut self, part: Word<'_>, allowed: &'static str) -> Result<(), Refusal> {
        match part.name {
            "force" | "required" => {
                self.iommu_required = part.boolean()?;
                self.iommu |= self.iommu_required;
            }
            // What there is to be told is told by `loglvl=`.
            "verbose" | "debug" => {
                part.boolean()?;
            }
            "dom0-passthrough" => self.dom0_iommu.passthrough = part.boolean()?,
            "dom0-strict" | "superpages" => return part.must_be(true),
            "intremap" | "intpost" | "sharept" | "crash-disable" | "snoop" | "qinval" => return part.must_be(false),
            "igfx" | "quarantine" | "amd-iommu-perdev-intremap" => return Err(Refusal::NotBuilt),
            name if !part.negated && part.value.is_none() => {
                self.iommu = parse_boolean(name).ok_or(Refusal::BadValue(allowed))?;
            }
            _ => return Err(Refusal::BadValue(allowed)),
        }
        Ok(())
    }

    /// Takes `reboot=`. Only the first letter of each word counts.
    pub(crate) fn take_reboot<'a>(
        &mut self,
        word: Word<'a>,
        refuse: &mut dyn FnMut(&'a str, Refusal),
    ) -> Result<(), Refusal> {
        const ALLOWED: &str = "a list of acpi, pci, Power, kbd, triple, no and cold";
        for part in word.value(ALLOWED, Some)?.split(',') {
            match part.as_bytes().first() {
                Some(b'a') => self.reboot = Some(RebootMethod::Acpi),
                Some(b'p') => self.reboot = Some(RebootMethod::Pci),
                Some(b'P') => self.reboot = Some(RebootMethod::Power),
                Some(b'k') => self.reboot = Some(RebootMethod::Keyboard),
                Some(b't') => self.reboot = Some(RebootMethod::Triple),
                Some(b'n') => self.no_reboot = true,
                // The firmware is told nothing, so it starts as after power came on.
                Some(b'c') => {}
                Some(b'w' | b'e' | b'x') => refuse(part, Refusal::NotBuilt),
                _ => refuse(part, Refusal::BadValue(ALLOWED)),
            }
        }
        Ok(())
    }
}

/// Turns 0, which bounds nothing, into none.
fn positive(bytes: u64) -> Option<u64> {
    Some(bytes).filter(|bytes| *bytes > 0)
}

/// Reads the value of a protection: a boolean for the hypervisor's own use of it, or `hvm` to leave it to guests alone.
fn protection(word: Word<'_>) -> Result<bool, Refusal> {
    if word.value == Some("hvm") { Ok(false) } else { word.boolean() }
}
