//! A few domains with memory on the heap.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use xenolith_core::components::access::Subject;
use xenolith_core::components::grant::{GrantTable, Limits, Part, Party, Source, World};
use xenolith_core::memory::frames::epoch::Epoch;
use xenolith_core::memory::frames::{ANYWHERE, Frames, OwnedFrame, Pages, PagingPool};
use xenolith_core::memory::physmap::Physmap;
use xenolith_hal::{
    DomId, FrameSource, Gfn, MapError, Mapping, Mfn, NestedSpace, PageKind, PageOrder, PageWords, Rights, Time,
    WRITTEN_WORDS,
};

pub struct Heap(Vec<PageWords>);

impl Pages for Heap {
    fn page(&self, mfn: Mfn) -> Option<&PageWords> {
        self.0.get(usize::try_from(mfn.0).ok()?)
    }
}

/// A translation of single pages.
#[derive(Default)]
pub struct Space {
    map: Mutex<BTreeMap<u64, Mapping>>,
    generation: AtomicU64,
    /// The frames to which a write was noted.
    pub noted: Mutex<BTreeSet<u64>>,
}

/// One past the highest frame that a domain can address.
pub const GFN_LIMIT: u64 = 1 << 20;

impl NestedSpace for Space {
    fn lookup(&self, gfn: Gfn) -> Option<Mapping> {
        self.map.lock().unwrap().get(&gfn.0).copied()
    }

    fn map(&self, gfn: Gfn, mapping: Mapping, _: &mut dyn FrameSource) -> Result<(), MapError> {
        if gfn.0 >= GFN_LIMIT {
            return Err(MapError::OutOfRange);
        }
        let mut map = self.map.lock().unwrap();
        for index in 0..mapping.order.pages() {
            if map.contains_key(&(gfn.0 + index)) {
                return Err(MapError::Occupied);
            }
        }
        for index in 0..mapping.order.pages() {
            map.insert(gfn.0 + index, Mapping { mfn: Mfn(mapping.mfn.0 + index), ..mapping });
        }
        Ok(())
    }

    fn unmap(&self, gfn: Gfn, _: &mut dyn FrameSource) -> Result<Option<Mapping>, MapError> {
        self.generation.fetch_add(1, Ordering::SeqCst);
        Ok(self.map.lock().unwrap().remove(&gfn.0))
    }

    fn take_next(&self, from: Gfn, _: &mut dyn FrameSource) -> Option<(Gfn, Mapping)> {
        let mut map = self.map.lock().unwrap();
        let first = *map.range(from.0..).next()?.0;
        self.generation.fetch_add(1, Ordering::SeqCst);
        Some((Gfn(first), map.remove(&first)?))
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn flush(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn set_tracked(&self, _: Range<u64>) {}

    fn retrack(&self, _: Gfn, _: &mut dyn FrameSource) -> Option<Gfn> {
        None
    }

    fn written(&self, _: Gfn, _: bool, _: &mut dyn FrameSource) -> [u64; WRITTEN_WORDS] {
        [0; WRITTEN_WORDS]
    }

    fn note_written(&self, gfn: Gfn) {
        self.noted.lock().unwrap().insert(gfn.0);
    }

    fn permit_write(&self, _: Gfn, _: &mut dyn FrameSource) -> bool {
        false
    }

    fn tear_down(&self, _: &mut dyn FrameSource) {
        self.map.lock().unwrap().clear();
    }
}

pub struct Dom {
    pub id: DomId,
    pub space: Space,
    pub shared_info: Mfn,
    pub physmap: Physmap,
    pub grants: GrantTable,
}

impl Party for Dom {
    type Space = Space;

    fn id(&self) -> DomId {
        self.id
    }
    fn subject(&self) -> Subject {
        Subject { id: self.id, privileged: self.id == DomId::DOM0 }
    }
    fn space(&self) -> &Space {
        &self.space
    }
    fn shared_info(&self) -> Mfn {
        self.shared_info
    }
    fn physmap(&self) -> &Physmap {
        &self.physmap
    }
    fn grants(&self) -> &GrantTable {
        &self.grants
    }
}

pub struct Machine {
    pub frames: Frames,
    pub heap: Heap,
    pub domains: Vec<Arc<Dom>>,
    /// Another CPU runs every domain and never comes to its quiet point.
    pub other_cpu_lags: AtomicBool,
    pub hurried: RefCell<u32>,
}

impl World for Machine {
    type Party = Dom;
    type Held = Arc<Dom>;
    type Pages = Heap;

    fn party(&self, id: DomId) -> Option<Arc<Dom>> {
        self.domains.iter().find(|domain| domain.id == id).cloned()
    }
    fn frames(&self) -> &Frames {
        &self.frames
    }
    fn pages(&self) -> &Heap {
        &self.heap
    }
    fn in_reach(&self, _: &Dom, _: Epoch, hurry: bool) -> bool {
        *self.hurried.borrow_mut() += u32::from(hurry);
        self.other_cpu_lags.load(Ordering::SeqCst)
    }
}

/// Pages of RAM that each domain starts with, from guest frame 0.
pub const PAGES: u64 = 8;

impl Machine {
    pub fn new(domains: u16, limits: Limits) -> Self {
        let total = 4096;
        let frames = Frames::new(Mfn(total), &[Mfn(1)..Mfn(total)], 1).unwrap();
        let heap = Heap((0..total).map(|_| PageWords::new()).collect());
        let mut machine = Self {
            frames,
            heap,
            domains: Vec::new(),
            other_cpu_lags: AtomicBool::new(false),
            hurried: RefCell::new(0),
        };
        for id in 0..domains {
            let domain = machine.new_domain(DomId(id), limits);
            machine.domains.push(Arc::new(domain));
        }
        machine
    }

    fn new_domain(&self, id: DomId, limits: Limits) -> Dom {
        self.frames.account(id).unwrap().set_max(100);
        let source = Source { frames: &self.frames, pages: &self.heap, owner: id };
        let grants = GrantTable::new(limits, &source).unwrap();
        let shared_info = self.frames.take_shared(&self.heap, id).unwrap().mfn();
        let physmap = Physmap::new(PagingPool::new(100));
        let domain = Dom { id, space: Space::default(), shared_info, physmap, grants };
        for gfn in 0..PAGES {
            let page = self.frames.allocate(&self.heap, id, PageOrder::SIZE_4K, ANYWHERE).map(OwnedFrame::into_mapping);
            let mapping =
                Mapping { mfn: page.unwrap(), order: PageOrder::SIZE_4K, rights: Rights::ALL, kind: PageKind::Ram };
            self.memory(&domain).edit(|editor| editor.map(Gfn(gfn), mapping)).unwrap();
        }
        domain
    }

    pub fn dom(&self, id: u16) -> &Dom {
        &self.domains[usize::from(id)]
    }

    pub fn mfn(&self, dom: u16, gfn: u64) -> Mfn {
        self.dom(dom).space.lookup(Gfn(gfn)).unwrap().mfn
    }

    pub fn page(&self, dom: u16, gfn: u64) -> &PageWords {
        self.heap.page(self.mfn(dom, gfn)).unwrap()
    }

    /// A frame of a domain's table, as the domain writes it.
    pub fn table(&self, dom: u16, part: Part, index: usize) -> &PageWords {
        let mfn = self.dom(dom).grants.with_shape(|shape| shape.part(part)[index].frame.mfn());
        self.heap.page(mfn).unwrap()
    }

    /// Lets all grace periods pass.
    pub fn settle(&self) {
        (0..8).for_each(|_| {
            self.frames.poll_with(&self.heap, true, || Time(0), |_| {});
        });
    }
}
