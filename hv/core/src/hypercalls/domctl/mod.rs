//! `domctl`: creating, changing and destroying domains, for the control domain. **Source:** `domctl.h`; the order of
//! the error checks is that of Xen 4.17.
//!
//! One operation is done at a time ([`DomainTable::take_control`](crate::domains::table::DomainTable::take_control)). A
//! caller that comes meanwhile makes its call again, and takes its interrupts in between.

mod affinity;
pub mod cpu_policy;
mod create;
mod dirty_logging;
mod info;
mod list;
mod memory;
mod page_kinds;
mod policy;
mod running;
mod scheduling;
mod settings;
mod state;
mod vcpu_context;

pub use info::domain_info;
pub use list::{CommandHandler, commands};

use crate::components::access::{Action, Object};
use crate::domains::domain::Domain;
use crate::domains::hypervisor::DomainRef;
use crate::hypercalls::{Call, Operation, in_order};
use crate::outcome::{Answer, Outcome};
use xen_abi::domctl::{Domctl, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_INTERFACE_VERSION};
use xen_abi::{DomId, Errno};
use xenolith_hal::Machine;

/// An operation as its handler sees it.
pub struct Request<'r, 'a, M: Machine> {
    pub call: &'r mut Call<'a, M>,
    /// The caller's structure, copied in.
    pub op: &'r mut Domctl,
    /// The domain that it names; None for operations without one.
    pub target: Option<DomainRef<M>>,
}

impl<M: Machine> Request<'_, '_, M> {
    /// Returns the domain of the operation.
    ///
    /// **Errors:** `ESRCH`.
    pub fn domain(&self) -> Result<&Domain<M>, Errno> {
        self.target.as_deref().ok_or(Errno::ESRCH)
    }

    /// Returns the domain of an operation that a domain cannot do to itself: it would have to be paused for it.
    ///
    /// **Errors:** `ESRCH`; `EINVAL` for the caller.
    pub fn other_domain(&self) -> Result<&Domain<M>, Errno> {
        let domain = self.domain()?;
        if domain.id == self.call.domain.id { Err(Errno::EINVAL) } else { Ok(domain) }
    }

    /// Copies the structure back to the caller.
    ///
    /// **Errors:** `EFAULT`.
    pub fn copy_back(&self) -> Answer {
        self.call.write_arg(0, self.op)?;
        Ok(Outcome::OK)
    }

    /// Returns the outcome of a preempted operation: the same call is made once more.
    ///
    /// **Errors:** none.
    pub fn again(&self) -> Answer {
        Ok(Outcome::Again(self.call.args))
    }
}

/// Implements `domctl(op)`.
///
/// **Errors:** `EFAULT`; `EACCES` for another version of the interface; `ESRCH` for a domain that does not exist;
/// `EPERM`; `ENOSYS` for an operation that does not exist; and the operation's own.
pub fn domctl<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut op: Domctl = call.read_arg(0)?;
    if op.interface_version != XEN_DOMCTL_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    let target = match op.cmd {
        XEN_DOMCTL_CREATEDOMAIN => None,
        // It finds the next one for itself where there is none.
        XEN_DOMCTL_GETDOMAININFO => call.hv.domains.get(op.domain),
        _ => Some(call.hv.domain(op.domain)?),
    };
    call.may(Action::ControlDomain, Object::Domain(op.domain))?;
    let handler = Operation::find(const { in_order(commands::<M>()) }, op.cmd).ok_or(Errno::ENOSYS)?.handler()?;
    let hv = call.hv;
    hv.do_housekeeping();
    let mut request = Request { call, op: &mut op, target };
    match hv.domains.take_control() {
        Some(_in_control) => handler(&mut request),
        None => request.again(),
    }
}

/// Returns whether a caller may choose this number for a new domain.
const fn chosen(id: DomId) -> bool {
    id.0 > 0 && id.is_ordinary()
}
