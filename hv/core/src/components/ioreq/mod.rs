//! The I/O request servers of one guest: who answers its accesses to devices that the hypervisor does not emulate.
//!
//! A device model creates a server, directs ranges of ports, addresses and PCI functions to it, maps its two pages and
//! enables it. An access in such a range becomes a [`Request`] in the server's synchronous page; the vCPU waits until
//! the server answers. Writes that nobody waits for go through the ring in the buffered page.
//!
//! # What a hostile device model can do
//!
//! It may write anything in both pages at any time. What is read there decides what the guest gets for the access, or
//! that the guest is crashed, and nothing else. Servers, ranges and pages are limited and charged to the guest.
//!
//! # What a server that ends leaves
//!
//! [`Server::close`] comes first, then every vCPU of the guest is woken; one that waits finds its server closed and goes
//! on with ones. A vCPU that has found the server just before may still write its page: the page is freed after a
//! grace period, as all pages that others see.
//!
//! Nothing here knows the domain. **Source:** `hvm/dm_op.h`, `hvm/ioreq.h`; the order of the error checks is that of
//! Xen 4.17.

mod range_set;
mod request;
mod ring;
mod server;
mod unfinished;

pub use range_set::RangeSet;
pub use request::{Kind, Request, Scribbled, State};
pub use server::{Answer, Buffering, GuestFrame, Page, SERVER_HEAP_BYTES, Server, ServerParts, Which};
pub use unfinished::{Progress, Then, Unfinished};

use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use xen_abi::dm_op::{XEN_DMOP_IO_RANGE_MEMORY, XEN_DMOP_IO_RANGE_PCI, XEN_DMOP_IO_RANGE_PORT};
use xen_abi::{DomId, Errno, Gfn};
use xenolith_sync::{Arc, SpinLock, rank};

/// The most servers of a guest. **Source:** Xen's `MAX_NR_IOREQ_SERVERS`.
pub const MOST_SERVERS: usize = 8;
/// Bit of the PCI address port that makes accesses to the data ports cycles of configuration.
/// **Source:** PCI Local Bus Specification 3.0, 3.2.2.3.2.
const PCI_ENABLED: u32 = 1 << 31;

/// A server and what is directed to it.
struct Slot {
    server: Arc<Server>,
    ports: RangeSet,
    memory: RangeSet,
    functions: RangeSet,
}

impl Slot {
    fn ranges(&mut self, kind: u32) -> Result<&mut RangeSet, Errno> {
        match kind {
            XEN_DMOP_IO_RANGE_PORT => Ok(&mut self.ports),
            XEN_DMOP_IO_RANGE_MEMORY => Ok(&mut self.memory),
            XEN_DMOP_IO_RANGE_PCI => Ok(&mut self.functions),
            _ => Err(Errno::EINVAL),
        }
    }
}

#[derive(Default)]
struct Slots {
    servers: [Option<Slot>; MOST_SERVERS],
    /// The guest is being destroyed: there will be no others.
    closed: bool,
}

impl Slots {
    /// Returns the slot of a server that `emulator` created.
    fn of(&mut self, id: u16, emulator: DomId) -> Result<&mut Option<Slot>, Errno> {
        let slot = self.servers.get_mut(usize::from(id)).ok_or(Errno::ENOENT)?;
        let owner = slot.as_ref().ok_or(Errno::ENOENT)?.server.emulator();
        if owner == emulator { Ok(slot) } else { Err(Errno::EPERM) }
    }

    fn slot(&mut self, id: u16, emulator: DomId) -> Result<&mut Slot, Errno> {
        self.of(id, emulator)?.as_mut().ok_or(Errno::ENOENT)
    }
}

/// The servers of a guest that has a device model.
#[derive(Default)]
pub struct DeviceModel {
    slots: SpinLock<Slots, rank::Device>,
    /// What the guest wrote last, 4 bytes wide, to the PCI address port.
    pci_address: AtomicU32,
    /// Frames of the guest that carry pages of servers, by their distance from the first such frame.
    gfns_in_use: AtomicU64,
    /// Which of the two single frames carry pages of servers.
    singles_in_use: AtomicU8,
    /// Pages have left the guest of which servers may have mappings.
    has_stale_mappings: AtomicBool,
    /// One more than the number of the server that gets the writes to watched memory; 0 for none.
    watcher: AtomicU8,
}

impl DeviceModel {
    /// Adds a server, and returns its number.
    ///
    /// **Errors:** with the server: `ENOSPC` for more than [`MOST_SERVERS`]; `EINVAL` once the guest is being destroyed.
    pub fn insert(&self, server: Arc<Server>) -> Result<u16, (Errno, Arc<Server>)> {
        let mut slots = self.slots.lock();
        if slots.closed {
            return Err((Errno::EINVAL, server));
        }
        let Some((id, slot)) = (0..).zip(&mut slots.servers).find(|(_, slot)| slot.is_none()) else {
            return Err((Errno::ENOSPC, server));
        };
        let none = RangeSet::default;
        *slot = Some(Slot { server, ports: none(), memory: none(), functions: none() });
        Ok(id)
    }

    /// Returns a server that `emulator` created.
    ///
    /// **Errors:** `ENOENT`; `EPERM` for another domain's.
    pub fn server(&self, id: u16, emulator: DomId) -> Result<Arc<Server>, Errno> {
        Ok(self.slots.lock().slot(id, emulator)?.server.clone())
    }

    /// Takes a server out; the caller closes it.
    ///
    /// **Errors:** as [`DeviceModel::server`].
    pub fn remove(&self, id: u16, emulator: DomId) -> Result<Arc<Server>, Errno> {
        let mut slots = self.slots.lock();
        let slot = slots.of(id, emulator)?.take();
        if self.watcher() == Some(usize::from(id)) {
            self.watcher.store(0, Ordering::Relaxed);
        }
        drop(slots);
        slot.map(|slot| slot.server).ok_or(Errno::ENOENT)
    }

    /// Returns the number of the server that gets the writes to watched memory.
    pub fn watcher(&self) -> Option<usize> {
        usize::from(self.watcher.load(Ordering::Relaxed)).checked_sub(1)
    }

    /// Lets a server get the writes to watched memory, or ends that.
    ///
    /// **Errors:** as [`DeviceModel::server`]; `EBUSY` if a server gets them already; `EINVAL` to end it for another one.
    pub fn watch(&self, id: u16, emulator: DomId, begin: bool) -> Result<(), Errno> {
        let mut slots = self.slots.lock();
        slots.slot(id, emulator)?;
        let watcher = match (begin, self.watcher()) {
            (true, Some(_)) => return Err(Errno::EBUSY),
            (true, None) => id.wrapping_add(1) as u8,
            (false, there) if there == Some(usize::from(id)) => 0,
            (false, _) => return Err(Errno::EINVAL),
        };
        self.watcher.store(watcher, Ordering::Relaxed);
        Ok(())
    }

    /// Takes some server out, of any emulator. From now on none is added if the guest is `dying`. None once there is none
    /// left.
    pub fn remove_any(&self, dying: bool) -> Option<Arc<Server>> {
        let mut slots = self.slots.lock();
        self.watcher.store(0, Ordering::Relaxed);
        slots.closed |= dying;
        let slot = slots.servers.iter_mut().find_map(Option::take);
        drop(slots);
        slot.map(|slot| slot.server)
    }

    /// Directs a range of the kind `XEN_DMOP_IO_RANGE_*` to a server.
    ///
    /// **Errors:** `EINVAL` for a range that ends before it begins; as [`DeviceModel::server`]; `EINVAL` for another
    /// kind; `EEXIST` if part of it is directed to the same server already; `ENOMEM`, also for too many ranges.
    pub fn map_range(&self, id: u16, emulator: DomId, kind: u32, range: RangeInclusive<u64>) -> Result<(), Errno> {
        if range.is_empty() {
            return Err(Errno::EINVAL);
        }
        let mut slots = self.slots.lock();
        let ranges = slots.slot(id, emulator)?.ranges(kind)?;
        if ranges.overlaps(&range) {
            return Err(Errno::EEXIST);
        }
        ranges.insert(&range)
    }

    /// Ends that a range is directed to a server.
    ///
    /// **Errors:** `EINVAL` for a range that ends before it begins; as [`DeviceModel::server`]; `EINVAL` for another
    /// kind; `ENOENT` unless all of it is directed to the server; `ENOMEM` if too many ranges would be left.
    pub fn unmap_range(&self, id: u16, emulator: DomId, kind: u32, range: RangeInclusive<u64>) -> Result<(), Errno> {
        if range.is_empty() {
            return Err(Errno::EINVAL);
        }
        let mut slots = self.slots.lock();
        let ranges = slots.slot(id, emulator)?.ranges(kind)?;
        if !ranges.contains(&range) {
            return Err(Errno::ENOENT);
        }
        ranges.remove(&range)
    }

    /// Notes what the guest writes to the PCI address port, 4 bytes wide.
    pub fn latch_pci_address(&self, value: u32) {
        self.pci_address.store(value, Ordering::Relaxed);
    }

    /// Returns what the guest wrote last to the PCI address port.
    pub fn pci_address(&self) -> u32 {
        self.pci_address.load(Ordering::Relaxed)
    }

    /// Finds the server of an access, the latest one first, and gives the request the form that it gets there: an access
    /// to the PCI data ports becomes one of the function's configuration. None if no server that is enabled has all
    /// of it. `watched` says that it is a write to watched memory, which is for one server alone.
    pub fn select(&self, request: &mut Request, watched: bool) -> Option<Arc<Server>> {
        let function = request.pci_config(self.pci_address());
        let slots = self.slots.lock();
        if watched {
            let slot = slots.servers.get(self.watcher()?)?.as_ref()?;
            return slot.server.is_enabled().then(|| slot.server.clone());
        }
        let mut enabled = slots.servers.iter().rev().flatten().filter(|slot| slot.server.is_enabled());
        if let Some(config) = function {
            let function = config.address >> u32::BITS;
            let slot = enabled.find(|slot| slot.functions.contains(&(function..=function)))?;
            *request = config;
            return Some(slot.server.clone());
        }
        let range = request.range()?;
        let has_it = |slot: &&Slot| match request.kind {
            Kind::Port => slot.ports.contains(&range),
            _ => slot.memory.contains(&range),
        };
        enabled.find(has_it).map(|slot| slot.server.clone())
    }

    /// Notes that pages have left the guest, of which servers may have mappings.
    pub fn note_stale_mappings(&self) {
        self.has_stale_mappings.store(true, Ordering::Relaxed);
    }

    /// Returns whether servers are to be told that pages have left the guest, once for each time.
    pub fn take_stale_mappings(&self) -> bool {
        self.has_stale_mappings.load(Ordering::Relaxed) && self.has_stale_mappings.swap(false, Ordering::Relaxed)
    }

    /// Returns the enabled server with the highest number below `below`, and its number.
    pub fn enabled_below(&self, below: usize) -> Option<(usize, Arc<Server>)> {
        let slots = self.slots.lock();
        let mut latest = slots.servers.iter().enumerate().take(below).rev();
        latest.find_map(|(id, slot)| {
            let server = &slot.as_ref()?.server;
            server.is_enabled().then(|| (id, server.clone()))
        })
    }

    /// Takes one of the `count` frames from `first` on for a page of a server; None if all are in use.
    pub fn take_gfn(&self, first: Gfn, count: u64) -> Option<Gfn> {
        let take = |used: u64| {
            let free = used.trailing_ones();
            (u64::from(free) < count.min(u64::from(u64::BITS))).then(|| used | 1 << free)
        };
        let before = self.gfns_in_use.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        first.checked_add(before.trailing_ones().into())
    }

    /// Takes one of the two single frames, where it is set (not 0), for a page of a server; None if both are in use.
    pub fn take_single(&self, frames: [Gfn; 2]) -> Option<Gfn> {
        frames.into_iter().zip([1, 2]).filter(|(gfn, _)| gfn.0 != 0).find_map(|(gfn, bit)| {
            let was_free = self.singles_in_use.fetch_or(bit, Ordering::AcqRel) & bit == 0;
            was_free.then_some(gfn)
        })
    }

    /// Gives a frame back that [`DeviceModel::take_single`] took; any other is passed over.
    pub fn give_back_single(&self, frames: [Gfn; 2], gfn: Gfn) {
        for (_, bit) in frames.into_iter().zip([1, 2]).filter(|(single, _)| *single == gfn) {
            self.singles_in_use.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Gives a frame back that [`DeviceModel::take_gfn`] took.
    pub fn give_back_gfn(&self, first: Gfn, gfn: Gfn) {
        let bit = gfn.0.checked_sub(first.0).and_then(|distance| u32::try_from(distance).ok());
        let mask = bit.and_then(|bit| 1u64.checked_shl(bit)).unwrap_or(0);
        self.gfns_in_use.fetch_and(!mask, Ordering::AcqRel);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
