//! The memory around the target: four pages at fixed linear addresses, of which the middle two are RAM in one run and
//! a device's in the other.

use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_guest_kit::cpu;
use xenolith_guest_kit::pages::{Page, read_at, write_at};

use crate::dice::Dice;

/// Where the four pages are seen. Below 2 GiB, so that a displacement alone reaches them.
pub const WINDOW: u64 = 0x6000_0000;
/// Where the two pages of code are seen, and the one of the stack.
pub const CODE_AT: u64 = WINDOW + CODE_SLOT * PAGE;
const STACK_AT: u64 = WINDOW + STACK_SLOT * PAGE;
const CODE_SLOT: u64 = 8;
const STACK_SLOT: u64 = 12;
/// The device's two pages, guest-physical.
pub const DEVICE: u64 = 0xe000_0000;
pub const DEVICE_BYTES: u64 = 2 * PAGE;
/// The most bytes that a string instruction goes from where it begins.
pub const REACH: u64 = 128;
/// Words of memory that are filled before a run and compared after it.
pub const WORDS: usize = 64;

const PAGE: u64 = 4096;
const HALF: u64 = WORDS as u64 * 4;
/// Rights of a page: of one that may be read alone, of one that may be written too, and what lets CPL 3 use it.
const PRESENT: u64 = 1;
const PRESENT_WRITABLE: u64 = 3;
const USER: u64 = 4;
/// What processors note in an entry: accessed, dirty.
const USED: u64 = 0x60;

/// The page before the device and the one after it, RAM in place of the device, and what the device holds.
pub static BEFORE: Page = Page::new();
pub static AFTER: Page = Page::new();
static RAM: [Page; 2] = [const { Page::new() }; 2];
pub static HELD: [Page; 2] = [const { Page::new() }; 2];
/// RAM for instructions that push and pop.
static STACK: Page = Page::new();
/// Two pages for the instruction.
static CODE: [Page; 2] = [const { Page::new() }; 2];

#[repr(C, align(4096))]
struct Table([AtomicU64; 512]);
static TABLE: Table = Table([const { AtomicU64::new(0) }; 512]);

unsafe extern "C" {
    static kit_pml4: [AtomicU64; 512];
    static kit_pdpt: [AtomicU64; 512];
    static kit_page_directories: [AtomicU64; 2048];
}

/// Words of the stack that are filled and compared, and where they begin in its page.
pub const STACK_WORDS: usize = 4;
const STACK_OFFSET: u64 = 0x800;

/// Where the stack pointer may stand: in the middle of the words that are compared.
pub const STACK_POINTER: u64 = STACK_AT + STACK_OFFSET + STACK_WORDS as u64 * 4;

/// Fills the stack with its own addresses.
pub fn fill_stack() {
    let from = STACK.address() + STACK_OFFSET;
    (from..).step_by(8).take(STACK_WORDS).for_each(|at| write_at(at, at.wrapping_mul(0x0123_4567_89ab_cdef)));
}

/// Reads it.
pub fn read_stack() -> [u64; STACK_WORDS] {
    let from = STACK.address() + STACK_OFFSET;
    core::array::from_fn(|index| read_at(from + index as u64 * 8))
}

/// What the instruction works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ram,
    Device,
}

/// Maps the window. To be called once.
pub fn set_up() {
    // SAFETY: the symbols are the kit's static tables; atomics may be changed while the processor walks them.
    let (top, pointers, directories) = unsafe { (&kit_pml4, &kit_pdpt, &kit_page_directories) };
    directories[(WINDOW >> 21) as usize].store(&raw const TABLE as u64 | PRESENT_WRITABLE | USER, Ordering::Relaxed);
    // What is not for CPL 3 says so further down.
    for above in [&top[0], &pointers[(WINDOW >> 30) as usize]] {
        above.fetch_or(USER, Ordering::Relaxed);
    }
    (CODE_SLOT..).zip(&CODE).for_each(|(slot, page)| map(slot, page.address() | PRESENT | USER));
    map(STACK_SLOT, STACK.address() | PRESENT_WRITABLE | USER);
    cpu::forget_translation(WINDOW);
}

fn map(slot: u64, entry: u64) {
    let there = &TABLE.0[slot as usize];
    if there.load(Ordering::Relaxed) & !USED != entry {
        there.store(entry, Ordering::Relaxed);
        cpu::forget_translation(WINDOW + slot * PAGE);
    }
}

/// Where in the window a case works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The middle of what is filled and compared.
    pub center: u64,
    /// The device's pages lie the other way round.
    pub swapped: bool,
    /// The instruction runs at CPL 3.
    pub user: bool,
    /// The page of the window that has other rights than the others, and its rights.
    pub other: Option<(u64, u64)>,
}

impl Place {
    /// Chooses one: mostly inside the device's first page, else where two pages meet.
    pub fn new(dice: &mut Dice, splits: bool, faults: bool) -> Self {
        let boundary = dice.below(8);
        let center = match boundary {
            1..=3 if splits => WINDOW + boundary * PAGE,
            _ => WINDOW + PAGE + PAGE / 2,
        };
        let slot = (center - dice.below(2) * HALF - WINDOW) / PAGE;
        let other =
            (faults && dice.once_in(8)).then(|| (slot, dice.pick(&[0, PRESENT, PRESENT | USER, PRESENT_WRITABLE])));
        Self { center, swapped: dice.once_in(8), user: dice.once_in(4), other }
    }

    /// Returns the address of an operand that touches the device.
    pub fn target(&self, dice: &mut Dice, bytes: u64) -> u64 {
        match self.center - WINDOW {
            // The device begins at the boundary, or ends there.
            PAGE => self.center - dice.below(bytes.max(1)),
            0x3000 => self.center - 1 - dice.below(16),
            0x2000 => self.center + dice.below(16) - 8,
            _ if dice.once_in(2) => self.center + dice.below(16),
            _ => self.center + dice.below(4) * bytes,
        }
    }

    /// Returns the address of another operand near it, which need not touch the device.
    pub fn near(&self, dice: &mut Dice, bytes: u64) -> u64 {
        match dice.below(3) {
            0 => self.center + dice.below(64) - 32,
            _ => (self.center + dice.below(64) - 32) & !(bytes - 1),
        }
    }

    /// Returns where a page of the window lies in memory.
    fn backing(&self, slot: u64, kind: Kind) -> u64 {
        match (slot, kind) {
            (0, _) => BEFORE.address(),
            (3, _) => AFTER.address(),
            (slot, kind) => {
                let pages = if kind == Kind::Ram { &RAM } else { &HELD };
                pages[(slot as usize - 1) ^ usize::from(self.swapped)].address()
            }
        }
    }

    /// Shows the RAM or the device in the window, as far as it is compared.
    pub fn show(&self, kind: Kind) {
        for slot in (self.center - HALF - WINDOW) / PAGE..=(self.center - WINDOW) / PAGE {
            let frame = match (slot, kind) {
                (1 | 2, Kind::Device) => DEVICE + PAGE * ((slot - 1) ^ u64::from(self.swapped)),
                _ => self.backing(slot, kind),
            };
            let rights =
                self.other.filter(|(other, _)| *other == slot).map_or(PRESENT_WRITABLE | USER, |(_, rights)| rights);
            map(slot, frame | rights);
        }
    }

    /// Returns where the words that are compared lie: the address of the first half and of the second.
    fn halves(&self, kind: Kind) -> [u64; 2] {
        let at = |address: u64| self.backing((address - WINDOW) / PAGE, kind) + address % PAGE;
        [at(self.center - HALF), at(self.center)]
    }

    /// Writes the words.
    pub fn fill(&self, kind: Kind, words: &[u64; WORDS]) {
        for (half, words) in self.halves(kind).into_iter().zip(words.chunks_exact(WORDS / 2)) {
            (half..).step_by(8).zip(words).for_each(|(at, word)| write_at(at, *word));
        }
    }

    /// Reads the words.
    pub fn read(&self, kind: Kind, words: &mut [u64; WORDS]) {
        for (half, words) in self.halves(kind).into_iter().zip(words.chunks_exact_mut(WORDS / 2)) {
            (half..).step_by(8).zip(words).for_each(|(at, word)| *word = read_at(at));
        }
    }

    /// Returns the byte at an address of what was filled.
    pub fn byte(&self, words: &[u64; WORDS], address: u64) -> u8 {
        let at = address.wrapping_sub(self.center - HALF) as usize;
        words.get(at / 8).map_or(0, |word| (word >> (at % 8 * 8)) as u8)
    }
}

/// Returns true if the RAM and what the device holds are the same everywhere, also where nothing should write.
pub fn all_is_equal() -> bool {
    RAM.iter().zip(&HELD).all(|(ram, held)| (0..4096).step_by(8).all(|at| ram.read::<u64>(at) == held.read::<u64>(at)))
}

/// Makes them so.
pub fn make_equal() {
    for page in RAM.iter().chain(&HELD).chain([&BEFORE, &AFTER]) {
        page.fill(0);
    }
}

/// Puts an instruction into the pages of code, and a breakpoint after it.
pub fn put_code(at: u64, bytes: &[u8]) {
    const BREAKPOINT: u8 = 0xcc;
    (CODE[0].address() + at..).zip(bytes.iter().chain(&[BREAKPOINT])).for_each(|(at, byte)| write_at(at, *byte));
}
