//! The virtual machine control block (VMCB): one page that says how a guest runs and why it stopped.
//!
//! The page is accessed as an array of 64-bit words, because the CPU writes to it while a guest runs; so all of it is
//! safe code. Fields that are narrower than a word are shifted out of theirs.
//!
//! **Source:** AMD manual volume 2, appendix B.

use xenolith_hal::{DescriptorTable, PAGE_SIZE, PageWords, Segment, SegmentAttributes};

use core::sync::atomic::Ordering;

/// A word of the block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field(usize);

impl Field {
    const fn at(offset: usize) -> Self {
        assert!(offset.is_multiple_of(8) && offset < PAGE_SIZE, "a field is a whole word of the block");
        Self(offset / 8)
    }

    /// Returns a field of the state save area, by the offset that the manual gives in it.
    const fn saved(offset: usize) -> Self {
        Self::at(0x400 + offset)
    }

    /// Control registers in bits 0 to 31, debug registers in bits 32 to 63: accesses to intercept.
    pub const REGISTER_INTERCEPTS: Self = Self::at(0x000);
    /// Exceptions in bits 0 to 31, the first word of instructions and events in bits 32 to 63.
    pub const INTERCEPTS: Self = Self::at(0x008);
    /// The second and third word of instructions.
    pub const MORE_INTERCEPTS: Self = Self::at(0x010);
    pub const IO_PERMISSIONS: Self = Self::at(0x040);
    pub const MSR_PERMISSIONS: Self = Self::at(0x048);
    pub const TSC_OFFSET: Self = Self::at(0x050);
    /// ASID in bits 0 to 31, TLB_CONTROL in bits 32 to 39.
    pub const ASID: Self = Self::at(0x058);
    /// V_TPR, V_IRQ and their kin; see [`super::interrupt`].
    pub const VIRTUAL_INTERRUPT: Self = Self::at(0x060);
    /// Bit 0: the guest is in an interrupt shadow.
    pub const INTERRUPT_SHADOW: Self = Self::at(0x068);
    pub const EXIT_CODE: Self = Self::at(0x070);
    pub const EXIT_INFO_1: Self = Self::at(0x078);
    pub const EXIT_INFO_2: Self = Self::at(0x080);
    pub const EXIT_INTERRUPTION: Self = Self::at(0x088);
    pub const NESTED_PAGING: Self = Self::at(0x090);
    pub const EVENT_INJECTION: Self = Self::at(0x0a8);
    pub const NESTED_CR3: Self = Self::at(0x0b0);
    pub const CLEAN: Self = Self::at(0x0c0);
    pub const NEXT_RIP: Self = Self::at(0x0c8);
    /// The number of instruction bytes in bits 0 to 7, the first seven of them above.
    pub const INSTRUCTION_LOW: Self = Self::at(0x0d0);
    /// Instruction bytes 7 to 14.
    pub const INSTRUCTION_HIGH: Self = Self::at(0x0d8);

    pub const ES: Self = Self::saved(0x000);
    pub const CS: Self = Self::saved(0x010);
    pub const SS: Self = Self::saved(0x020);
    pub const DS: Self = Self::saved(0x030);
    pub const FS: Self = Self::saved(0x040);
    pub const GS: Self = Self::saved(0x050);
    pub const GDTR: Self = Self::saved(0x060);
    pub const LDTR: Self = Self::saved(0x070);
    pub const IDTR: Self = Self::saved(0x080);
    pub const TR: Self = Self::saved(0x090);
    /// The privilege level in bits 24 to 31.
    pub const CPL: Self = Self::saved(0x0c8);
    pub const EFER: Self = Self::saved(0x0d0);
    pub const CR4: Self = Self::saved(0x148);
    pub const CR3: Self = Self::saved(0x150);
    pub const CR0: Self = Self::saved(0x158);
    pub const DR7: Self = Self::saved(0x160);
    pub const DR6: Self = Self::saved(0x168);
    pub const RFLAGS: Self = Self::saved(0x170);
    pub const RIP: Self = Self::saved(0x178);
    pub const RSP: Self = Self::saved(0x1d8);
    pub const RAX: Self = Self::saved(0x1f8);
    pub const STAR: Self = Self::saved(0x200);
    pub const LSTAR: Self = Self::saved(0x208);
    pub const CSTAR: Self = Self::saved(0x210);
    pub const SFMASK: Self = Self::saved(0x218);
    pub const KERNEL_GS_BASE: Self = Self::saved(0x220);
    pub const SYSENTER_CS: Self = Self::saved(0x228);
    pub const SYSENTER_ESP: Self = Self::saved(0x230);
    pub const SYSENTER_EIP: Self = Self::saved(0x238);
    pub const CR2: Self = Self::saved(0x240);
    pub const G_PAT: Self = Self::saved(0x268);
    pub const DEBUG_CONTROL: Self = Self::saved(0x270);
}

/// Parts of the block that the CPU may keep in a cache of its own until software says that it changed them.
/// **Source:** AMD manual volume 2, 15.15.3.
pub mod clean {
    pub const INTERCEPTS: u64 = 1;
    pub const PERMISSION_MAPS: u64 = 1 << 1;
    pub const ASID: u64 = 1 << 2;
    pub const VIRTUAL_INTERRUPT: u64 = 1 << 3;
    pub const NESTED_PAGING: u64 = 1 << 4;
    pub const CONTROL_REGISTERS: u64 = 1 << 5;
    pub const DEBUG_REGISTERS: u64 = 1 << 6;
    pub const CR2: u64 = 1 << 9;
    pub const LAST_BRANCH: u64 = 1 << 10;
    /// Every bit that has a meaning to us. The others stay 0: not clean.
    pub const ALL: u64 = 0x7ff;
}

/// The place of a segment's attributes in the first word of its register. The block has the descriptor's bits in the
/// order in which [`SegmentAttributes`] has them. **Source:** AMD manual volume 2, 15.5.1.
const ATTRIBUTES_SHIFT: u32 = 16;

const fn attributes_of(word: u64) -> SegmentAttributes {
    SegmentAttributes::from_bits_truncate((word >> ATTRIBUTES_SHIFT) as u16)
}

const fn attribute_bits(attributes: SegmentAttributes) -> u64 {
    (attributes.bits() as u64) << ATTRIBUTES_SHIFT
}

/// A control block in its page.
#[derive(Clone, Copy)]
pub struct Vmcb(&'static PageWords);

impl Vmcb {
    /// Returns the block in this page, which is nothing else's.
    #[must_use]
    pub const fn new(page: &'static PageWords) -> Self {
        Self(page)
    }

    /// Reads a word.
    #[inline]
    #[must_use]
    pub fn get(self, field: Field) -> u64 {
        self.0.words().get(field.0).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Writes a word.
    #[inline]
    pub fn set(self, field: Field, value: u64) {
        if let Some(word) = self.0.words().get(field.0) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Reads any word, as a CPU might.
    #[cfg(not(target_os = "none"))]
    #[must_use]
    pub fn word(self, index: usize) -> u64 {
        self.get(Field(index))
    }

    /// Writes any word, as a CPU might.
    #[cfg(not(target_os = "none"))]
    pub fn set_word(self, index: usize, value: u64) {
        self.set(Field(index), value);
    }

    /// Reads a segment register.
    #[must_use]
    pub fn segment(self, field: Field) -> Segment {
        let word = self.get(field);
        Segment {
            selector: word as u16,
            attributes: attributes_of(word),
            limit: (word >> 32) as u32,
            base: self.get(Field(field.0 + 1)),
        }
    }

    /// Reads the attributes of a segment register alone.
    #[must_use]
    pub fn attributes(self, field: Field) -> SegmentAttributes {
        attributes_of(self.get(field))
    }

    /// Writes a segment register.
    pub fn set_segment(self, field: Field, segment: &Segment) {
        let word = u64::from(segment.selector) | attribute_bits(segment.attributes) | u64::from(segment.limit) << 32;
        self.set(field, word);
        self.set(Field(field.0 + 1), segment.base);
    }

    /// Reads GDTR or IDTR.
    #[must_use]
    pub fn table(self, field: Field) -> DescriptorTable {
        DescriptorTable { limit: (self.get(field) >> 32) as u16, base: self.get(Field(field.0 + 1)) }
    }

    /// Writes GDTR or IDTR.
    pub fn set_table(self, field: Field, table: &DescriptorTable) {
        self.set(field, u64::from(table.limit) << 32);
        self.set(Field(field.0 + 1), table.base);
    }

    /// Returns the instruction bytes that the CPU fetched for the exit, and how many.
    #[must_use]
    pub fn instruction(self) -> ([u8; 15], usize) {
        let low = self.get(Field::INSTRUCTION_LOW).to_le_bytes();
        let high = self.get(Field::INSTRUCTION_HIGH).to_le_bytes();
        let [count, first @ ..] = low;
        let mut bytes = [0; 15];
        for (to, from) in bytes.iter_mut().zip(first.iter().chain(&high)) {
            *to = *from;
        }
        (bytes, usize::from(count).min(15))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;

    #[test]
    fn a_segment_lies_where_the_manual_says() {
        let page: &PageWords = Box::leak(Box::new(PageWords::new()));
        let vmcb = Vmcb::new(Box::leak(Box::new(PageWords::new())));
        let segment = Segment {
            selector: 0x1122,
            attributes: SegmentAttributes::from_bits_truncate(0xc93),
            limit: 0x8765_4321,
            base: 0xffff_8000_0000_0000,
        };
        vmcb.set_segment(Field::DS, &segment);
        assert_eq!(vmcb.0.load_u16(0x430), Some(0x1122));
        assert_eq!(vmcb.0.load_u16(0x432), Some(0xc93));
        assert_eq!(vmcb.0.load_u32(0x434), Some(0x8765_4321));
        assert_eq!(vmcb.0.load_u64(0x438), Some(0xffff_8000_0000_0000));
        assert_eq!(vmcb.segment(Field::DS), segment);
        assert_eq!(page.load_u64(0x430), Some(0));
    }

    #[test]
    fn instruction_bytes_follow_their_count() {
        let page: &'static PageWords = Box::leak(Box::new(PageWords::new()));
        assert!(page.write_bytes(0xd0, &[3, 0x0f, 0x01, 0xd9, 0x90]));
        let (bytes, count) = Vmcb::new(page).instruction();
        assert_eq!(bytes.get(..count), Some(&[0x0f, 0x01, 0xd9][..]));
    }

    #[test]
    fn fields_lie_at_the_offsets_of_the_manual() {
        let expected = [
            (Field::EXIT_CODE, 0x70),
            (Field::NEXT_RIP, 0xc8),
            (Field::TR, 0x490),
            (Field::EFER, 0x4d0),
            (Field::RFLAGS, 0x570),
            (Field::RAX, 0x5f8),
            (Field::CR2, 0x640),
            (Field::G_PAT, 0x668),
        ];
        for (field, offset) in expected {
            assert_eq!(field.0 * 8, offset);
        }
    }
}
