//! Hypercalls: their control word, their input, their status. **Source:** TLFS 3 and appendix A.

/// Set in RAX by the code of the hypercall page: the call is one of this interface, not of Xen's.
pub const HYPERCALL_FLAG: u64 = 1 << 31;
/// The code of the hypercall page: `or eax, 0x80000000; vmmcall; ret`, then breakpoints.
pub const PAGE_CODE: [u8; 9] = [0x0d, 0, 0, 0, 0x80, 0x0f, 0x01, 0xd9, 0xc3];

pub const SUCCESS: u64 = 0;
pub const INVALID_CODE: u64 = 2;
pub const INVALID_PARAMETER: u64 = 5;

/// The most words of input: a head of four, and a bank for each 64 vCPUs of 4096.
pub const INPUT_WORDS: usize = 4 + BANKS;
const BANKS: usize = 64;

/// What a guest may call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// Flush translations of a set of vCPUs.
    Flush,
    /// Interrupt a set of vCPUs.
    Interrupt,
    /// The caller spins, and may yield.
    LongSpinWait,
}

/// The control word of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Control(pub u64);

const FLUSH_SPACE: u16 = 0x2;
const FLUSH_LIST: u16 = 0x3;
const LONG_SPIN_WAIT: u16 = 0x8;
const SEND_IPI: u16 = 0xb;
const FLUSH_SPACE_EX: u16 = 0x13;
const FLUSH_LIST_EX: u16 = 0x14;
const SEND_IPI_EX: u16 = 0x15;

/// Of a flush's flags: all vCPUs.
const ALL_PROCESSORS: u64 = 1;
/// Formats of a set.
const SPARSE: u64 = 0;
const EVERYBODY: u64 = 1;
/// The lowest vector of an interrupt, and the last.
const VECTORS: core::ops::RangeInclusive<u64> = 0x10..=0xff;

impl Control {
    const fn code(self) -> u16 {
        self.0 as u16
    }

    /// Returns whether the input lies in registers, and not in memory.
    #[must_use]
    pub const fn is_fast(self) -> bool {
        self.0 & 1 << 16 != 0
    }

    /// Returns what is called; None for what does not exist.
    #[must_use]
    pub const fn call(self) -> Option<Call> {
        Some(match self.code() {
            FLUSH_SPACE | FLUSH_LIST | FLUSH_SPACE_EX | FLUSH_LIST_EX => Call::Flush,
            SEND_IPI | SEND_IPI_EX => Call::Interrupt,
            LONG_SPIN_WAIT => Call::LongSpinWait,
            _ => return None,
        })
    }

    /// Returns whether the call names a set of more than 64 vCPUs, whose input is never in registers.
    #[must_use]
    pub const fn is_ex(self) -> bool {
        matches!(self.code(), FLUSH_SPACE_EX | FLUSH_LIST_EX | SEND_IPI_EX)
    }

    /// Returns the words of input before a set's banks.
    #[must_use]
    pub const fn head(self) -> usize {
        match self.code() {
            SEND_IPI => 2,
            FLUSH_SPACE_EX | FLUSH_LIST_EX => 4,
            _ => 3,
        }
    }

    /// Returns RAX for a status: whatever was to be flushed was flushed whole.
    #[must_use]
    pub const fn result(self, status: u64) -> u64 {
        let is_flush = matches!(self.call(), Some(Call::Flush));
        if is_flush && status == SUCCESS { self.0 & 0xfff << 32 } else { status }
    }

    /// Returns how many banks of a set follow the head of an input.
    #[must_use]
    #[inline(never)]
    pub fn banks(self, head: &[u64]) -> usize {
        match head.last_chunk() {
            Some([SPARSE, mask]) if self.is_ex() => mask.count_ones() as usize,
            _ => 0,
        }
    }

    /// Returns the set of vCPUs of a whole input, and the vector to send.
    ///
    /// **Errors:** the status of an input that makes no sense.
    #[inline(never)]
    pub fn set(self, input: &[u64]) -> Result<(Set<'_>, u8), u64> {
        let word = |index: usize| input.get(index).copied().unwrap_or_default();
        let is_interrupt = matches!(self.call(), Some(Call::Interrupt));
        let vector = word(0) as u32;
        let rest = word(0) >> 32;
        if is_interrupt && (rest != 0 || !VECTORS.contains(&vector.into())) {
            return Err(INVALID_PARAMETER);
        }
        let set = if !is_interrupt && word(1) & ALL_PROCESSORS != 0 {
            Set { everybody: true, ..Set::default() }
        } else if self.is_ex() {
            let at = self.head().saturating_sub(2);
            let banks = input.get(self.head()..).unwrap_or_default();
            match word(at) {
                EVERYBODY => Set { everybody: true, ..Set::default() },
                SPARSE => Set { everybody: false, mask: word(at.saturating_add(1)), banks },
                _ => return Err(INVALID_PARAMETER),
            }
        } else {
            Set { everybody: false, mask: 1, banks: input.get(self.head().saturating_sub(1)..).unwrap_or_default() }
        };
        Ok((set, vector as u8))
    }
}

/// A set of vCPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Set<'a> {
    everybody: bool,
    /// The banks of 64 that there are.
    mask: u64,
    banks: &'a [u64],
}

impl Set<'_> {
    /// Returns whether a vCPU is in it. No number is out of bounds.
    #[must_use]
    #[inline(never)]
    pub fn contains(&self, vcpu: u32) -> bool {
        let (bank, bit) = (vcpu / u64::BITS, vcpu % u64::BITS);
        let has = |word: u64, bit: u32| word.checked_shr(bit).unwrap_or_default() & 1 != 0;
        let before = self.mask & 1_u64.checked_shl(bank).unwrap_or_default().wrapping_sub(1);
        let word = self.banks.get(before.count_ones() as usize).copied().unwrap_or_default();
        self.everybody || has(self.mask, bank) && has(word, bit)
    }
}
