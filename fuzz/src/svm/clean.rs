//! What a CPU may keep of a control block from one run to the next, and what it may keep of translations.
//!
//! **Source:** AMD manual volume 2, 15.15 (VMCB state caching), 15.16 (TLB control) and appendix B (offsets).

use std::collections::HashMap;

use xenolith_x86::guest::svm::vmcb::{Field, Vmcb};

/// Words of a control block.
pub const WORDS: usize = 512;
pub type Words = [u64; WORDS];

/// The offsets of the words that each clean bit stands for.
const PARTS: [(u32, &[usize]); 10] = [
    (0, &[0x000, 0x008, 0x010, 0x050]),
    (1, &[0x040, 0x048]),
    (2, &[0x058]),
    (3, &[0x060]),
    (4, &[0x090, 0x0b0, 0x668]),
    (5, &[0x4d0, 0x548, 0x550, 0x558]),
    (6, &[0x560, 0x568]),
    (7, &[0x460, 0x468, 0x480, 0x488]),
    (8, &[0x400, 0x408, 0x410, 0x418, 0x420, 0x428, 0x430, 0x438, 0x4c8]),
    (9, &[0x640]),
];
/// The bit for branch records, and its word.
const BRANCHES: (u32, &[usize]) = (10, &[0x670]);

const FLUSH_ALL: u64 = 1;
const FLUSH_THIS: u64 = 3;

/// One CPU.
#[derive(Default)]
pub struct Cached {
    /// The block of each vCPU, as its last run here left it.
    blocks: HashMap<u64, Box<Words>>,
    /// For each identifier whose translations may be here: whose they are, and how old they may be.
    translations: HashMap<u32, (u64, u64)>,
}

/// Reads a whole block.
pub fn words(vmcb: Vmcb) -> Box<Words> {
    Box::new(std::array::from_fn(|index| vmcb.word(index)))
}

impl Cached {
    /// Checks an entry of a vCPU: whatever is said to be clean must be as it was left here, and no translation may be
    /// used that is another vCPU's or older than `generation`.
    pub fn enter(&mut self, vcpu: u64, vmcb: Vmcb, generation: u64, asids: u32) {
        let clean = vmcb.get(Field::CLEAN);
        let known = self.blocks.get(&vcpu);
        for (bit, offsets) in PARTS.into_iter().chain([BRANCHES]) {
            if clean >> bit & 1 == 0 {
                continue;
            }
            let known = known.expect("the block is called clean where it never was");
            for at in offsets {
                let (had, has) = (known[at / 8], vmcb.word(at / 8));
                assert_eq!(had, has, "clean bit {bit} is set, and the word at {at:#x} was changed");
            }
        }
        let word = vmcb.get(Field::ASID);
        let (asid, control) = (word as u32, word >> 32);
        assert!((1..asids).contains(&asid), "identifier {asid} is not a guest's");
        match control {
            0 => {}
            FLUSH_ALL => self.translations.clear(),
            FLUSH_THIS => drop(self.translations.remove(&asid)),
            other => panic!("no way to flush: {other}"),
        }
        let found = self.translations.insert(asid, (vcpu, generation));
        if let Some((whose, since)) = found {
            assert_eq!(whose, vcpu, "two vCPUs share the identifier {asid}");
            assert_eq!(since, generation, "stale translations may be used");
        }
    }

    /// Notes how a run left the block.
    pub fn leave(&mut self, vcpu: u64, vmcb: Vmcb) {
        self.blocks.insert(vcpu, words(vmcb));
    }

    /// What is cached of a vCPU's translations must not be used any more.
    pub fn outdate(&mut self, vcpu: u64) {
        self.translations.values_mut().filter(|(whose, _)| *whose == vcpu).for_each(|(_, since)| *since = 0);
    }
}
