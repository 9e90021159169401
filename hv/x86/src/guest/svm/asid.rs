//! Address space identifiers (ASIDs): the tags by which a CPU tells one guest's TLB entries from another's.
//!
//! Each CPU assigns its own, one after the other. A vCPU that must not use its cached translations gets the next one,
//! so that nothing has to be flushed; when all are used up, the whole TLB is flushed and counting begins again.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use xenolith_hal::CpuId;

/// TLB_CONTROL, in the bits it has beside the ASID. **Source:** AMD manual volume 2, 15.16.1.
const FLUSH_ALL: u64 = 1 << 32;
const FLUSH_THIS: u64 = 3 << 32;

/// Returns true if an ASID word makes the CPU flush at the entry.
#[inline]
pub(super) const fn flushes(word: u64) -> bool {
    word & (FLUSH_ALL | FLUSH_THIS) != 0
}

/// The identifiers of one CPU, touched by that CPU alone.
pub(super) struct Asids {
    next: AtomicU32,
    limit: AtomicU32,
    /// Counts the times that all were used up; 0 is never.
    round: AtomicU64,
}

/// What a vCPU was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tag {
    cpu: CpuId,
    round: u64,
    asid: u32,
    /// The translation and its generation that the CPU may have cached parts of.
    root: u64,
    generation: u64,
}

impl Asids {
    pub(super) const fn new() -> Self {
        Self { next: AtomicU32::new(1), limit: AtomicU32::new(2), round: AtomicU64::new(1) }
    }

    /// Starts with `count` identifiers, the host's number 0 among them; none is given to anybody.
    pub(super) fn start(&self, count: u32) {
        self.limit.store(count.max(2), Ordering::Relaxed);
        self.next.store(1, Ordering::Relaxed);
        self.round.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the ASID word of the VMCB for an entry on `cpu` with this generation of the p2m at `root`.
    pub(super) fn word(&self, tag: &mut Tag, cpu: CpuId, root: u64, generation: u64, flush_by_asid: bool) -> u64 {
        let ours = tag.cpu == cpu && tag.round == self.round.load(Ordering::Relaxed) && tag.root == root;
        if ours && tag.generation == generation {
            return u64::from(tag.asid);
        }
        if ours && flush_by_asid {
            tag.generation = generation;
            return u64::from(tag.asid) | FLUSH_THIS;
        }
        let mut asid = self.next.load(Ordering::Relaxed);
        let mut flush = 0;
        if asid >= self.limit.load(Ordering::Relaxed) {
            asid = 1;
            flush = FLUSH_ALL;
            self.round.fetch_add(1, Ordering::Relaxed);
        }
        self.next.store(asid.saturating_add(1), Ordering::Relaxed);
        *tag = Tag { cpu, round: self.round.load(Ordering::Relaxed), asid, root, generation };
        u64::from(asid) | flush
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: CpuId = CpuId(0);

    #[test]
    fn a_vcpu_keeps_its_tag_while_nothing_changes() {
        let asids = Asids::new();
        asids.start(16);
        let mut tag = Tag::default();
        assert_eq!(asids.word(&mut tag, CPU, 1, 1, false), 1);
        assert_eq!(asids.word(&mut tag, CPU, 1, 1, false), 1);
    }

    #[test]
    fn a_new_generation_a_new_cpu_or_a_new_root_drops_what_was_cached() {
        let (here, there) = (Asids::new(), Asids::new());
        here.start(16);
        there.start(16);
        let mut tag = Tag::default();
        assert_eq!(here.word(&mut tag, CPU, 1, 1, false), 1);
        assert_eq!(here.word(&mut tag, CPU, 1, 2, false), 2);
        assert_eq!(here.word(&mut tag, CPU, 2, 2, false), 3);
        assert_eq!(there.word(&mut tag, CpuId(1), 2, 2, false), 1);
        assert_eq!(here.word(&mut tag, CPU, 2, 2, false), 4);
    }

    #[test]
    fn two_vcpus_never_share_a_tag() {
        let asids = Asids::new();
        asids.start(4);
        let mut tags = [Tag::default(); 5];
        for _ in 0..3 {
            let mut seen = alloc::vec::Vec::new();
            for tag in &mut tags {
                let word = asids.word(tag, CPU, 1, 1, false);
                if word & FLUSH_ALL != 0 {
                    seen.clear();
                }
                assert!(!seen.contains(&(word as u32)));
                assert!((1..4).contains(&(word as u32)));
                seen.push(word as u32);
            }
        }
    }

    #[test]
    fn using_up_all_tags_flushes_and_takes_them_from_everyone() {
        let asids = Asids::new();
        asids.start(2);
        let (mut one, mut other) = (Tag::default(), Tag::default());
        assert_eq!(asids.word(&mut one, CPU, 1, 1, false), 1);
        assert_eq!(asids.word(&mut other, CPU, 1, 1, false), 1 | FLUSH_ALL);
        assert_eq!(asids.word(&mut one, CPU, 1, 1, false), 1 | FLUSH_ALL);
    }

    #[test]
    fn a_start_takes_tags_from_everyone_and_begins_again() {
        let asids = Asids::new();
        let mut tag = Tag::default();
        for _ in 0..3 {
            asids.start(16);
            assert_eq!(asids.word(&mut tag, CPU, 1, 1, false), 1);
            assert_eq!(asids.word(&mut tag, CPU, 1, 2, false), 2);
        }
    }

    #[test]
    fn a_cpu_that_can_flushes_one_tag_and_keeps_it() {
        let asids = Asids::new();
        asids.start(16);
        let mut tag = Tag::default();
        assert_eq!(asids.word(&mut tag, CPU, 1, 1, true), 1);
        assert_eq!(asids.word(&mut tag, CPU, 1, 2, true), 1 | FLUSH_THIS);
        assert_eq!(asids.word(&mut tag, CPU, 1, 2, true), 1);
    }
}
