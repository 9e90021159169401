//! What a hostile domain does with the rings that it shares: it writes any value to any byte at any moment, also between
//! two reads of one call.
//!
//! Whatever it does, what comes out is on the disk, in its page and within the protocol's bounds, every call ends soon,
//! and a ring that was broken stays so.

use std::cell::{Cell, RefCell};

use fastrand::Rng;
use rings::{
    Announced, BackRing, BlockRequest, Broken, ByteReader, ByteRing, ByteWriter, Command, Disk, FrontRing,
    MessageReader, MessageWriter, Order, PairedRings, Shared, TransmitRing,
};
use xen_abi::io::blkif::{BlkifRequest, BlkifResponse};
use xen_abi::io::pvcalls::{PvcallsRequest, PvcallsResponse};

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

/// The largest ring of pages that is offered, and where the indexes of such rings, the order and references lie.
const MOST_ORDER: u32 = 2;
const PAIRED_INDEXES: [usize; 5] = [0, 4, 64, 68, 128];

/// Pages that their other owner changes.
struct Hostile {
    bytes: RefCell<Vec<u8>>,
    dice: RefCell<Rng>,
    accesses: Cell<u32>,
}

impl Hostile {
    fn new(dice: &mut Rng) -> Self {
        Self::of(dice, PAGE)
    }

    fn of(dice: &mut Rng, length: usize) -> Self {
        let mut bytes: Vec<u8> = (0..length).map(|_| if dice.u8(..3) == 0 { dice.u8(..) } else { 0 }).collect();
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
                let at = match dice.u8(..4) {
                    0 => PAIRED_INDEXES[dice.usize(..PAIRED_INDEXES.len())],
                    _ => INDEXES[dice.usize(..INDEXES.len())],
                };
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
        self.bytes.borrow().len()
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
    match dice.u8(..6) {
        0 => block(dice, &page),
        1 => network(dice, &page),
        2 => console(dice, &page),
        3 => commands(dice, &page),
        4 => messages(dice, &page),
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
    let indirect_segments = if dice.bool() { dice.u16(1..=4096) } else { 0 };
    let disk = Disk { sectors: dice.u64(1..1 << 40), writable: dice.bool(), indirect_segments };
    let lists: Vec<Hostile> = (0..8).map(|_| Hostile::new(dice)).collect();
    let mut broken = None;
    for _ in 0..CALLS {
        page.accesses.set(0);
        let outcome = ring.take();
        stays_broken(&mut broken, &outcome);
        assert!(ring.unanswered() <= ENTRIES);
        let Ok(Some(mut request)) = outcome else { continue };
        request.operation %= 8;
        let (checked, most) = match disk.check(&request) {
            Ok(BlockRequest::Indirect(indirect)) => {
                assert!((1..=8).contains(&indirect.pages.len()));
                lists.iter().for_each(|list| list.accesses.set(0));
                (indirect.segments(&disk, &lists[..indirect.pages.len()]), usize::from(indirect_segments))
            }
            checked => (checked, 11),
        };
        match checked {
            Ok(BlockRequest::Read { sector, segments, .. } | BlockRequest::Write { sector, segments, .. }) => {
                assert!(segments.iter().all(|segment| segment.offset + segment.length <= 4096 && segment.length > 0));
                let bytes: u64 = segments.iter().map(|segment| u64::from(segment.length)).sum();
                assert!(segments.len() <= most && sector + bytes / 512 <= disk.sectors);
            }
            Ok(BlockRequest::Indirect(_)) => panic!("an indirect request that leads to another"),
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

/// The commands of PV Calls: what comes out is a command that there is, and each has its answer.
fn commands(dice: &mut Rng, page: &Hostile) {
    let mut ring: BackRing<_, PvcallsRequest, PvcallsResponse> = BackRing::attach(page);
    let mut broken = None;
    for _ in 0..CALLS {
        page.accesses.set(0);
        let outcome = ring.take();
        stays_broken(&mut broken, &outcome);
        let Ok(Some(mut request)) = outcome else { continue };
        request.cmd %= 8;
        let ret = match Command::check(&request) {
            Ok(Command::Connect { to, .. } | Command::Bind { at: to, .. }) => i32::from(to.port() == 0),
            Ok(_) => 0,
            Err(error) => {
                assert!(error.number() < 0 && !error.to_string().is_empty());
                error.number()
            }
        };
        let answer = rings::answer(&request, ret);
        assert_eq!((answer.req_id, answer.cmd, answer.ret), (request.req_id, request.cmd, ret));
        stays_broken(&mut broken, &ring.put(&answer));
        if dice.bool() {
            ring.publish();
        }
    }
}

/// Messages of 9pfs, through rings of as many pages as the peer says first: none is longer than was agreed on.
fn messages(dice: &mut Rng, page: &Hostile) {
    let most = Order::new(MOST_ORDER, Order::MAX).unwrap();
    let announced = match Announced::read(page, most) {
        Ok(announced) => announced,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            page.bytes.borrow_mut()[128..132].copy_from_slice(&dice.u32(..=MOST_ORDER).to_le_bytes());
            page.accesses.set(0);
            let Ok(announced) = Announced::read(page, most) else { return };
            announced
        }
    };
    let order = announced.order;
    assert!(order <= most && announced.references.len() == order.pages());
    let data = Hostile::of(dice, order.bytes().max(PAGE));
    for at in PAIRED_INDEXES.into_iter().take(4) {
        page.bytes.borrow_mut()[at..at + 4].copy_from_slice(&dice.u32(u32::MAX - 20..).to_le_bytes());
    }
    let Ok(rings) = PairedRings::new(page, &data, order) else { panic!("the lengths are right") };
    let longest = dice.usize(7..3000);
    let (reader, writer) = rings.back();
    let (mut reader, mut writer) = (MessageReader::new(reader, longest), MessageWriter::new(writer));
    let (mut in_broken, mut out_broken) = (None, None);
    for _ in 0..CALLS {
        page.accesses.set(0);
        data.accesses.set(0);
        let taken = reader.take();
        stays_broken(&mut out_broken, &taken);
        if let Ok(Some(message)) = taken {
            let told = u32::from_le_bytes([message[0], message[1], message[2], message[3]]) as usize;
            assert!((7..=longest).contains(&message.len()) && told == message.len());
            writer.put(&message);
        }
        stays_broken(&mut in_broken, &writer.flush());
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
