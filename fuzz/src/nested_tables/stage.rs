//! The tables under test beside the model, and the steps.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use fastrand::Rng;
use xenolith_hal::{CpuId, Gfn, MapError, Mapping, Mfn, NestedSpace, PageKind, PageOrder, Rights};
use xenolith_x86::guest::amd_vi::tables::is_for_devices;
use xenolith_x86::guest::frame_pool::Pool;
use xenolith_x86::guest::nested::{NestedTables, TableLimits};

use super::model::{Model, Page};
use super::supply::{CPUS, Supply};
use super::walk::{self, Cpu};

/// Frames for tables. Few, so that one that is taken out is soon another.
const FRAMES: u64 = 96;
/// One past the last guest frame that four levels can name.
const GFN_LIMIT: u64 = 1 << 36;
/// Where machine frames lie beside their guest frames: whole gigabytes, whole large pages, and neither.
const SHIFTS: [u64; 4] = [0, 1 << 18, 5 << 9, 3];

pub struct Stage<'d> {
    pub dice: &'d mut Rng,
    tables: NestedTables<Pool>,
    supply: Supply,
    model: Model,
    cpu: Cpu,
    /// Frames that steps touched last, with what was there.
    taken: Vec<(u64, Page)>,
    touched: Vec<u64>,
    /// For want of a table, devices may have lost more than was taken away.
    devices_lack: bool,
    /// Writes are tracked; these frames were written since they were last told.
    tracked: bool,
    written: HashSet<u64>,
    pub joined: u32,
    pub split: u32,
    pub refused: u32,
}

impl<'d> Stage<'d> {
    pub fn new(dice: &'d mut Rng) -> Self {
        let pool = Pool::new(FRAMES);
        let held = Rc::new(RefCell::new([(); CPUS].map(|()| HashSet::new())));
        let mut supply = Supply { pool: pool.clone(), patience: None, refused: false, held };
        let cpu = Cpu { address_bits: dice.choice([36, 40, 52]).unwrap_or(40), huge_pages: dice.bool() };
        let limits = TableLimits { address_bits: cpu.address_bits, huge_pages: cpu.huge_pages };
        let tables = NestedTables::new(pool, limits, CPUS, &mut supply).expect("the pool is full");
        if dice.bool() {
            assert!(tables.follow_for_devices(&mut supply).is_ok());
        }
        Self {
            dice,
            tables,
            supply,
            cpu,
            model: Model::default(),
            taken: Vec::new(),
            touched: Vec::new(),
            devices_lack: false,
            tracked: false,
            written: HashSet::new(),
            joined: 0,
            split: 0,
            refused: 0,
        }
    }

    /// A frame at the edge of a large page, near others.
    fn gfn(&mut self) -> u64 {
        let gigabyte = [0, 0, 1, 300, (1 << 18) - 1][self.dice.usize(..5)];
        let large = [0, 0, 1, 2, 511][self.dice.usize(..5)];
        let small = [0, 1, 7, 510, 511][self.dice.usize(..5)];
        (gigabyte << 18) + (large << 9) + small
    }

    fn order(&mut self) -> PageOrder {
        match self.dice.u8(..16) {
            0..=6 => PageOrder::SIZE_4K,
            7..=12 => PageOrder::SIZE_2M,
            13 | 14 => PageOrder::SIZE_1G,
            _ => PageOrder(self.dice.u8(..80)),
        }
    }

    fn mapping(&mut self, gfn: u64, order: PageOrder) -> Mapping {
        let mfn = match self.dice.u8(..16) {
            0 => self.dice.u64(..) >> self.dice.u32(..64),
            _ => (gfn & ((1 << 20) - 1)) + SHIFTS[self.dice.usize(..SHIFTS.len())],
        };
        let rights = match self.dice.u8(..8) {
            0 => Rights::from_bits_truncate(self.dice.u8(..)),
            1 => Rights::READ,
            2 => Rights::DATA,
            _ => Rights::ALL,
        };
        let kind = match self.dice.u8(..8) {
            0 => PageKind::from_bits(self.dice.u8(..5)).unwrap_or(PageKind::Ram),
            _ => PageKind::Ram,
        };
        Mapping { mfn: Mfn(mfn), order, rights, kind }
    }

    /// Lets memory for tables run out soon, now and then.
    fn supply(&mut self) {
        self.supply.refused = false;
        self.supply.patience = if self.dice.u8(..6) == 0 { Some(self.dice.u32(..5)) } else { None };
    }

    /// Returns what mapping must answer, unless memory runs out.
    fn expected(&self, gfn: u64, mapping: &Mapping) -> Result<(), MapError> {
        let Mapping { mfn, order, .. } = *mapping;
        if ![PageOrder::SIZE_4K, PageOrder::SIZE_2M, PageOrder::SIZE_1G].contains(&order) {
            return Err(MapError::Unaligned);
        }
        if !order.aligned(gfn) || !order.aligned(mfn.0) {
            return Err(MapError::Unaligned);
        }
        let fits = |first: u64, limit: u64| first.checked_add(order.pages()).is_some_and(|end| end <= limit);
        if !fits(gfn, GFN_LIMIT) || !fits(mfn.0, 1 << (self.cpu.address_bits - 12)) {
            return Err(MapError::OutOfRange);
        }
        if self.model.is_vacant(gfn, order.pages()) { Ok(()) } else { Err(MapError::Occupied) }
    }

    fn map(&mut self, gfn: u64, mapping: Mapping) {
        let expected = self.expected(gfn, &mapping);
        let done = self.tables.map(Gfn(gfn), mapping, &mut self.supply);
        self.touched.extend([gfn, gfn.saturating_add(1), gfn.saturating_add(mapping.order.pages() - 1)]);
        if done == Err(MapError::NoMemory) {
            assert!(self.supply.refused, "no memory, though none was refused");
            assert_eq!(expected, Ok(()), "{gfn:#x}: {mapping:?} could not be there anyway");
            self.refused += 1;
            return;
        }
        assert_eq!(done, expected, "{gfn:#x}: {mapping:?}");
        if done.is_ok() {
            self.model.map(gfn, mapping);
            let order = self.tables.lookup(Gfn(gfn)).map_or(mapping.order, |found| found.order);
            self.joined += u32::from(order > mapping.order);
        }
    }

    /// Maps a page somewhere, which may not fit there.
    pub fn map_anything(&mut self) {
        let order = self.order();
        let aligned = self.dice.u8(..16) > 0;
        let gfn = match self.dice.u8(..32) {
            0 => self.dice.u64(..) >> self.dice.u32(..64),
            _ if aligned => self.gfn() & !(order.pages() - 1),
            _ => self.gfn(),
        };
        let mut mapping = self.mapping(gfn, order);
        if aligned && order.0 <= 18 {
            mapping.mfn.0 &= !(order.pages() - 1);
        }
        self.supply();
        self.map(gfn, mapping);
    }

    /// Maps again what was taken away last, so that large pages become whole.
    pub fn map_back(&mut self) {
        let Some((gfn, page)) = self.taken.pop() else { return };
        self.supply();
        let Page { mfn, rights, kind } = page;
        self.map(gfn, Mapping { mfn, order: PageOrder::SIZE_4K, rights, kind });
    }

    /// Fills a large page with small ones, from a place in it on.
    pub fn fill(&mut self) {
        let first = self.gfn() & !511;
        let start = self.dice.u64(..512);
        let mapping = Mapping { mfn: Mfn(0), order: PageOrder::SIZE_4K, rights: Rights::ALL, kind: PageKind::Ram };
        for index in 0..512 {
            let gfn = first + ((start + index) & 511);
            if self.model.page(gfn).is_none() {
                self.supply.refused = false;
                self.map(gfn, Mapping { mfn: Mfn(gfn & ((1 << 20) - 1)), ..mapping });
            }
        }
        self.touched.truncate(32);
    }

    /// Unmaps a page of 4 KiB, which may be part of a larger one.
    pub fn unmap(&mut self) {
        let gfn = if self.dice.u8(..32) == 0 { self.dice.u64(..) } else { self.gfn() };
        self.supply();
        let before = self.tables.generation();
        let there = self.tables.lookup(Gfn(gfn));
        let expected = self.model.page(gfn);
        self.touched.extend([gfn, gfn ^ 1, gfn ^ 511]);
        match self.tables.unmap(Gfn(gfn), &mut self.supply) {
            Err(error) => {
                assert!(error == MapError::NoMemory && self.supply.refused, "{gfn:#x}: {error:?}");
                self.refused += 1;
            }
            Ok(found) => {
                assert_eq!(found.map(Page::from), expected, "{gfn:#x} was not what was mapped there");
                assert_eq!(self.tables.generation() > before, found.is_some(), "{gfn:#x}: the generation");
                self.model.unmap(gfn, PageOrder::SIZE_4K);
                self.split += u32::from(there.is_some_and(|there| there.order > PageOrder::SIZE_4K));
                self.taken.extend(expected.map(|page| (gfn, page)));
                if self.taken.len() > 16 {
                    self.taken.remove(0);
                }
            }
        }
    }

    /// Takes the next page away whole.
    pub fn take_next(&mut self) {
        let from = if self.dice.bool() { 0 } else { self.gfn() };
        self.supply();
        self.take_from(from);
    }

    fn take_from(&mut self, from: u64) -> bool {
        let (before, expected) = (self.tables.generation(), self.model.first_from(from));
        let Some((first, mapping)) = self.tables.take_next(Gfn(from), &mut self.supply) else {
            assert_eq!(expected, None, "nothing was found from {from:#x} on");
            return false;
        };
        let at = expected.expect("something was mapped");
        assert!((first.0..first.0 + mapping.order.pages()).contains(&at), "{first:?} is not the page at {at:#x}");
        assert_eq!(self.model.page(first.0), Some(Page::from(mapping)));
        assert!(self.tables.generation() > before);
        self.model.unmap(first.0, mapping.order);
        self.devices_lack |= self.supply.refused;
        self.touched.extend([first.0, at, first.0 + mapping.order.pages() - 1]);
        true
    }

    /// Begins or ends the tracking of writes.
    pub fn track(&mut self) {
        self.tracked = !self.tracked;
        self.written.clear();
        self.supply();
        self.tables.set_tracked(if self.tracked { 0..u64::MAX } else { 0..0 });
        let mut next = Some(Gfn(0));
        while let Some(from) = next {
            next = self.tables.retrack(from, &mut self.supply);
            assert!(next.is_none_or(|next| next > from), "it goes on");
        }
        self.tables.flush();
        let edges: Vec<u64> = self.model.edges().take(64).collect();
        self.touched.extend(edges);
    }

    fn may_be_written(&self, gfn: u64) -> bool {
        let page = self.model.page(gfn);
        page.is_some_and(|page| page.kind == PageKind::Ram && page.rights.contains(Rights::DATA))
    }

    /// The guest, or the hypervisor for it, writes somewhere.
    pub fn write(&mut self) {
        let gfn = self.gfn();
        if !self.may_be_written(gfn) {
            return;
        }
        let root = self.tables.root().expect("it is not torn down").mfn();
        if self.dice.u8(..4) == 0 {
            self.tables.note_written(Gfn(gfn));
        } else if !walk::write(&self.supply.pool, self.cpu, root, gfn) {
            assert!(self.tracked, "{gfn:#x} is write-protected, though nothing is tracked");
            self.supply();
            assert!(self.tables.permit_write(Gfn(gfn), &mut self.supply), "{gfn:#x} stays write-protected");
            assert!(walk::write(&self.supply.pool, self.cpu, root, gfn), "{gfn:#x} was not made writable");
        }
        if self.tracked {
            self.written.insert(gfn);
        }
        self.touched.extend([gfn, gfn ^ 1, gfn ^ 511]);
    }

    /// Asks what was written: no write may be missing.
    pub fn tell(&mut self) {
        let clean = self.dice.bool();
        let blocks: HashSet<u64> = self.written.iter().map(|gfn| gfn & !511).collect();
        for first in blocks {
            self.supply();
            let bits = self.tables.written(Gfn(first), clean, &mut self.supply);
            let told = |gfn: u64| bits[(gfn & 511) as usize / 64] & (1 << (gfn % 64)) != 0;
            for gfn in self.written.iter().copied().filter(|gfn| gfn & !511 == first) {
                assert!(told(gfn) || !self.may_be_written(gfn), "{gfn:#x} was written, and is not told");
            }
            for gfn in (first..first + 512).filter(|gfn| told(*gfn)) {
                let page = self.model.page(gfn);
                let own = page.is_some_and(|page| page.kind == PageKind::Ram && page.rights.contains(Rights::WRITE));
                assert!(own, "{gfn:#x} is told, and cannot be written");
            }
        }
        if clean {
            self.written.clear();
            self.tables.flush();
        }
    }

    /// A CPU enters the guest, and may cache every table from now on.
    pub fn enter(&mut self, cpu: CpuId) {
        let root = self.tables.root().expect("it is not torn down").mfn();
        assert!(self.tables.residency().enter(cpu).is_some());
        let reachable = walk::tables(&self.supply.pool, root);
        self.supply.held.borrow_mut()[cpu.index()] = reachable;
    }

    pub fn leave(&mut self, cpu: CpuId) {
        self.supply.held.borrow_mut()[cpu.index()].clear();
        self.tables.residency().leave(cpu);
    }

    /// Compares what the CPU, a device and the hypervisor find at some frames with the model.
    pub fn check(&mut self) {
        let root = self.tables.root().expect("it is not torn down").mfn();
        let edges: Vec<u64> = self.model.edges().collect();
        for _ in 0..edges.len().min(4) {
            let edge = edges[self.dice.usize(..edges.len())];
            self.touched.extend([edge, edge + 1, edge.saturating_sub(1)]);
        }
        for gfn in std::mem::take(&mut self.touched) {
            let expected = self.model.page(gfn);
            assert_eq!(self.tables.lookup(Gfn(gfn)).map(Page::from), expected, "{gfn:#x}");
            if gfn >= GFN_LIMIT {
                continue;
            }
            let readable = expected.filter(|page| page.rights.contains(Rights::READ));
            let by_cpu = walk::walk(&self.supply.pool, self.cpu, root, gfn);
            let finds = by_cpu.map(|(mfn, rights)| {
                // What is tracked may be write-protected meanwhile.
                let protected = self.tracked && expected.is_some_and(|page| page.kind == PageKind::Ram);
                let hidden = readable.map_or(Rights::empty(), |page| page.rights & Rights::WRITE);
                (mfn, if protected { rights | hidden } else { rights })
            });
            assert_eq!(finds, readable.map(|page| (page.mfn, page.rights)), "{gfn:#x}: what the CPU finds");
            let Some(devices) = self.tables.devices() else { continue };
            let by_device = devices.walk(Gfn(gfn)).filter(|(_, rights)| !rights.is_empty());
            let for_devices = expected.filter(|page| is_for_devices(page.kind) && page.rights.intersects(Rights::DATA));
            let allowed = for_devices.map(|page| (page.mfn, page.rights & Rights::DATA));
            let lost = self.devices_lack && by_device.is_none();
            assert!(lost || by_device == allowed, "{gfn:#x}: a device finds {by_device:?} of {expected:?}");
        }
    }

    /// Takes everything away, as the end of a domain does, and returns how many pages there were.
    pub fn end(mut self) -> u64 {
        self.supply.patience = None;
        for cpu in 0..CPUS {
            self.leave(CpuId(cpu as u32));
        }
        let mut pages = 0;
        while pages < 2_000 && self.take_from(0) {
            pages += 1;
            self.check();
        }
        self.tables.tear_down(&mut self.supply);
        assert_eq!((self.tables.root(), self.tables.lookup(Gfn(0))), (None, None));
        if let Some(devices) = self.tables.devices() {
            devices.tear_down(&mut self.supply);
        }
        assert_eq!(self.supply.pool.taken(), 0, "tables were not given back");
        pages
    }
}
