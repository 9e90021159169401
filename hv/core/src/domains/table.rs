//! The domain table.

use crate::domains::domain::{Domain, NOBODY};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use xen_abi::{DomId, Errno};
use xenolith_hal::Machine;
use xenolith_sync::{Arc, ArcSlot, Once};

/// Slots in one part of the table.
const PART: usize = 256;
/// Parts of the table: for every possible domain number.
const PARTS: usize = DomId::FIRST_RESERVED.0 as usize / PART + 1;

const BITS: usize = u64::BITS as usize;

/// Slots for numbers that follow each other.
struct Part<M: Machine> {
    slots: Box<[ArcSlot<Domain<M>>]>,
    /// A bit for each slot that may hold a domain, so that a look for the next one passes over the empty ones.
    taken: [AtomicU64; PART / BITS],
}

impl<M: Machine> Part<M> {
    /// Notes whether a slot holds a domain. Only for the CPU in control.
    fn note(&self, number: usize, holds: bool) {
        let (at, bit) = (number % PART, 1 << (number % BITS));
        if let Some(word) = self.taken.get(at / BITS) {
            let _ = if holds { word.fetch_or(bit, Ordering::Release) } else { word.fetch_and(!bit, Ordering::Release) };
        }
    }

    /// Returns the first domain of those from slot `from` on.
    fn first_from(&self, from: usize) -> Option<Arc<Domain<M>>> {
        self.taken.iter().enumerate().skip(from / BITS).find_map(|(index, word)| {
            let from = if index == from / BITS { from % BITS } else { 0 };
            let mut taken = word.load(Ordering::Acquire) & u64::MAX << from;
            while taken != 0 {
                // Another CPU may have taken a domain out since.
                let at = index.wrapping_mul(BITS) | taken.trailing_zeros() as usize;
                let found = self.slots.get(at).and_then(ArcSlot::get);
                if found.is_some() {
                    return found;
                }
                taken &= taken.wrapping_sub(1);
            }
            None
        })
    }
}

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

    fn part(&self, id: DomId) -> Option<&Part<M>> {
        self.parts.get(usize::from(id.0) / PART)?.get()
    }

    fn slot(&self, id: DomId) -> Option<&ArcSlot<Domain<M>>> {
        self.part(id)?.slots.get(usize::from(id.0) % PART)
    }

    /// Returns the domain with this number.
    pub fn get(&self, id: DomId) -> Option<Arc<Domain<M>>> {
        self.slot(id)?.get()
    }

    /// Returns the first domain whose number is `id` or above.
    pub fn first_from(&self, id: DomId) -> Option<Arc<Domain<M>>> {
        let number = usize::from(id.0);
        self.parts
            .iter()
            .enumerate()
            .skip(number / PART)
            .find_map(|(index, part)| part.get()?.first_from(if index == number / PART { number % PART } else { 0 }))
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
        let part = self.part(id).ok_or(Errno::ENOMEM)?;
        let slot = part.slots.get(usize::from(id.0) % PART).ok_or(Errno::EINVAL)?;
        slot.set(domain).map_err(|_| Errno::EEXIST)?;
        part.note(usize::from(id.0), true);
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
            let _ = part.set(Part { slots: slots.into_boxed_slice(), taken: Default::default() });
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
        let part = self.part(domain.id)?;
        let removed = part.slots.get(usize::from(domain.id.0) % PART)?.take()?;
        part.note(usize::from(domain.id.0), false);
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.dead.fetch_sub(1, Ordering::SeqCst);
        Some(removed)
    }
}
