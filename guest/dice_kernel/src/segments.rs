//! The segments that instructions run with.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_guest_kit::cpu;

use crate::place::{self, WINDOW};
use crate::shape::Mode;

/// A data segment.
pub struct Segment {
    pub base: u64,
}

/// The data segments: flat, two from which offsets of 16 bits reach the window, and one from which they do not.
pub const SEGMENTS: [Segment; 4] = [
    Segment { base: 0 },
    Segment { base: WINDOW - 0x8000 },
    Segment { base: WINDOW - 0x3333 },
    Segment { base: 0x1234_5671 },
];
/// The two that offsets of 16 bits need, and all.
pub const NEAR: &[usize] = &[1, 2];
pub const ANY: &[usize] = &[0, 1, 2, 3];

const KIT_ENTRIES: usize = 8;
const FLAT_32: u64 = 0x00cf_9b00_0000_ffff;
const LONG: u64 = 0x00af_9b00_0000_ffff;
const NARROW: u64 = 0x000f_9b00_0000_ffff;
const DATA: u64 = 0x00cf_9300_0000_ffff;
/// What makes a descriptor one for CPL 3, and a selector.
const FOR_USERS: u64 = 3 << 45;
const USER: u64 = 3;
/// Where ours begin, by index: code and data, the same for CPL 3, and the one that holds the kit's base of GS.
const CODE: usize = KIT_ENTRIES;
const FIRST_DATA: usize = CODE + 3;
const OF_ONE_LEVEL: usize = 3 + SEGMENTS.len();
const OWN: usize = CODE + 2 * OF_ONE_LEVEL;
const GS_BASE: u32 = 0xc000_0101;

static TABLE: [AtomicU64; OWN + 1] = [const { AtomicU64::new(0) }; OWN + 1];

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

unsafe extern "C" {
    static kit_gdt: [AtomicU64; KIT_ENTRIES];
}

/// Returns the selector of one of our segments, by index, for code of the kernel or of users.
const fn selector_of(index: usize, user: bool) -> u64 {
    if user { ((index + OF_ONE_LEVEL) as u64 * 8) | USER } else { index as u64 * 8 }
}

/// Returns the selector of a data segment.
pub const fn selector(segment: usize, user: bool) -> u64 {
    selector_of(FIRST_DATA + segment, user)
}

/// Returns the selector of the segment that holds the kit's base of GS.
pub const fn own_gs() -> u64 {
    OWN as u64 * 8
}

/// Returns the selector of code of this size, and the base of its segment.
pub const fn of_code(mode: Mode, user: bool) -> (u64, u64) {
    match mode {
        Mode::Code64 => (selector_of(CODE, user), 0),
        Mode::Code32 => (selector_of(CODE + 1, user), 0),
        Mode::Code16 => (selector_of(CODE + 2, user), place::CODE_AT),
    }
}

const fn with_base(descriptor: u64, base: u64) -> u64 {
    descriptor | (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56
}

/// Adds them to the kit's, which stay where they are.
pub fn set_up() {
    // SAFETY: the kit's table has no fewer entries, and nothing changes it any more.
    let kit = unsafe { &kit_gdt };
    let code = [LONG, FLAT_32, with_base(NARROW, place::CODE_AT)];
    let of_kernel = || code.into_iter().chain(SEGMENTS.iter().map(|segment| with_base(DATA, segment.base)));
    let of_users = of_kernel().map(|descriptor| descriptor | FOR_USERS);
    let own = of_kernel().chain(of_users).chain([with_base(DATA, cpu::read_msr(GS_BASE))]);
    let entries = kit.iter().map(|entry| entry.load(Ordering::Relaxed)).chain(own);
    TABLE.iter().zip(entries).for_each(|(to, entry)| to.store(entry, Ordering::Relaxed));
    let pointer = Pointer { limit: size_of_val(&TABLE) as u16 - 1, base: &raw const TABLE as u64 };
    // SAFETY: the segments in use have the same descriptors at the same places in this table, which is static.
    unsafe { asm!("lgdt [{}]", in(reg) &raw const pointer, options(nostack, readonly)) };
}
