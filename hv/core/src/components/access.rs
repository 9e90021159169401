//! Decides who may do what. Every permission of a hypercall is asked for here and nowhere else, so a policy of labels
//! (XSM) has one door to stand behind. **Source:** the default policy of Xen 4.17, observed case by case.

use xen_abi::Errno;
use xenolith_hal::DomId;

/// The domain that asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject {
    pub id: DomId,
    /// It is a control domain.
    pub privileged: bool,
}

/// What is acted on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Object {
    /// The machine as a whole.
    Machine,
    /// The domain with this number, never `DOMID_SELF`.
    Domain(DomId),
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Calls that concern the caller alone.
    CallForItself,
    /// Reads or writes the machine's console: `console_io`.
    UseConsole,
    /// Names PCI devices and their windows: `physdev_op`.
    ManageDevices,
    /// Sets up the platform: `platform_op`.
    ManagePlatform,
    /// Reads how the hypervisor was built and started: `XENVER_commandline`, `XENVER_build_id`.
    ReadBuildDetails,
    /// Pins a vCPU of its own against the scheduler's will: `SCHEDOP_pin_override`.
    OverridePinning,
    /// Any `domctl`.
    ControlDomain,
    /// Any `sysctl`.
    ControlMachine,
    /// Any `dm_op`.
    ModelDevices,
    /// Reads or sets an HVM parameter.
    UseHvmParameter,
    /// Ends a domain: `SCHEDOP_remote_shutdown`.
    ShutDownRemotely,
    /// Binds, asks about or resets event channels of a domain.
    ManageEventChannels,
    /// Asks about or grows a domain's grant table.
    ManageGrantTable,
    /// Changes or asks about the memory of a domain.
    ManageMemory,
    /// Allocates blocks larger than a guest may have.
    AllocateLargeBlocks,
    /// Maps device memory into its own p2m.
    MapDeviceMemory,
    /// Maps a page of another domain: `XENMAPSPACE_gmfn_foreign`.
    MapForeignPage,
    /// Claims free memory for a domain: `XENMEM_claim_pages`.
    ClaimMemory,
    /// Sets or reads a populate-on-demand target.
    ManagePopulateOnDemand,
    /// Watches accesses to a domain's memory: `XENMEM_access_op`.
    WatchMemory,
    /// Maps a resource of a domain: `XENMEM_acquire_resource`.
    AcquireResource,
}

/// To whom an action is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Everybody,
    /// A domain on itself, a control domain on all.
    ItselfOrControl,
    Control,
    /// A control domain on itself.
    ControlOnItself,
}

const fn rule(action: Action) -> Rule {
    match action {
        Action::CallForItself => Rule::Everybody,
        Action::UseHvmParameter | Action::ManageEventChannels | Action::ManageGrantTable | Action::ManageMemory => {
            Rule::ItselfOrControl
        }
        Action::MapDeviceMemory => Rule::ControlOnItself,
        Action::UseConsole
        | Action::ManageDevices
        | Action::ManagePlatform
        | Action::ReadBuildDetails
        | Action::OverridePinning
        | Action::ControlDomain
        | Action::ControlMachine
        | Action::ModelDevices
        | Action::ShutDownRemotely
        | Action::AllocateLargeBlocks
        | Action::MapForeignPage
        | Action::ClaimMemory
        | Action::ManagePopulateOnDemand
        | Action::WatchMemory
        | Action::AcquireResource => Rule::Control,
    }
}

/// Decides whether `subject` may do `action` to `object`.
///
/// **Errors:** `EPERM`.
#[inline]
pub fn may(subject: Subject, action: Action, object: Object) -> Result<(), Errno> {
    let on_itself = object == Object::Domain(subject.id);
    let permitted = match rule(action) {
        Rule::Everybody => true,
        Rule::ItselfOrControl => on_itself || subject.privileged,
        Rule::Control => subject.privileged,
        Rule::ControlOnItself => on_itself && subject.privileged,
    };
    if permitted { Ok(()) } else { Err(Errno::EPERM) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: Subject = Subject { id: DomId(5), privileged: false };
    const CONTROL: Subject = Subject { id: DomId(0), privileged: true };

    #[test]
    fn a_guest_manages_its_own_things_and_nobody_elses() {
        for action in [Action::ManageMemory, Action::ManageGrantTable, Action::UseHvmParameter] {
            assert_eq!(may(GUEST, action, Object::Domain(GUEST.id)), Ok(()));
            assert_eq!(may(GUEST, action, Object::Domain(DomId(6))), Err(Errno::EPERM));
            assert_eq!(may(CONTROL, action, Object::Domain(GUEST.id)), Ok(()));
        }
    }

    #[test]
    fn only_a_control_domain_controls_domains_and_the_machine() {
        for object in [Object::Machine, Object::Domain(GUEST.id), Object::Domain(CONTROL.id)] {
            for action in [Action::ControlDomain, Action::ControlMachine, Action::AcquireResource] {
                assert_eq!(may(GUEST, action, object), Err(Errno::EPERM));
                assert_eq!(may(CONTROL, action, object), Ok(()));
            }
        }
    }

    #[test]
    fn a_control_domain_maps_device_memory_for_itself_alone() {
        assert_eq!(may(CONTROL, Action::MapDeviceMemory, Object::Domain(CONTROL.id)), Ok(()));
        assert_eq!(may(CONTROL, Action::MapDeviceMemory, Object::Domain(GUEST.id)), Err(Errno::EPERM));
        assert_eq!(may(GUEST, Action::MapDeviceMemory, Object::Domain(GUEST.id)), Err(Errno::EPERM));
    }
}
