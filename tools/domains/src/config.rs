//! What a domain is to be: its name, sizes, kernel and devices.

use crate::devices::{Card, Disk};
use crate::error::{Error, Step};
use crate::uuid::Uuid;

/// The most vCPUs of a PVH domain on Xen 4.17.
pub const VCPUS_MAX: u32 = 128;

/// The longest name, in bytes.
const NAME_MAX: usize = 64;

/// The longest command line, in bytes; Linux keeps 2047.
const COMMAND_LINE_MAX: usize = 4095;

/// How the domain reads the time stamp counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TscMode {
    /// The hypervisor chooses: native where the counter of the machine is steady.
    #[default]
    Default,
    /// Each reading is emulated.
    Always,
    /// Never emulated.
    Native,
}

impl TscMode {
    /// Returns its number for `XEN_DOMCTL_settscinfo`.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Default => 0,
            Self::Always => 1,
            Self::Native => 2,
        }
    }

    /// Returns its word in `xl`'s configurations.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Always => "always_emulate",
            Self::Native => "native",
        }
    }
}

/// A file with its path, which is told to tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedFile {
    pub path: String,
    pub bytes: Vec<u8>,
}

/// A domain that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub name: String,
    pub uuid: Uuid,
    /// Its memory in MiB.
    pub memory_mib: u64,
    pub vcpus: u32,
    pub kernel: NamedFile,
    /// The initial RAM disc, as it lies in its file.
    pub ramdisk: Option<NamedFile>,
    pub command_line: String,
    pub tsc: TscMode,
    pub disks: Vec<Disk>,
    pub cards: Vec<Card>,
}

impl Config {
    /// Returns the bytes of memory.
    #[must_use]
    pub const fn memory(&self) -> u64 {
        self.memory_mib.saturating_mul(1 << 20)
    }

    /// Checks what can be checked without a machine.
    ///
    /// **Errors:** [`Step::Settings`], with the setting that cannot be.
    pub fn check(&self) -> Result<(), Error> {
        let refused = |cause: String, remedy: &str| Err(Error::new(&self.name, Step::Settings, cause).remedied(remedy));
        check_name(&self.name)?;
        if self.vcpus == 0 || self.vcpus > VCPUS_MAX {
            let cause = format!("{} vCPUs are not between 1 and {VCPUS_MAX}", self.vcpus);
            return refused(cause, "give it another number of vCPUs");
        }
        if self.memory_mib == 0 || self.memory_mib > 1 << 20 {
            let cause = format!("{} MiB of memory are not between 1 MiB and 1 TiB", self.memory_mib);
            return refused(cause, "give it another amount of memory");
        }
        if self.command_line.len() > COMMAND_LINE_MAX || self.command_line.contains('\0') {
            let cause = format!("its command line is longer than {COMMAND_LINE_MAX} bytes or holds a NUL byte");
            return refused(cause, "shorten it");
        }
        let mut numbers: Vec<u32> = Vec::new();
        for disk in &self.disks {
            let number = disk.number().map_err(|error| Error { domain: self.name.clone(), ..error })?;
            if numbers.contains(&number) {
                return refused(format!("two disks are called {}", disk.device), "give one of them another name");
            }
            numbers.push(number);
        }
        self.cards.iter().try_for_each(|card| card.check(&self.name))
    }
}

/// Checks the name of a domain: it stands in paths and in lists, and `xl` takes digits for an ID.
///
/// **Errors:** [`Step::Settings`].
pub fn check_name(name: &str) -> Result<(), Error> {
    let has_form = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(has_form) || name.starts_with(['-', '.']) {
        let cause = format!(
            "its name is not 1 to {NAME_MAX} letters, digits, '-', '_', '.' and '+', or begins with '-' or '.'"
        );
        return Err(Error::new(name, Step::Settings, cause).remedied("give it another name"));
    }
    if name.chars().all(|c| c.is_ascii_digit()) {
        let cause = "its name is a number, which would be taken for an ID";
        return Err(Error::new(name, Step::Settings, cause).remedied("give it another name"));
    }
    Ok(())
}
