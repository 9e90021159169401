//! Errors: which domain, at which step, why, and what helps.

use std::fmt;

/// A step of making or ending a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its settings are checked.
    Settings,
    /// Its kernel's file is read.
    Kernel,
    /// The record by which it is found if this is interrupted is written.
    Record,
    /// The hypervisor makes it.
    Create,
    /// Its vCPUs are made.
    Vcpus,
    /// Its memory is allocated.
    Memory,
    /// Its CPU policy is set.
    CpuPolicy,
    /// Kernel, initial RAM disc and tables are copied into its memory.
    Load,
    /// Its event channels, parameters and grants are set.
    Channels,
    /// The registers of its first vCPU are set.
    Registers,
    /// Its nodes are written to xenstore.
    Nodes,
    /// The back ends of its devices start.
    Devices,
    /// It is introduced to xenstored.
    Introduce,
    /// It is unpaused.
    Unpause,
    /// It is paused.
    Pause,
    /// It is looked up.
    Find,
    /// It is destroyed.
    Destroy,
    /// It suspends itself.
    Suspend,
    /// It is written to a file.
    Save,
    /// It is made of a file.
    Restore,
}

impl Step {
    /// Returns what cannot be done where this step fails.
    const fn deed(self) -> &'static str {
        match self {
            Self::Settings => "cannot be made as configured",
            Self::Kernel => "cannot use its kernel",
            Self::Record => "cannot be written down as being made or ended",
            Self::Create => "cannot be created in the hypervisor",
            Self::Vcpus => "cannot get its vCPUs",
            Self::Memory => "cannot get its memory",
            Self::CpuPolicy => "cannot get its CPU policy",
            Self::Load => "cannot be loaded",
            Self::Channels => "cannot get its event channels and grants",
            Self::Registers => "cannot get its registers",
            Self::Nodes => "cannot be written to xenstore",
            Self::Devices => "cannot get its devices",
            Self::Introduce => "cannot be introduced to xenstored",
            Self::Unpause => "cannot be unpaused",
            Self::Pause => "cannot be paused",
            Self::Find => "cannot be found",
            Self::Destroy => "cannot be destroyed",
            Self::Suspend => "cannot be suspended",
            Self::Save => "cannot be saved",
            Self::Restore => "cannot be restored",
        }
    }

    /// Returns what helps where the cause does not say it.
    const fn usual_remedy(self) -> &'static str {
        match self {
            Self::Settings => "change its settings",
            Self::Kernel => "take another kernel",
            Self::Record => "make /run writable",
            Self::Create | Self::CpuPolicy | Self::Channels | Self::Registers => "see what `xl dmesg` says of it",
            Self::Vcpus => "give it fewer vCPUs",
            Self::Memory => "give it less memory, or end another domain",
            Self::Load => "give it more memory",
            Self::Nodes | Self::Introduce => "see whether xenstored is running",
            Self::Devices => "see whether the back end's module is loaded in this domain",
            Self::Unpause | Self::Pause | Self::Find => "see which domains `xl list` shows",
            Self::Suspend => "let its kernel come up first, and take one that knows Xen's suspend",
            Self::Save => "give another file, on a disk with room",
            Self::Restore => "take another file",
            Self::Destroy => "try again, then run `xenolith-domain doctor`",
        }
    }
}

/// Why something about a domain could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The domain's name, or its ID where the name is not known.
    pub domain: String,
    /// Where it stopped.
    pub step: Step,
    /// Why.
    pub cause: String,
    /// What helps.
    pub remedy: String,
    /// What could not be undone afterwards; empty if nothing is left.
    pub left: Vec<String>,
}

impl Error {
    /// Creates an error with the step's usual remedy.
    #[must_use]
    pub fn new(domain: &str, step: Step, cause: impl fmt::Display) -> Self {
        let (domain, cause, remedy) = (domain.to_owned(), cause.to_string(), step.usual_remedy().to_owned());
        Self { domain, step, cause, remedy, left: Vec::new() }
    }

    /// Returns the same error with another remedy.
    #[must_use]
    pub fn remedied(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, step, cause, remedy, left } = self;
        write!(f, "domain {domain:?} {}: {cause}; {remedy}", step.deed())?;
        if !left.is_empty() {
            write!(f, "; left behind: {} (`xenolith-domain doctor` removes it)", left.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_domain_step_cause_and_remedy() {
        let error = Error::new("web", Step::Memory, "ENOMEM");
        let wanted = "domain \"web\" cannot get its memory: ENOMEM; give it less memory, or end another domain";
        assert_eq!(error.to_string(), wanted);
        let left = Error { left: vec!["domain 3".into()], ..error.remedied("wait") };
        assert!(
            left.to_string().ends_with("ENOMEM; wait; left behind: domain 3 (`xenolith-domain doctor` removes it)")
        );
    }
}
