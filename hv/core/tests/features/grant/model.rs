//! Grants of three domains against a naive model, while the granting domains write over their entries as they please.

use crate::memory::world::{Machine, PAGES};
use proptest::prelude::*;
use std::collections::BTreeMap;
use xen_abi::grant_entry::*;
use xen_abi::grant_table::GrantMapFlags;
use xenolith_core::components::grant::*;
use xenolith_hal::{DomId, Gfn, Gpa, GrantHandle, GrantRef, NestedSpace, PageKind, Rights};

const DOMAINS: u16 = 3;
const ENTRIES: u32 = 4;
const FIRST_ENTRY: u32 = 8;
const SLOTS: u64 = 4;
const FIRST_SLOT: u64 = 0x200;

#[derive(Clone, Debug)]
enum Step {
    Write { granter: u16, entry: u32, flags: u16, to: u16, frame: u32 },
    Map { mapper: u16, granter: u16, entry: u32, slot: u64, write: bool },
    Unmap { mapper: u16, pick: prop::sample::Index, shift: u64 },
    Copy { by: u16, granter: u16, entry: u32, into: bool, offset: u16, length: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    let dom = || 0..DOMAINS;
    let entry = || FIRST_ENTRY..FIRST_ENTRY + ENTRIES;
    let flags = prop::sample::select(
        &[
            GTF_PERMIT_ACCESS,
            GTF_PERMIT_ACCESS | GTF_READONLY,
            GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING,
            GTF_PERMIT_ACCESS | GTF_SUB_PAGE,
            GTF_ACCEPT_TRANSFER,
            GTF_INVALID,
        ][..],
    );
    prop_oneof![
        3 => (dom(), entry(), flags, dom(), 0..PAGES as u32 + 2)
            .prop_map(|(granter, entry, flags, to, frame)| Step::Write { granter, entry, flags, to, frame }),
        4 => (dom(), dom(), entry(), 0..SLOTS, any::<bool>())
            .prop_map(|(mapper, granter, entry, slot, write)| Step::Map { mapper, granter, entry, slot, write }),
        3 => (dom(), any::<prop::sample::Index>(), prop::sample::select(&[0u64, 0, 0, 1][..]))
            .prop_map(|(mapper, pick, shift)| Step::Unmap { mapper, pick, shift }),
        2 => (dom(), dom(), entry(), any::<bool>(), 0u16..5000, 0u16..5000)
            .prop_map(|(by, granter, entry, into, offset, length)| Step::Copy { by, granter, entry, into, offset, length }),
    ]
}

#[derive(Clone, Copy, Default)]
struct Used {
    by: u16,
    frame: u64,
    readers: u32,
    writers: u32,
}

impl Used {
    fn any(&self) -> bool {
        self.readers + self.writers > 0
    }
}

#[derive(Clone, Copy)]
struct Known {
    granter: u16,
    entry: u32,
    slot: u64,
    write: bool,
}

#[derive(Default)]
struct Model {
    words: BTreeMap<(u16, u32), u64>,
    used: BTreeMap<(u16, u32), Used>,
    mapped: BTreeMap<(u16, u32), Known>,
}

impl Model {
    fn word(&self, at: (u16, u32)) -> u64 {
        self.words.get(&at).copied().unwrap_or(0)
    }

    /// What a use is answered, by the rules in prose; on success the marks are set and the use is counted.
    fn pin(&mut self, at: (u16, u32), by: u16, write: bool, map: bool) -> Result<(), Failure> {
        let word = self.word(at);
        let (flags, to, frame) = (word as u16, (word >> 16) as u16, word >> 32);
        let mut used = self.used.get(&at).copied().unwrap_or_default();
        if used.any() && used.by != by {
            return Err(Failure::General);
        }
        let covered = used.any() && (!write || used.writers > 0);
        if !covered {
            let kind_mask = if map { GTF_TYPE_MASK | GTF_SUB_PAGE } else { GTF_TYPE_MASK };
            let permitted = used.any() || (flags & kind_mask == GTF_PERMIT_ACCESS && to == by);
            if !permitted || (write && flags & GTF_READONLY != 0) {
                return Err(Failure::General);
            }
            let marks = u64::from(if write { GTF_READING | GTF_WRITING } else { GTF_READING });
            self.words.insert(at, word | marks);
            if !used.any() && frame >= PAGES {
                self.words.insert(at, word & !marks);
                return Err(Failure::BadPage);
            }
            if !used.any() {
                used = Used { by, frame, ..Used::default() };
            }
        }
        if write {
            used.writers += 1;
        } else {
            used.readers += 1;
        }
        self.used.insert(at, used);
        Ok(())
    }

    fn unpin(&mut self, at: (u16, u32), write: bool) {
        let mut used = self.used[&at];
        if write {
            used.writers -= 1;
        } else {
            used.readers -= 1;
        }
        self.used.insert(at, used);
        let writing = if write && used.writers == 0 { GTF_WRITING } else { 0 };
        let reading = if used.any() { 0 } else { GTF_READING };
        let word = self.word(at);
        self.words.insert(at, word & !u64::from(writing | reading));
    }
}

fn map_step(machine: &Machine, model: &mut Model, mapper: u16, at: (u16, u32), slot: u64, write: bool) {
    let flags = if write { GrantMapFlags::HOST_MAP } else { GrantMapFlags::HOST_MAP | GrantMapFlags::READONLY };
    let gpa = Gpa::from_gfn(Gfn(FIRST_SLOT + slot));
    let request = MapRequest { at: gpa, flags, reference: GrantRef(at.1), granter: DomId(at.0) };
    let got = map(machine, machine.dom(mapper), request);
    let mut expected = model.pin(at, mapper, write, true);
    let taken = model.mapped.iter().any(|((by, _), known)| *by == mapper && known.slot == slot);
    if expected.is_ok() && taken {
        model.unpin(at, write);
        expected = Err(Failure::General);
    }
    assert_eq!(got.map(|_| ()), expected);
    if let Ok((handle, _)) = got {
        model.mapped.insert((mapper, handle.0), Known { granter: at.0, entry: at.1, slot, write });
    }
}

fn unmap_step(machine: &Machine, model: &mut Model, mapper: u16, pick: prop::sample::Index, shift: u64) {
    let mine: Vec<u32> = model.mapped.keys().filter(|(by, _)| *by == mapper).map(|(_, handle)| *handle).collect();
    if mine.is_empty() {
        return;
    }
    let handle = mine[pick.index(mine.len())];
    let known = model.mapped[&(mapper, handle)];
    let slot = known.slot + shift;
    let frame_of = |known: &Known| (known.granter, model.used[&(known.granter, known.entry)].frame);
    // Any place will do where the same page stands with the same rights.
    let stands = model.mapped.iter().find(|((by, _), other)| *by == mapper && other.slot == slot);
    let fits = stands.is_some_and(|(_, other)| frame_of(other) == frame_of(&known) && other.write == known.write);
    let at = Gpa::from_gfn(Gfn(FIRST_SLOT + slot));
    let got = begin_unmap(machine, machine.dom(mapper), GrantHandle(handle), at);
    assert_eq!(got.is_ok(), fits);
    if fits {
        finish_unmap(machine, machine.dom(mapper), GrantHandle(handle));
        let (key, other) = stands.map(|(key, other)| (*key, *other)).unwrap();
        // The handle that stood there now stands where the other one's page is.
        model.mapped.insert(key, Known { slot: known.slot, ..other });
        model.mapped.remove(&(mapper, handle));
        model.unpin((known.granter, known.entry), known.write);
    }
}

fn check(machine: &Machine, model: &Model) {
    for ((granter, entry), word) in &model.words {
        let table = machine.table(*granter, Part::Entries, 0);
        assert_eq!(table.load_u64(*entry as usize * 8), Some(*word));
    }
    for mapper in 0..DOMAINS {
        for slot in 0..SLOTS + 1 {
            let there = machine.dom(mapper).space.lookup(Gfn(FIRST_SLOT + slot));
            let known = model.mapped.iter().find(|((by, _), known)| *by == mapper && known.slot == slot);
            let expected = known.map(|(_, known)| {
                let frame = model.used[&(known.granter, known.entry)].frame;
                let rights = if known.write { Rights::DATA } else { Rights::READ };
                (machine.mfn(known.granter, frame), rights, PageKind::Grant)
            });
            assert_eq!(there.map(|at| (at.mfn, at.rights, at.kind)), expected);
        }
    }
    for granter in 0..DOMAINS {
        for frame in 0..PAGES {
            let uses = model.used.iter().filter(|((by, _), used)| *by == granter && used.any() && used.frame == frame);
            let uses: u32 = uses.map(|(_, used)| used.readers + used.writers).sum();
            let state = machine.frames.state(machine.mfn(granter, frame)).unwrap();
            assert_eq!((state.owner, state.references), (DomId(granter), 1 + uses));
        }
    }
}

proptest! {
    #[test]
    fn grants_do_what_the_model_says(steps in prop::collection::vec(step(), 1..120)) {
        let machine = Machine::new(DOMAINS, Limits::DEFAULT);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Write { granter, entry, flags, to, frame } => {
                    let word = u64::from(flags) | u64::from(to) << 16 | u64::from(frame) << 32;
                    machine.table(granter, Part::Entries, 0).store_u64(entry as usize * 8, word).unwrap();
                    model.words.insert((granter, entry), word);
                }
                Step::Map { mapper, granter, entry, slot, write } =>
                    map_step(&machine, &mut model, mapper, (granter, entry), slot, write),
                Step::Unmap { mapper, pick, shift } => unmap_step(&machine, &mut model, mapper, pick, shift),
                Step::Copy { by, granter, entry, into, offset, length } => {
                    let grant = End { named: Named::Grant(GrantRef(entry)), domain: DomId(granter), offset };
                    let own = End { named: Named::Frame(Gfn(1)), domain: DomId::SELF, offset: 0 };
                    let (from, to) = if into { (own, grant) } else { (grant, own) };
                    let got = copy(&machine, machine.dom(by), from, to, length);
                    let mut expected = model.pin((granter, entry), by, into, false);
                    if expected.is_ok() {
                        model.unpin((granter, entry), into);
                        if u32::from(offset) + u32::from(length) > 4096 || length > 4096 {
                            expected = Err(Failure::BadCopy);
                        }
                    }
                    prop_assert_eq!(got, expected);
                }
            }
            machine.settle();
            check(&machine, &model);
        }
    }
}
