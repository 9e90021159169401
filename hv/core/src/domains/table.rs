//! The domain table.

use crate::domains::domain::{Domain, NOBODY};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use xen_abi::{DomId, Errno};
use xenolith_hal::Machine;
use xenolith_sync::{Arc, ArcSlot, Once};

/// Slots in one part of the table.
const PART: usize = 256;
/// Parts of the table: for every possible domain number.
const PARTS: usize = DomId::FIRST_RESERVED.0 as usize / PART + 1;

type Part<M> = Box<[ArcSlot<Domain<M>>]>;

/// Looks up domains by number, without a lock.
pub struct DomainTable<M: Machine> {
    /// Allocated when a domain gets the first of its numbers.
    parts: [Once<Part<M>>; PARTS],
    count: AtomicU32,
    /// A CPU is creating, changing or destroying a domain (Xen's domctl lock).
    in_control: AtomicBool,
    /// The number that was assigned last.
    last_number: AtomicU16,
    /// The number of dead domains whose pages other domains still use.
    dead: AtomicU32,
    /// The one of them that died last, or [`NOBODY`]. Each knows the one before it, so that live domains cost nothing
    /// when a dead one is looked for. Changed only by the CPU in control.
    last_dead: AtomicU16,
}

/// The right to create, change and destroy domains: one CPU has it at a time.
pub struct InControl<'a>(&'a AtomicBool);

impl Drop for InControl<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<M: Machine> Default for DomainTable<M> {
    fn default() -> Self {
        Self {
            parts: core::array::from_fn(|_| Once::new()),
            count: AtomicU32::new(0),
            in_control: AtomicBool::new(false),
            last_number: AtomicU16::new(0),
            dead: AtomicU32::new(0),
            last_dead: AtomicU16::new(NOBODY.0),
        }
    }
}

impl<M: Machine> DomainTable<M> {
    /// Takes the right to create, change and destroy domains; None while another CPU has it. No CPU waits for it: a
    /// call that does not get it is made again.
    pub fn take_control(&self) -> Option<InControl<'_>> {
        (!self.in_control.swap(true, Ordering::Acquire)).then_some(InControl(&self.in_control))
    }

    /// Returns a number that no domain has, not 0 and not one assigned recently; None if all are taken. Only for the
    /// CPU in control.
    pub fn free_number(&self) -> Option<DomId> {
        let last = self.last_number.load(Ordering::Relaxed);
        let rest = last.saturating_add(1)..DomId::FIRST_RESERVED.0;
        let number = rest.chain(1..=last).find(|number| self.get(DomId(*number)).is_none())?;
        self.last_number.store(number, Ordering::Relaxed);
        Some(DomId(number))
    }

    fn slot(&self, id: DomId) -> Option<&ArcSlot<Domain<M>>> {
        let number = usize::from(id.0);
        self.parts.get(number / PART)?.get()?.get(number % PART)
    }

    /// Returns every slot from a number on that may hold a domain.
    fn slots_from(&self, id: DomId) -> impl Iterator<Item = &ArcSlot<Domain<M>>> {
        let number = usize::from(id.0);
        let parts = self.parts.iter().enumerate().skip(number / PART);
        parts.filter_map(|(index, part)| Some((index, part.get()?))).flat_map(move |(index, part)| {
            let skipped = if index == number / PART { number % PART } else { 0 };
            part.iter().skip(skipped)
        })
    }

    /// Returns the domain with this number.
    pub fn get(&self, id: DomId) -> Option<Arc<Domain<M>>> {
        self.slot(id)?.get()
    }

    /// Returns the first domain whose number is `id` or above.
    pub fn first_from(&self, id: DomId) -> Option<Arc<Domain<M>>> {
        // Another CPU may take a value out between the two looks.
        self.slots_from(id).filter(|slot| slot.is_set()).find_map(ArcSlot::get)
    }

    /// Returns the number of domains.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Adds a domain.
    ///
    /// **Errors:** `EEXIST` if the number is taken, `EINVAL` if no domain can have it, `ENOMEM` if memory is short.
    pub fn insert(&self, domain: Arc<Domain<M>>) -> Result<(), Errno> {
        let id = domain.id;
        if !id.is_ordinary() {
            return Err(Errno::EINVAL);
        }
        self.make_room(id)?;
        self.slot(id).ok_or(Errno::ENOMEM)?.set(domain).map_err(|_| Errno::EEXIST)?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    fn make_room(&self, id: DomId) -> Result<(), Errno> {
        let part = self.parts.get(usize::from(id.0) / PART).ok_or(Errno::EINVAL)?;
        if part.get().is_none() {
            let mut slots = Vec::new();
            slots.try_reserve_exact(PART).map_err(|_| Errno::ENOMEM)?;
            slots.resize_with(PART, ArcSlot::new);
            // Another CPU may have made it meanwhile: then that is the one.
            let _ = part.set(slots.into_boxed_slice());
        }
        Ok(())
    }

    /// Adds a domain to the dead ones. Only for the CPU in control.
    pub(crate) fn note_dead(&self, domain: &Domain<M>) {
        domain.died_before.store(self.last_dead.load(Ordering::Relaxed), Ordering::Relaxed);
        self.last_dead.store(domain.id.0, Ordering::Relaxed);
        self.dead.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns true while there are dead domains in the table.
    pub fn has_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst) != 0
    }

    /// Removes a dead domain for which `gone` returns true; other CPUs may still hold it. Only for the CPU in control.
    pub(crate) fn remove_dead(&self, gone: impl Fn(&Domain<M>) -> bool) -> Option<Arc<Domain<M>>> {
        let mut later: Option<Arc<Domain<M>>> = None;
        let mut domain = self.get(DomId(self.last_dead.load(Ordering::Relaxed)))?;
        while !gone(&domain) {
            let before = self.get(DomId(domain.died_before.load(Ordering::Relaxed)))?;
            later = Some(core::mem::replace(&mut domain, before));
        }
        let link = later.as_ref().map_or(&self.last_dead, |later| &later.died_before);
        link.store(domain.died_before.load(Ordering::Relaxed), Ordering::Relaxed);
        let removed = self.slot(domain.id)?.take()?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.dead.fetch_sub(1, Ordering::SeqCst);
        Some(removed)
    }
}
