//! Two rings of bytes, one each way, in pages that a page of indexes names: as 9pfs and PV Calls have them.
//!
//! The front end chooses how many pages there are, up to what the back end offered in xenstore. "In" is what it reads, and has
//! the first half of the data.

use std::fmt;
use std::mem::offset_of;

use xen_abi::io::ninepfs::NinepfsDataIntf;
use xen_abi::io::pvcalls::PvcallsDataIntf;

use crate::{ByteReader, ByteRing, ByteWriter, Shared};

/// Bytes of a page.
const PAGE: usize = 4096;

// One form serves both: the page of PV Calls has two words of errors where that of 9pfs has padding.
const IN_CONSUMED: usize = offset_of!(NinepfsDataIntf, in_cons);
const IN_PRODUCED: usize = offset_of!(NinepfsDataIntf, in_prod);
const OUT_CONSUMED: usize = offset_of!(NinepfsDataIntf, out_cons);
const OUT_PRODUCED: usize = offset_of!(NinepfsDataIntf, out_prod);
const ORDER: usize = offset_of!(NinepfsDataIntf, ring_order);
const _: () = {
    assert!(IN_CONSUMED == offset_of!(PvcallsDataIntf, in_cons) && IN_PRODUCED == offset_of!(PvcallsDataIntf, in_prod));
    assert!(OUT_CONSUMED == offset_of!(PvcallsDataIntf, out_cons) && ORDER == offset_of!(PvcallsDataIntf, ring_order));
    assert!(OUT_PRODUCED == offset_of!(PvcallsDataIntf, out_prod));
};
/// Where the references of the data's pages lie, and how long one is.
const REFERENCES: usize = size_of::<NinepfsDataIntf>();
const REFERENCE: usize = 4;

/// How many pages a ring has, as the base 2 logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order(u32);

/// Why rings are not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderError {
    /// More pages than this side offered.
    TooLarge { order: u32, most: u32 },
    /// A number that is none.
    NoNumber,
    /// The memory of the indexes or of the data is not as long as it is to be.
    Length { bytes: usize, wanted: usize },
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { order, most } => {
                write!(f, "a ring of 2^{order} pages, where at most 2^{most} were offered")
            }
            Self::NoNumber => f.write_str("the order of a ring that is no number"),
            Self::Length { bytes, wanted } => write!(f, "{bytes} bytes are mapped of a ring that has {wanted}"),
        }
    }
}

impl std::error::Error for OrderError {}

impl Order {
    /// The largest one whose references fit into the page of indexes.
    pub const MAX: Self = Self(9);

    /// Takes an order that the other side asks for, where this one offered `most`.
    ///
    /// **Errors:** [`OrderError::TooLarge`].
    pub fn new(order: u32, most: Self) -> Result<Self, OrderError> {
        let most = most.min(Self::MAX).0;
        if order > most { Err(OrderError::TooLarge { order, most }) } else { Ok(Self(order)) }
    }

    /// Takes an order that stands in a node of xenstore, such as `ring-page-order`; one that is not there means a page.
    ///
    /// **Errors:** [`OrderError`].
    pub fn of_node(value: Option<&str>, most: Self) -> Result<Self, OrderError> {
        let order = value.map_or(Ok(0), |text| text.trim().parse().map_err(|_| OrderError::NoNumber))?;
        Self::new(order, most)
    }

    /// Returns the larger one that both sides take: what a front end chooses.
    #[must_use]
    pub fn agreed(ours: Self, theirs: u32) -> Self {
        ours.min(Self(theirs)).min(Self::MAX)
    }

    /// Returns the base 2 logarithm of the number of pages.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Returns the number of pages.
    #[must_use]
    pub const fn pages(self) -> usize {
        1 << self.0
    }

    /// Returns the number of bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.pages().saturating_mul(PAGE)
    }
}

/// What a page of indexes says of the data's pages, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    pub order: Order,
    /// The reference of each page's grant.
    pub references: Vec<u32>,
}

impl Announced {
    /// Reads the page that a front end has filled.
    ///
    /// **Errors:** [`OrderError`].
    pub fn read(page: &impl Shared, most: Order) -> Result<Self, OrderError> {
        check_length(page, PAGE)?;
        let order = Order::new(page.load_u32(ORDER), most)?;
        let at = |index: usize| REFERENCES.saturating_add(index.saturating_mul(REFERENCE));
        Ok(Self { order, references: (0..order.pages()).map(|index| page.load_u32(at(index))).collect() })
    }

    /// Fills a page, as a front end does, with all indexes at 0.
    ///
    /// **Errors:** [`OrderError::Length`] for another number of references than the order says.
    pub fn write(&self, page: &impl Shared) -> Result<(), OrderError> {
        check_length(page, PAGE)?;
        if self.references.len() != self.order.pages() {
            let bytes = self.references.len().saturating_mul(PAGE);
            return Err(OrderError::Length { bytes, wanted: self.order.bytes() });
        }
        page.write(0, &[0; REFERENCES]);
        page.store_u32(ORDER, self.order.number());
        for (index, &reference) in self.references.iter().enumerate() {
            page.store_u32(REFERENCES.saturating_add(index.saturating_mul(REFERENCE)), reference);
        }
        Ok(())
    }
}

fn check_length(memory: &impl Shared, wanted: usize) -> Result<(), OrderError> {
    let bytes = memory.length();
    if bytes == wanted { Ok(()) } else { Err(OrderError::Length { bytes, wanted }) }
}

/// The page of indexes and the data's pages as one memory: the data lie behind the page.
#[derive(Clone, Copy, Debug)]
pub struct Joined<I, D> {
    indexes: I,
    data: D,
}

impl<I: Shared, D: Shared> Shared for Joined<I, D> {
    fn length(&self) -> usize {
        PAGE.saturating_add(self.data.length())
    }

    fn load_u32(&self, offset: usize) -> u32 {
        match offset.checked_sub(PAGE) {
            Some(offset) => self.data.load_u32(offset),
            None => self.indexes.load_u32(offset),
        }
    }

    fn store_u32(&self, offset: usize, value: u32) {
        match offset.checked_sub(PAGE) {
            Some(offset) => self.data.store_u32(offset, value),
            None => self.indexes.store_u32(offset, value),
        }
    }

    fn read(&self, offset: usize, to: &mut [u8]) {
        match offset.checked_sub(PAGE) {
            Some(offset) => self.data.read(offset, to),
            None => self.indexes.read(offset, to),
        }
    }

    fn write(&self, offset: usize, from: &[u8]) {
        match offset.checked_sub(PAGE) {
            Some(offset) => self.data.write(offset, from),
            None => self.indexes.write(offset, from),
        }
    }

    fn fence(&self) {
        self.indexes.fence();
    }
}

/// A reader and a writer of a pair of rings.
pub type Pair<'a, I, D> = (ByteReader<Joined<&'a I, &'a D>>, ByteWriter<Joined<&'a I, &'a D>>);

/// A reader and a writer that hold the mappings themselves.
pub type OwnedPair<I, D> = (ByteReader<Joined<I, D>>, ByteWriter<Joined<I, D>>);

/// The two rings, with both mappings: [`PairedRings::back`] and [`PairedRings::front`] are the sides of it.
#[derive(Debug)]
pub struct PairedRings<I, D> {
    indexes: I,
    data: D,
    order: Order,
}

impl<I: Shared, D: Shared> PairedRings<I, D> {
    /// Takes the mapped page of indexes, and the mapped data in the order of their references. The order is the one that was
    /// read when the references were: what the page says now does not count.
    ///
    /// **Errors:** [`OrderError::Length`].
    pub fn new(indexes: I, data: D, order: Order) -> Result<Self, OrderError> {
        check_length(&indexes, PAGE)?;
        check_length(&data, order.bytes())?;
        Ok(Self { indexes, data, order })
    }

    /// Returns the back end's side: it reads "out" and writes "in".
    #[must_use]
    pub fn back(&self) -> Pair<'_, I, D> {
        let ring = self.rings();
        (ByteReader::attach(self.joined(), ring.1), ByteWriter::attach(self.joined(), ring.0))
    }

    /// Returns the front end's side: it reads "in" and writes "out".
    #[must_use]
    pub fn front(&self) -> Pair<'_, I, D> {
        let ring = self.rings();
        (ByteReader::attach(self.joined(), ring.0), ByteWriter::attach(self.joined(), ring.1))
    }

    /// Returns the back end's side as a value of its own, where the mappings are counted references.
    #[must_use]
    pub fn owned_back(&self) -> OwnedPair<I, D>
    where
        I: Clone,
        D: Clone,
    {
        let (ring, joined) = (self.rings(), Joined { indexes: self.indexes.clone(), data: self.data.clone() });
        let also = Joined { indexes: self.indexes.clone(), data: self.data.clone() };
        (ByteReader::attach(joined, ring.1), ByteWriter::attach(also, ring.0))
    }

    /// Returns the front end's side as [`PairedRings::owned_back`] does the back end's.
    #[must_use]
    pub fn owned_front(&self) -> OwnedPair<I, D>
    where
        I: Clone,
        D: Clone,
    {
        let (ring, joined) = (self.rings(), Joined { indexes: self.indexes.clone(), data: self.data.clone() });
        let also = Joined { indexes: self.indexes.clone(), data: self.data.clone() };
        (ByteReader::attach(joined, ring.0), ByteWriter::attach(also, ring.1))
    }

    /// Tells the front end of PV Calls why nothing more comes (`in_error`) or is taken (`out_error`), by Linux's number.
    pub fn tell_error(&self, of_in: bool, number: i32) {
        let offset = if of_in { offset_of!(PvcallsDataIntf, in_error) } else { offset_of!(PvcallsDataIntf, out_error) };
        self.indexes.store_u32(offset, number.cast_unsigned());
    }

    fn joined(&self) -> Joined<&I, &D> {
        Joined { indexes: &self.indexes, data: &self.data }
    }

    /// Returns the rings "in" and "out".
    fn rings(&self) -> (ByteRing, ByteRing) {
        let half = self.order.bytes() >> 1;
        // At most 2^9 pages.
        let size = u32::try_from(half).unwrap_or(0);
        let into = ByteRing { data: PAGE, size, produced: IN_PRODUCED, consumed: IN_CONSUMED };
        (into, ByteRing { data: PAGE.saturating_add(half), size, produced: OUT_PRODUCED, consumed: OUT_CONSUMED })
    }
}
