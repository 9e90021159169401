//! Allocation of ports.

use super::domain::EventDomain;
use super::fifo;
use super::port_state::{Binding, Kind, PortCell};
use alloc::vec::Vec;
use xen_abi::event_fifo::EVTCHN_FIFO_PRIORITY_DEFAULT;
use xen_abi::{Errno, Port};

/// The state that the domain's lock protects, besides the right to change ports.
#[derive(Default)]
pub(super) struct Bindings {
    /// The domain is dying: no port is allocated any more.
    pub(super) dying: bool,
    /// Where a preempted reset continues; 0 if none is under way.
    pub(super) next_reset: u32,
    /// Where the teardown of the domain continues.
    pub(super) next_teardown: u32,
    /// How many ports are bound, and how many of them by the hypervisor.
    pub(super) bound: u32,
    pub(super) bound_by_hypervisor: u32,
    /// No port below this one is free.
    pub(super) lowest_free: u32,
    /// Bound PIRQs, in order.
    pirqs: Vec<(u32, Port)>,
}

impl Bindings {
    /// Returns the port that a PIRQ is bound to.
    pub(super) fn pirq_port(&self, pirq: u32) -> Option<Port> {
        let at = self.pirqs.binary_search_by_key(&pirq, |entry| entry.0).ok()?;
        self.pirqs.get(at).map(|entry| entry.1)
    }

    /// Adds a PIRQ.
    ///
    /// **Errors:** `ENOMEM`; `EEXIST` if it is bound.
    pub(super) fn add_pirq(&mut self, pirq: u32, port: Port) -> Result<(), Errno> {
        let Err(at) = self.pirqs.binary_search_by_key(&pirq, |entry| entry.0) else { return Err(Errno::EEXIST) };
        self.pirqs.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.pirqs.insert(at, (pirq, port));
        Ok(())
    }

    pub(super) fn remove_pirq(&mut self, pirq: u32) {
        self.pirqs.retain(|entry| entry.0 != pirq);
    }
}

/// Finds the lowest free port. It stays free until [`occupy`] binds it.
///
/// **Errors:** `EINVAL` if the domain is dying; `ENOSPC` if every port up to the domain's limit or that of the ABI in
/// use is taken; `ENOMEM`.
pub(super) fn find_free<'a, D: EventDomain>(
    domain: &'a D,
    bindings: &mut Bindings,
) -> Result<(Port, &'a PortCell), Errno> {
    if bindings.dying {
        return Err(Errno::EINVAL);
    }
    let events = domain.events();
    let mut port = bindings.lowest_free;
    let mut lowest = None;
    let found = loop {
        if port > events.max_port || port >= events.port_limit() {
            break Err(Errno::ENOSPC);
        }
        let Some(cell) = events.ports().get(Port(port)) else {
            match events.ports().grow() {
                Ok(()) => continue,
                Err(error) => break Err(error),
            }
        };
        if cell.peek().kind == Kind::Free {
            lowest.get_or_insert(port);
            if !(events.is_fifo() && fifo::is_linked(domain, Port(port))) {
                break Ok((Port(port), cell));
            }
        }
        port = port.saturating_add(1);
    };
    bindings.lowest_free = lowest.unwrap_or(port);
    found
}

/// Binds a port that [`find_free`] found, under the same lock.
pub(super) fn occupy(bindings: &mut Bindings, cell: &PortCell, binding: Binding) {
    cell.set_priority(EVTCHN_FIFO_PRIORITY_DEFAULT as u8);
    cell.change().set(binding);
    bindings.bound = bindings.bound.saturating_add(1);
}
