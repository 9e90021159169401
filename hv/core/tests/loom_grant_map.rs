//! Every interleaving of a grant that is mapped with its granter's changes, the code that is shipped:
//! `RUSTFLAGS="--cfg loom" cargo test -p xenolith-core --profile checked --test loom_grant_map`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use xen_abi::Errno;
use xen_abi::grant_entry::{GTF_PERMIT_ACCESS, GTF_READING, GTF_WRITING};
use xen_abi::grant_table::GrantMapFlags;
use xenolith_core::components::access::Subject;
use xenolith_core::components::grant::{
    End, Failure, GrantTable, Limits, MapRequest, Named, Part, Party, Source, Unmapping, World, begin_unmap, copy,
    finish_unmap, map, set_version,
};
use xenolith_core::memory::frames::epoch::Epoch;
use xenolith_core::memory::frames::{ANYWHERE, FrameUse, Frames, Pages, PagingPool};
use xenolith_core::memory::physmap::Physmap;
use xenolith_hal::{
    CpuId, DomId, FrameSource, Gfn, Gpa, GrantHandle, GrantRef, MapError, Mapping, Mfn, NestedSpace, PageKind,
    PageOrder, PageWords, Rights, Time, WRITTEN_WORDS,
};

const GRANTER: DomId = DomId(1);
const MAPPER: DomId = DomId(0);
const REFERENCE: GrantRef = GrantRef(8);
/// The granter's only page, and where the mapper maps it.
const PAGE: Gfn = Gfn(0);
const HOLE: Gpa = Gpa(0x10_0000);
/// Frames of the machine: each domain's shared page and table of entries, and the granter's page.
const MACHINE: u64 = 8;

struct Heap(Vec<PageWords>);

impl Pages for Heap {
    fn page(&self, mfn: Mfn) -> Option<&PageWords> {
        self.0.get(usize::try_from(mfn.0).ok()?)
    }
}

/// A translation of single pages. Its lock is no step of a model: nothing that loom watches happens under it.
#[derive(Default)]
struct Space(Mutex<BTreeMap<u64, Mapping>>);

impl NestedSpace for Space {
    fn lookup(&self, gfn: Gfn) -> Option<Mapping> {
        self.0.lock().unwrap().get(&gfn.0).copied()
    }

    fn map(&self, gfn: Gfn, mapping: Mapping, _: &mut dyn FrameSource) -> Result<(), MapError> {
        match self.0.lock().unwrap().insert(gfn.0, mapping) {
            None => Ok(()),
            Some(_) => Err(MapError::Occupied),
        }
    }

    fn unmap(&self, gfn: Gfn, _: &mut dyn FrameSource) -> Result<Option<Mapping>, MapError> {
        Ok(self.0.lock().unwrap().remove(&gfn.0))
    }

    fn take_next(&self, _: Gfn, _: &mut dyn FrameSource) -> Option<(Gfn, Mapping)> {
        None
    }

    fn generation(&self) -> u64 {
        0
    }

    fn flush(&self) {}

    fn set_tracked(&self, _: Range<u64>) {}

    fn retrack(&self, _: Gfn, _: &mut dyn FrameSource) -> Option<Gfn> {
        None
    }

    fn written(&self, _: Gfn, _: bool, _: &mut dyn FrameSource) -> [u64; WRITTEN_WORDS] {
        [0; WRITTEN_WORDS]
    }

    fn note_written(&self, _: Gfn) {}

    fn permit_write(&self, _: Gfn, _: &mut dyn FrameSource) -> bool {
        false
    }

    fn tear_down(&self, _: &mut dyn FrameSource) {}
}

struct Dom {
    id: DomId,
    space: Space,
    shared_info: Mfn,
    physmap: Physmap,
    grants: GrantTable,
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

struct Machine {
    frames: Frames,
    heap: Heap,
    domains: Vec<Arc<Dom>>,
}

impl World for Machine {
    type Party = Dom;
    type Held = Arc<Dom>;
    type Pages = Heap;

    fn party(&self, id: DomId) -> Option<Arc<Dom>> {
        self.domains.get(usize::from(id.0)).cloned()
    }
    fn frames(&self) -> &Frames {
        &self.frames
    }
    fn pages(&self) -> &Heap {
        &self.heap
    }
    fn in_reach(&self, _: &Dom, _: Epoch, _: bool) -> bool {
        false
    }
}

impl Machine {
    /// Domain 1 grants domain 0 its only page, for reading and writing.
    fn granting() -> Arc<Self> {
        Self::granting_on(1)
    }

    /// The same on a machine with this many CPUs, none of which holds anything that it looked up.
    fn granting_on(cpus: usize) -> Arc<Self> {
        let frames = Frames::for_domains(Mfn(MACHINE), &[Mfn(1)..Mfn(MACHINE)], cpus, 2).unwrap();
        let heap = Heap((0..MACHINE).map(|_| PageWords::new()).collect());
        let mut machine = Self { frames, heap, domains: Vec::new() };
        let limits = Limits { frames: 1, maptrack_frames: 1, version: 2 };
        for id in [MAPPER, GRANTER] {
            machine.frames.account(id).unwrap().set_max(4);
            let source = Source { frames: &machine.frames, pages: &machine.heap, owner: id };
            let grants = GrantTable::new(limits, &source).unwrap();
            let shared_info = machine.frames.take_shared(&machine.heap, id).unwrap().mfn();
            let physmap = Physmap::new(PagingPool::new(4));
            machine.domains.push(Arc::new(Dom { id, space: Space::default(), shared_info, physmap, grants }));
        }
        let granter = machine.granter();
        let page = machine.frames.allocate(&machine.heap, GRANTER, PageOrder::SIZE_4K, ANYWHERE).unwrap();
        let mapping =
            Mapping { mfn: page.into_mapping(), order: PageOrder::SIZE_4K, rights: Rights::ALL, kind: PageKind::Ram };
        machine.memory(granter).edit(|editor| editor.map(PAGE, mapping)).unwrap();
        let entry = u64::from(GTF_PERMIT_ACCESS) | PAGE.0 << 32;
        machine.table_of_granter().store_u64(REFERENCE.0 as usize * 8, entry).unwrap();
        Arc::new(machine)
    }

    fn granter(&self) -> &Dom {
        &self.domains[usize::from(GRANTER.0)]
    }

    fn mapper(&self) -> &Dom {
        &self.domains[usize::from(MAPPER.0)]
    }

    fn table_of_granter(&self) -> &PageWords {
        let mfn = self.granter().grants.with_shape(|shape| shape.part(Part::Entries)[0].frame.mfn());
        self.heap.page(mfn).unwrap()
    }

    fn map(&self) -> Result<(GrantHandle, Mfn), Failure> {
        let flags = GrantMapFlags::HOST_MAP;
        map(self, self.mapper(), MapRequest { at: HOLE, flags, reference: REFERENCE, granter: GRANTER })
    }

    fn unmap(&self, handle: GrantHandle) {
        assert!(matches!(begin_unmap(self, self.mapper(), handle, HOLE), Ok(Unmapping::Leaves { fresh: true, .. })));
        finish_unmap(self, self.mapper(), handle);
    }

    /// Gives the page back as `XENMEM_decrease_reservation` does: out of the p2m, then out of its owner's hands.
    fn give_back(&self) -> Mfn {
        let memory = self.memory(self.granter());
        let was = memory.edit(|editor| editor.unmap(PAGE)).unwrap().unwrap();
        assert!(self.frames.release(was.mfn, GRANTER));
        was.mfn
    }

    fn is_free(&self, mfn: Mfn) -> bool {
        self.frames.state(mfn).unwrap().used_as == FrameUse::Free
    }

    /// Lets all grace periods pass.
    fn wait(&self) {
        (0..4).for_each(|_| {
            self.frames.poll_with(&self.heap, true, || Time(0), |_| {});
        });
    }
}

/// How often each of two outcomes was seen: a model that knows one alone tries no order of the two threads.
struct Seen([AtomicU32; 2]);

impl Seen {
    fn note(&self, outcome: usize) {
        self.0[outcome].fetch_add(1, Ordering::Relaxed);
    }

    fn expect_both(&self) {
        let counts = [0, 1].map(|outcome| self.0[outcome].load(Ordering::Relaxed));
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
}

fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 50_000;
    builder.check(body);
}

#[test]
fn a_page_that_its_owner_gives_back_is_free_only_when_nobody_maps_it() {
    static SEEN: Seen = Seen([const { AtomicU32::new(0) }; 2]);
    model(|| {
        let machine = Machine::granting();
        let other = Arc::clone(&machine);
        let granter = thread::spawn(move || other.give_back());
        let mapped = machine.map();
        if let Ok((_, mfn)) = mapped {
            assert!(!machine.is_free(mfn), "it is mapped");
        }
        let given_back = granter.join().unwrap();
        machine.wait();
        SEEN.note(usize::from(mapped.is_ok()));
        match mapped {
            Ok((handle, mfn)) => {
                assert_eq!(mfn, given_back);
                assert!(!machine.is_free(mfn), "it is mapped still");
                machine.unmap(handle);
                machine.wait();
            }
            Err(failure) => assert_eq!(failure, Failure::BadPage),
        }
        assert!(machine.is_free(given_back), "and once only, or the frames would have stopped");
    });
    SEEN.expect_both();
}

/// A page of the mapper's own, for what it copies.
const TARGETS: [Gfn; 2] = [Gfn(1), Gfn(2)];
/// The CPU that copies.
const COPIER: CpuId = CpuId(0);
/// The marks of a use for reading and for writing.
const MARKS: u64 = (GTF_READING | GTF_WRITING) as u64;
const GRANTED: u64 = 0x600d;
const NEVER_GRANTED: u64 = 0xbad;

impl Machine {
    /// The same with pages for the mapper's copies, and no frame left over.
    fn granting_to_a_copier() -> Arc<Self> {
        let machine = Self::granting_on(2);
        let page = machine.memory(machine.granter()).lookup(PAGE).unwrap().mfn;
        machine.heap.page(page).unwrap().store_u64(0, GRANTED).unwrap();
        for gfn in TARGETS {
            let page = machine.frames.allocate(&machine.heap, MAPPER, PageOrder::SIZE_4K, ANYWHERE).unwrap();
            let (mfn, order) = (page.into_mapping(), PageOrder::SIZE_4K);
            let mapping = Mapping { mfn, order, rights: Rights::ALL, kind: PageKind::Ram };
            machine.memory(machine.mapper()).edit(|editor| editor.map(gfn, mapping)).unwrap();
        }
        while let Some(rest) = machine.frames.take(&machine.heap, PageOrder::SIZE_4K, ANYWHERE) {
            let _never_given_back = rest;
        }
        machine
    }

    fn copy_to(&self, gfn: Gfn) -> Result<u64, Failure> {
        let from = End { named: Named::Grant(REFERENCE), domain: GRANTER, offset: 0 };
        let to = End { named: Named::Frame(gfn), domain: DomId::SELF, offset: 0 };
        copy(self, self.mapper(), from, to, 8)?;
        let target = self.memory(self.mapper()).lookup(gfn).unwrap().mfn;
        Ok(self.heap.page(target).unwrap().load_u64(0).unwrap())
    }
}

#[test]
fn a_copy_reads_the_page_that_was_granted_and_no_other_that_its_owner_got_since() {
    static SEEN: Seen = Seen([const { AtomicU32::new(0) }; 2]);
    model(|| {
        let machine = Machine::granting_to_a_copier();
        let other = Arc::clone(&machine);
        // One CPU copies, and another one waits for it before a page is free.
        machine.frames.quiet(COPIER);
        // The granter loses the page and gets it again, empty, for something else; and the mapper copies once more.
        let granter = thread::spawn(move || {
            other.give_back();
            other.wait();
            let again = other.frames.allocate(&other.heap, GRANTER, PageOrder::SIZE_4K, ANYWHERE);
            SEEN.note(usize::from(again.is_ok()));
            if let Ok(page) = again {
                other.heap.page(page.into_mapping()).unwrap().store_u64(0, NEVER_GRANTED).unwrap();
            }
            other.copy_to(TARGETS[1])
        });
        // It goes first where nothing else is tried: a search for other orders sees then what both of them touch.
        let copied = machine.copy_to(TARGETS[0]);
        machine.frames.idle(COPIER);
        for copied in [copied, granter.join().unwrap()] {
            assert!(matches!(copied, Ok(GRANTED) | Err(Failure::BadPage)), "{copied:?}");
        }
    });
    SEEN.expect_both();
}

#[test]
fn a_grant_that_is_copied_and_mapped_at_once_stays_in_use_as_long_as_it_is_mapped() {
    model(|| {
        let machine = Machine::granting_to_a_copier();
        let other = Arc::clone(&machine);
        let copier = thread::spawn(move || other.copy_to(TARGETS[0]));
        let (handle, _) = machine.map().unwrap();
        assert_eq!(copier.join().unwrap(), Ok(GRANTED));
        let in_use = || machine.table_of_granter().load_u64(REFERENCE.0 as usize * 8).unwrap() & MARKS;
        assert_eq!(in_use(), MARKS, "for reading and for writing, since it is mapped");
        machine.unmap(handle);
        assert_eq!(in_use(), 0);
        let page = machine.give_back();
        machine.wait();
        assert!(machine.is_free(page), "no reference is left");
    });
}

#[test]
fn a_table_in_use_keeps_its_version() {
    static SEEN: Seen = Seen([const { AtomicU32::new(0) }; 2]);
    model(|| {
        let machine = Machine::granting();
        let other = Arc::clone(&machine);
        let granter = thread::spawn(move || set_version(&*other, other.granter(), 2));
        let mapped = machine.map();
        let changed = granter.join().unwrap();
        SEEN.note(usize::from(mapped.is_ok()));
        match (mapped, changed) {
            (Ok((handle, _)), Err(Errno::EBUSY)) => {
                machine.unmap(handle);
                assert_eq!(set_version(&*machine, machine.granter(), 2), Ok(()), "nothing is in use any more");
            }
            // The change cleared the entry first.
            (Err(Failure::General), Ok(())) => {}
            other => panic!("{other:?}"),
        }
    });
    SEEN.expect_both();
}
