//! Active grants (Xen's active grant entries): the state of grants that are in use.

use super::entry::WHOLE_PAGE;
use xen_abi::grant_entry::{GTF_READING, GTF_WRITING};
use xenolith_hal::{DomId, GrantRef, Mfn};

/// The most uses of one kind of one grant at a time.
pub const MOST_PINS: u8 = 128;

/// A grant of a third domain behind a transitive one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    pub domain: DomId,
    pub reference: GrantRef,
    /// It is in use for writing.
    pub write: bool,
}

/// The uses of one grant, and what it granted when its first use began: a guest that changes the entry meanwhile does
/// not change this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Active {
    pub(super) readers: u8,
    pub(super) writers: u8,
    /// Who uses it.
    pub domain: DomId,
    pub mfn: Mfn,
    /// Who owns the page.
    pub owner: DomId,
    pub offset: u16,
    pub length: u16,
    /// Not a whole page of the granting domain's own: cannot be mapped.
    pub part: bool,
    pub origin: Option<Origin>,
}

impl Active {
    /// An unused grant.
    pub const UNUSED: Self = Self {
        readers: 0,
        writers: 0,
        domain: DomId::INVALID,
        mfn: Mfn::INVALID,
        owner: DomId::INVALID,
        offset: 0,
        length: WHOLE_PAGE,
        part: false,
        origin: None,
    };

    /// Returns true if it is in use.
    pub const fn is_used(&self) -> bool {
        self.readers != 0 || self.writers != 0
    }

    /// Returns true if the entry carries the in-use flags for such a use already.
    pub const fn covers(&self, write: bool) -> bool {
        self.is_used() && (!write || self.writers != 0)
    }

    /// Returns true if another domain uses it, or its count is at the maximum.
    pub fn conflicts(&self, domain: DomId) -> bool {
        self.is_used() && (self.domain != domain || self.readers >= MOST_PINS || self.writers >= MOST_PINS)
    }

    /// Counts a use.
    pub const fn add(&mut self, write: bool) {
        let count = if write { &mut self.writers } else { &mut self.readers };
        *count = count.saturating_add(1);
    }

    /// Counts a use out; returns the in-use flags that the entry must lose.
    pub const fn remove(&mut self, write: bool) -> u16 {
        let count = if write { &mut self.writers } else { &mut self.readers };
        *count = count.saturating_sub(1);
        self.idle_marks(write)
    }

    /// Returns the in-use flags that no use needs; the one for writing only if `write` says that it may be set.
    pub const fn idle_marks(&self, write: bool) -> u16 {
        let writing = if write && self.writers == 0 { GTF_WRITING } else { 0 };
        let reading = if self.is_used() { 0 } else { GTF_READING };
        writing | reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_with_the_last_use_that_needs_them() {
        let mut active = Active::UNUSED;
        active.add(true);
        active.add(false);
        active.add(true);
        assert_eq!(active.remove(true), 0);
        assert_eq!(active.remove(true), GTF_WRITING);
        assert_eq!(active.remove(false), GTF_READING);
    }

    #[test]
    fn a_grant_in_use_is_refused_to_others_and_past_its_limit() {
        let mut active = Active { domain: DomId(2), ..Active::UNUSED };
        assert!(!active.conflicts(DomId(3)));
        (0..MOST_PINS - 1).for_each(|_| active.add(false));
        assert!(active.conflicts(DomId(3)));
        assert!(!active.conflicts(DomId(2)));
        active.add(false);
        assert!(active.conflicts(DomId(2)));
    }
}
