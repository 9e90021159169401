//! What a hostile domain does with the rings that it shares: it writes any value to any byte at any moment, also between
//! two reads of one call.
//!
//! Whatever it does, what comes out is on the disk, in its page and within the protocol's bounds, every call ends soon,
//! and a ring that was broken stays so.

use std::cell::{Cell, RefCell};

use fastrand::Rng;
use rings::{BackRing, BlockRequest, Broken, ByteReader, ByteRing, ByteWriter, Disk, FrontRing, Shared, TransmitRing};
use xen_abi::io::blkif::{BlkifRequest, BlkifResponse};

/// Calls in one input.
const CALLS: u64 = 300;
const PAGE: usize = 4096;
/// The most reads and writes of the memory by one call: a packet of as many parts as the ring has entries, all of them
/// answered.
const ACCESSES: u32 = 2000;
/// The most entries of a ring.
const ENTRIES: u32 = 256;
/// Where the indexes lie, of rings of entries and of the console's.
const INDEXES: [usize; 8] = [0, 4, 8, 12, 3072, 3076, 3080, 3084];
/// Where the entries begin.
const ENTRIES_AT: usize = 64;

/// A page that its other owner changes.
struct Hostile {
    bytes: RefCell<Vec<u8>>,
    dice: RefCell<Rng>,
    accesses: Cell<u32>,
}

impl Hostile {
    fn new(dice: &mut Rng) -> Self {
        let mut bytes: Vec<u8> = (0..PAGE).map(|_| if dice.u8(..3) == 0 { dice.u8(..) } else { 0 }).collect();
        // Indexes begin at a place from which they wrap soon, and where they would be believed.
        let start = u32::MAX - dice.u32(..20);
        INDEXES.iter().for_each(|&at| bytes[at..at + 4].copy_from_slice(&start.to_le_bytes()));
        Self { bytes: RefCell::new(bytes), dice: RefCell::new(dice.fork()), accesses: Cell::new(0) }
    }

    /// Changes something now and then: an index by a little, which may be believed, or any byte.
    fn disturb(&self) {
        let accesses = self.accesses.get() + 1;
        assert!(accesses <= ACCESSES, "a call does not end");
        self.accesses.set(accesses);
        let (mut dice, mut bytes) = (self.dice.borrow_mut(), self.bytes.borrow_mut());
        match dice.u8(..8) {
            0 => {
                let at = INDEXES[dice.usize(..INDEXES.len())];
                let index = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                // A lie is told seldom, or no ring would live for long.
                let more = if dice.u8(..100) == 0 { dice.u32(..) } else { dice.u32(..5) };
                bytes[at..at + 4].copy_from_slice(&index.wrapping_add(more).to_le_bytes());
            }
            1 => {
                let at = dice.usize(ENTRIES_AT..3072);
                bytes[at] = if dice.bool() { dice.u8(..) } else { dice.u8(..12) };
            }
            _ => {}
        }
    }
}

impl Shared for Hostile {
    fn length(&self) -> usize {
        PAGE
    }

    fn load_u32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }

    fn read(&self, offset: usize, to: &mut [u8]) {
        self.disturb();
        to.copy_from_slice(&self.bytes.borrow()[offset..offset + to.len()]);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.disturb();
        self.bytes.borrow_mut()[offset..offset + from.len()].copy_from_slice(from);
    }

    fn fence(&self) {}
}

/// Runs one input and returns how many calls were made.
pub fn run(dice: &mut Rng) -> u64 {
    let page = Hostile::new(dice);
    match dice.u8(..4) {
        0 => block(dice, &page),
        1 => network(dice, &page),
        2 => console(dice, &page),
        _ => front(dice, &page),
    }
    CALLS
}

/// Remembers whether a ring was broken, and sees that it stays so.
fn stays_broken<T>(broken: &mut Option<Broken>, outcome: &Result<T, Broken>) {
    match outcome {
        Err(Broken::Full) => {}
        Err(now) => assert_eq!(*now, *broken.get_or_insert(*now)),
        Ok(_) => assert_eq!(*broken, None),
    }
}

fn block(dice: &mut Rng, page: &Hostile) {
    let mut ring: BackRing<_, BlkifRequest, BlkifResponse> = BackRing::attach(page);
    let disk = Disk { sectors: dice.u64(1..1 << 40), writable: dice.bool() };
    let mut broken = None;
    for _ in 0..CALLS {
        page.accesses.set(0);
        let outcome = ring.take();
        stays_broken(&mut broken, &outcome);
        assert!(ring.unanswered() <= ENTRIES);
        let Ok(Some(mut request)) = outcome else { continue };
        request.operation %= 8;
        match disk.check(&request) {
            Ok(BlockRequest::Read { sector, segments, .. } | BlockRequest::Write { sector, segments, .. }) => {
                assert!(segments.iter().all(|segment| segment.offset + segment.length <= 4096 && segment.length > 0));
                let bytes: u64 = segments.iter().map(|segment| u64::from(segment.length)).sum();
                assert!(segments.len() <= 11 && sector + bytes / 512 <= disk.sectors);
            }
            Ok(BlockRequest::Discard { sector, sectors, .. }) => assert!(sector + sectors <= disk.sectors),
            Ok(BlockRequest::Flush { .. }) => {}
            Err(error) => {
                stays_broken(&mut broken, &ring.put(&error.response(&request)));
                ring.publish();
            }
        }
    }
}

fn network(dice: &mut Rng, page: &Hostile) {
    let mut ring = TransmitRing::attach(page);
    let mut broken = None;
    for _ in 0..CALLS {
        page.accesses.set(0);
        let outcome = ring.take();
        stays_broken(&mut broken, &outcome);
        if let Ok(Some(Ok(packet))) = outcome {
            assert!((1..=18).contains(&packet.fragments.len()));
            assert!(packet.fragments.iter().all(|part| part.length > 0 && part.offset + part.length <= 4096));
            stays_broken(&mut broken, &ring.put(&packet, 0));
        }
        if dice.bool() {
            ring.publish();
            stays_broken(&mut broken, &ring.rest());
        }
    }
}

fn console(dice: &mut Rng, page: &Hostile) {
    let mut output = ByteReader::attach(page, ByteRing::CONSOLE_OUTPUT);
    let mut input = ByteWriter::attach(page, ByteRing::CONSOLE_INPUT);
    let (mut out_broken, mut in_broken) = (None, None);
    let mut bytes = [0; 3000];
    for _ in 0..CALLS {
        page.accesses.set(0);
        let length = dice.usize(..bytes.len());
        let read = output.read(&mut bytes[..length]);
        stays_broken(&mut out_broken, &read);
        assert!(read.is_err() || read.is_ok_and(|count| count <= length.min(2048)));
        let written = input.write(&bytes[..length]);
        stays_broken(&mut in_broken, &written);
        assert!(written.is_err() || written.is_ok_and(|count| count <= length.min(1024)));
    }
}

fn front(dice: &mut Rng, page: &Hostile) {
    let mut ring: FrontRing<_, BlkifRequest, BlkifResponse> = FrontRing::start(page);
    let mut broken = None;
    let (mut put, mut taken) = (0_u64, 0_u64);
    for _ in 0..CALLS {
        page.accesses.set(0);
        if dice.bool() {
            let outcome = ring.put(&BlkifRequest { id: put, ..BlkifRequest::default() });
            stays_broken(&mut broken, &outcome);
            put += u64::from(outcome.is_ok());
            ring.publish();
        }
        let outcome = ring.take();
        stays_broken(&mut broken, &outcome);
        taken += u64::from(matches!(outcome, Ok(Some(_))));
        assert!(taken <= put && put - taken <= 32, "more responses than requests");
    }
}
