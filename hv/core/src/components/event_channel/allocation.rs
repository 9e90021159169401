//! Allocation of ports.

use super::domain::EventDomain;
use super::fifo;
use super::port_set::PortSet;
use super::port_state::{Binding, PortCell};
use super::port_table::{BUCKET_BYTES, PORTS_PER_BUCKET, PortTable};
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
    /// Ports that may be allocated.
    free: PortSet,
    /// Ports that are free but were still in a queue when somebody looked: see [`fifo::is_linked`].
    lingering: PortSet,
    /// Where to go on looking at those.
    next_lingering: u32,
    /// Bound physical interrupts, in order.
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
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
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

/// How many ports that linger in a queue are looked at when a port is wanted. A guest that keeps to the protocol takes
/// them out soon; one that does not may leave any number of them there.
const LINGERING_A_LOOK: u32 = 64;

/// Adds a bucket of ports, which are free. Only with the domain's lock, or before anybody else knows the domain.
///
/// **Errors:** `ENOMEM`, also where `charge` refuses what they take of the heap; `ENOSPC` if there are as many as there can
/// be.
pub(super) fn add_ports(
    ports: &PortTable,
    bindings: &mut Bindings,
    charge: impl FnOnce(u64) -> bool,
) -> Result<(), Errno> {
    let first = ports.valid();
    let end = first.saturating_add(PORTS_PER_BUCKET);
    bindings.free.reserve(end)?;
    bindings.lingering.reserve(end)?;
    if !charge(BUCKET_BYTES) {
        return Err(Errno::ENOMEM);
    }
    ports.grow()?;
    for port in first..end {
        // Port 0 is reserved.
        if port != 0 {
            bindings.free.insert(Port(port));
        }
    }
    Ok(())
}

/// Finds the lowest free port. It stays free until [`occupy`] binds it.
///
/// Takes a constant number of steps: of ports that are free but still in a queue 64 are looked at, in turn.
///
/// **Errors:** `EINVAL` if the domain is dying; `ENOSPC` if every port up to the domain's limit or that of the ABI in
/// use is taken, or its guest keeps too many in its queues; `ENOMEM`.
pub(super) fn find_free<'a, D: EventDomain>(
    domain: &'a D,
    bindings: &mut Bindings,
) -> Result<(Port, &'a PortCell), Errno> {
    if bindings.dying {
        return Err(Errno::EINVAL);
    }
    let events = domain.events();
    let limit = events.max_port.saturating_add(1).min(events.port_limit());
    look_at_lingering(domain, bindings);
    for _ in 0..LINGERING_A_LOOK {
        let Some(port) = bindings.free.lowest_from(Port(0)) else {
            if events.ports().valid() >= limit {
                break;
            }
            add_ports(events.ports(), bindings, |bytes| domain.charge_heap(bytes))?;
            continue;
        };
        if port.0 >= limit {
            break;
        }
        if is_lingering(domain, port) {
            bindings.free.remove(port);
            bindings.lingering.insert(port);
            continue;
        }
        return Ok((port, events.ports().get(port).ok_or(Errno::ENOSPC)?));
    }
    Err(Errno::ENOSPC)
}

/// Frees the ports for allocation that lingered in a queue and no longer do: looks at 64 of them.
fn look_at_lingering<D: EventDomain>(domain: &D, bindings: &mut Bindings) {
    for _ in 0..LINGERING_A_LOOK {
        let Some(port) = bindings.lingering.lowest_from(Port(bindings.next_lingering)) else {
            // Round again, from the lowest.
            if core::mem::take(&mut bindings.next_lingering) == 0 {
                return;
            }
            continue;
        };
        bindings.next_lingering = port.0.saturating_add(1);
        if !is_lingering(domain, port) {
            bindings.lingering.remove(port);
            bindings.free.insert(port);
        }
    }
}

fn is_lingering<D: EventDomain>(domain: &D, port: Port) -> bool {
    domain.events().is_fifo() && fifo::is_linked(domain, port)
}

/// Binds a port that [`find_free`] found, under the same lock.
pub(super) fn occupy(bindings: &mut Bindings, port: Port, cell: &PortCell, binding: Binding) {
    cell.set_priority(EVTCHN_FIFO_PRIORITY_DEFAULT as u8);
    cell.change().set(binding);
    bindings.free.remove(port);
    bindings.bound = bindings.bound.saturating_add(1);
}

/// Marks a port that was bound as free; it is not allocated while it is in a queue.
pub(super) fn vacate<D: EventDomain>(domain: &D, bindings: &mut Bindings, port: Port) {
    let set = if is_lingering(domain, port) { &mut bindings.lingering } else { &mut bindings.free };
    set.insert(port);
    bindings.bound = bindings.bound.saturating_sub(1);
}

/// Marks every lingering port as free, when the FIFO ABI and its queues are left.
pub(super) fn forget_queues(bindings: &mut Bindings) {
    bindings.free.take_all(&mut bindings.lingering);
    bindings.next_lingering = 0;
}
