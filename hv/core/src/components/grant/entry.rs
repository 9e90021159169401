//! The protocol on an entry of a grant table, which the granting domain may change at any moment.
//!
//! The guest gives and takes permission; the hypervisor sets the in-use flags (reading, writing). In version 1 all of
//! an entry is one 64-bit word, so permission and use change atomically. In version 2 the flags are in a separate
//! status word: the hypervisor sets them first and checks the permission again afterwards, the guest takes permission
//! away first and checks the flags afterwards, so at least one of the two notices.

use core::sync::atomic::{AtomicU64, Ordering};
use xen_abi::grant_entry::{
    GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_SUB_PAGE, GTF_TRANSITIVE, GTF_TYPE_MASK, GTF_WRITING,
};
use xenolith_hal::{DomId, Gfn, GrantRef, PageWords};
use xenolith_sync::atomic::fence;

/// How often a step is retried if the guest changes the entry meanwhile.
const ATTEMPTS: usize = 5;

/// A 64-bit word of memory that a guest may change.
pub trait SharedWord {
    fn load(&self) -> u64;
    /// Replaces `current` by `new`, atomically.
    ///
    /// **Errors:** the value found instead of `current`.
    fn exchange(&self, current: u64, new: u64) -> Result<u64, u64>;
    fn set(&self, bits: u64) -> u64;
    fn keep(&self, bits: u64) -> u64;
}

macro_rules! shared_word {
    ($atomic:ty) => {
        impl SharedWord for $atomic {
            fn load(&self) -> u64 {
                self.load(Ordering::SeqCst)
            }

            fn exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
                self.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst)
            }

            fn set(&self, bits: u64) -> u64 {
                self.fetch_or(bits, Ordering::SeqCst)
            }

            fn keep(&self, bits: u64) -> u64 {
                self.fetch_and(bits, Ordering::SeqCst)
            }
        }
    };
}

shared_word!(AtomicU64);
// The model checker's own, which is not core's.
#[cfg(loom)]
shared_word!(xenolith_sync::atomic::AtomicU64);

/// The permission, or the state of the entry, does not allow the use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

/// The first word of an entry, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub flags: u16,
    pub domain: DomId,
    /// Version 1: the frame. Version 2: offset and length of a part, or the third domain.
    pub rest: u32,
}

impl Header {
    pub const fn of(word: u64) -> Self {
        Self { flags: word as u16, domain: DomId((word >> 16) as u16), rest: (word >> 32) as u32 }
    }

    pub const fn kind(self) -> u16 {
        self.flags & GTF_TYPE_MASK
    }
}

/// A requested use of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wish {
    /// The domain that uses it.
    pub domain: DomId,
    pub write: bool,
    /// To map it, which needs a whole page; otherwise to copy.
    pub map: bool,
    /// The entry is in use by this domain already, so only write access is new.
    pub pinned: bool,
}

impl Wish {
    fn use_bits(self) -> u64 {
        u64::from(if self.write { GTF_READING | GTF_WRITING } else { GTF_READING })
    }

    fn allowed_by(self, header: Header, with_transitive: bool) -> bool {
        let mask = if self.map { GTF_TYPE_MASK | GTF_SUB_PAGE } else { GTF_TYPE_MASK };
        let kind = header.flags & mask;
        let kind_fits = kind == GTF_PERMIT_ACCESS || (with_transitive && !self.map && kind == GTF_TRANSITIVE);
        let entry_fits = self.pinned || (kind_fits && header.domain == self.domain);
        entry_fits && !(self.write && header.flags & GTF_READONLY != 0)
    }
}

/// Sets the in-use flags of an entry of version 1; returns the entry as it was at that moment.
///
/// **Errors:** [`Refused`] if it does not allow the use, or the guest keeps changing it.
pub fn pin_v1(entry: &impl SharedWord, wish: Wish) -> Result<Header, Refused> {
    let mut word = entry.load();
    for _ in 0..ATTEMPTS {
        if !wish.allowed_by(Header::of(word), false) {
            return Err(Refused);
        }
        match entry.exchange(word, word | wish.use_bits()) {
            Ok(_) => return Ok(Header::of(word)),
            Err(now) => word = now,
        }
    }
    Err(Refused)
}

/// Sets the in-use flags of an entry of version 2; `shift` is the place of its status in the status word. Returns the
/// header as it was when it was last checked.
///
/// **Errors:** [`Refused`] if it does not allow the use, before or after the flags were set.
pub fn pin_v2(entry: &impl SharedWord, status: &impl SharedWord, shift: u32, wish: Wish) -> Result<Header, Refused> {
    if !wish.allowed_by(Header::of(entry.load()), true) {
        return Err(Refused);
    }
    let before = status.set(wish.use_bits() << shift);
    fence(Ordering::SeqCst);
    let header = Header::of(entry.load());
    if !wish.allowed_by(header, true) {
        status.keep(!((wish.use_bits() << shift) & !before));
        return Err(Refused);
    }
    Ok(header)
}

/// Clears in-use flags: `bits` of `GTF_READING` and `GTF_WRITING`.
pub fn unpin(word: &impl SharedWord, shift: u32, bits: u16) {
    word.keep(!(u64::from(bits) << shift));
}

/// One entry of a table, by version.
#[derive(Clone, Copy)]
pub enum Entry<'a> {
    V1 { word: &'a AtomicU64 },
    V2 { first: &'a AtomicU64, second: &'a AtomicU64, status: &'a AtomicU64, shift: u32 },
}

/// What a pinned entry grants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granted {
    /// A frame, of which `length` bytes from `offset`.
    Frame { gfn: Gfn, offset: u16, length: u16, part: bool },
    /// A grant of another domain (transitive).
    Transitive { domain: DomId, reference: GrantRef },
}

/// The length of a whole page in an entry.
pub const WHOLE_PAGE: u16 = 4096;

impl<'a> Entry<'a> {
    /// Returns entry `index` of a page of version 1.
    pub fn v1(page: &'a PageWords, index: usize) -> Option<Self> {
        Some(Self::V1 { word: page.words().get(index)? })
    }

    /// Returns entry `index` of a page of version 2, with entry `status_index` of its status page.
    pub fn v2(page: &'a PageWords, index: usize, status: &'a PageWords, status_index: usize) -> Option<Self> {
        let (first, second) = (page.words().get(index << 1)?, page.words().get(index << 1 | 1)?);
        let shift = ((status_index % 4) as u32) << 4;
        Some(Self::V2 { first, second, status: status.words().get(status_index / 4)?, shift })
    }

    /// Returns the current header.
    pub fn header(&self) -> Header {
        match self {
            Self::V1 { word } => Header::of(word.load(Ordering::SeqCst)),
            Self::V2 { first, .. } => Header::of(first.load(Ordering::SeqCst)),
        }
    }

    /// Returns the frame that the entry names now, whatever its permission; nothing of use for a transitive one.
    pub fn frame(&self) -> Gfn {
        match self {
            Self::V1 { word } => Gfn(u64::from(Header::of(word.load(Ordering::SeqCst)).rest)),
            Self::V2 { second, .. } => Gfn(second.load(Ordering::SeqCst)),
        }
    }

    /// Sets the in-use flags and returns what the entry grants; each word of it is read once after that.
    ///
    /// **Errors:** [`Refused`].
    pub fn pin(&self, wish: Wish) -> Result<Granted, Refused> {
        match self {
            Self::V1 { word } => {
                let header = pin_v1(*word, wish)?;
                let gfn = Gfn(u64::from(header.rest));
                Ok(Granted::Frame { gfn, offset: 0, length: WHOLE_PAGE, part: false })
            }
            Self::V2 { first, second, status, shift } => {
                let header = pin_v2(*first, *status, *shift, wish)?;
                let second = second.load(Ordering::SeqCst);
                if header.kind() == GTF_TRANSITIVE {
                    let domain = DomId(header.rest as u16);
                    return Ok(Granted::Transitive { domain, reference: GrantRef(second as u32) });
                }
                let part = header.flags & GTF_SUB_PAGE != 0;
                let (offset, length) =
                    if part { (header.rest as u16, (header.rest >> 16) as u16) } else { (0, WHOLE_PAGE) };
                Ok(Granted::Frame { gfn: Gfn(second), offset, length, part })
            }
        }
    }

    /// Clears in-use flags.
    pub fn unpin(&self, bits: u16) {
        match self {
            Self::V1 { word } => unpin(*word, 0, bits),
            Self::V2 { status, shift, .. } => unpin(*status, *shift, bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: Wish = Wish { domain: DomId(2), write: false, map: true, pinned: false };
    const WRITER: Wish = Wish { write: true, ..READER };

    fn word(flags: u16, domain: u16, rest: u32) -> u64 {
        u64::from(flags) | u64::from(domain) << 16 | u64::from(rest) << 32
    }

    /// A word that another writer changes before each exchange.
    struct Restless(AtomicU64);

    impl SharedWord for Restless {
        fn load(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }
        fn exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
            self.0.fetch_add(1 << 32, Ordering::SeqCst);
            SharedWord::exchange(&self.0, current, new)
        }
        fn set(&self, bits: u64) -> u64 {
            SharedWord::set(&self.0, bits)
        }
        fn keep(&self, bits: u64) -> u64 {
            SharedWord::keep(&self.0, bits)
        }
    }

    #[test]
    fn a_writer_is_marked_as_reading_and_writing() {
        let entry = AtomicU64::new(word(GTF_PERMIT_ACCESS, 2, 77));
        let header = pin_v1(&entry, WRITER).unwrap();
        assert_eq!((header.rest, header.domain), (77, DomId(2)));
        assert_eq!(entry.into_inner(), word(GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING, 2, 77));
    }

    #[test]
    fn a_wrong_domain_a_wrong_kind_and_a_read_only_grant_are_refused_and_left_alone() {
        for (flags, domain, wish) in [
            (GTF_PERMIT_ACCESS, 3, READER),
            (0, 2, READER),
            (GTF_TRANSITIVE, 2, READER),
            (GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 2, READER),
            (GTF_PERMIT_ACCESS | GTF_READONLY, 2, WRITER),
        ] {
            let entry = AtomicU64::new(word(flags, domain, 5));
            assert_eq!(pin_v1(&entry, wish), Err(Refused));
            assert_eq!(entry.into_inner(), word(flags, domain, 5));
        }
    }

    #[test]
    fn a_guest_that_never_holds_still_is_refused() {
        let entry = Restless(AtomicU64::new(word(GTF_PERMIT_ACCESS, 2, 5)));
        assert_eq!(pin_v1(&entry, READER), Err(Refused));
    }

    #[test]
    fn an_entry_in_use_may_be_changed_and_still_be_read_but_not_be_written_if_read_only() {
        let entry = AtomicU64::new(word(GTF_READONLY, 9, 5));
        assert!(pin_v1(&entry, Wish { pinned: true, ..READER }).is_ok());
        assert_eq!(pin_v1(&entry, Wish { pinned: true, ..WRITER }), Err(Refused));
    }

    #[test]
    fn a_transitive_grant_may_be_copied_and_not_mapped() {
        let (entry, status) = (AtomicU64::new(word(GTF_TRANSITIVE, 2, 0)), AtomicU64::new(0));
        assert_eq!(pin_v2(&entry, &status, 16, READER), Err(Refused));
        assert!(pin_v2(&entry, &status, 16, Wish { map: false, ..WRITER }).is_ok());
        assert_eq!(status.into_inner(), u64::from(GTF_READING | GTF_WRITING) << 16);
    }

    #[test]
    fn permission_taken_away_while_it_was_marked_is_noticed() {
        /// A status word at whose change the guest takes its permission back.
        struct Status<'a>(&'a AtomicU64, AtomicU64);
        impl SharedWord for Status<'_> {
            fn load(&self) -> u64 {
                SharedWord::load(&self.1)
            }
            fn exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
                SharedWord::exchange(&self.1, current, new)
            }
            fn set(&self, bits: u64) -> u64 {
                self.0.store(0, Ordering::SeqCst);
                SharedWord::set(&self.1, bits)
            }
            fn keep(&self, bits: u64) -> u64 {
                SharedWord::keep(&self.1, bits)
            }
        }
        let entry = AtomicU64::new(word(GTF_PERMIT_ACCESS, 2, 0));
        let status = Status(&entry, AtomicU64::new(0));
        assert_eq!(pin_v2(&entry, &status, 0, READER), Err(Refused));
        assert_eq!(status.load(), 0);
    }

    #[test]
    fn a_part_of_a_page_comes_with_its_bounds() {
        let (page, status) = (PageWords::new(), PageWords::new());
        page.store_u64(16, word(GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 2, 0x0040_0100)).unwrap();
        page.store_u64(24, 9).unwrap();
        let entry = Entry::v2(&page, 1, &status, 1).unwrap();
        let granted = entry.pin(Wish { map: false, ..READER }).unwrap();
        assert_eq!(granted, Granted::Frame { gfn: Gfn(9), offset: 0x100, length: 0x40, part: true });
        assert_eq!(status.load_u16(2), Some(GTF_READING));
        entry.unpin(GTF_READING);
        assert_eq!(status.load_u16(2), Some(0));
    }
}
