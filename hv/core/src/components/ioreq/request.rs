//! One request to a server, and its form in the synchronous page.

use core::ops::RangeInclusive;
use xen_abi::ioreq::{
    ADDRESSES_FALL, DATA_IS_POINTER, DIRECTION_READ, IOREQ_TYPE_COPY, IOREQ_TYPE_INVALIDATE, IOREQ_TYPE_PCI_CONFIG,
    IOREQ_TYPE_PIO, IOREQ_TYPE_TIMEOFFSET, STATE_IOREQ_INPROCESS, STATE_IOREQ_NONE, STATE_IOREQ_READY,
    STATE_IORESP_READY, STATE_MASK,
};
use xen_abi::{Port, VcpuId};
use xenolith_hal::PageWords;

/// The first of the four ports of PCI data.
const PCI_DATA: u64 = 0xcfc;
/// Bytes of a request in the page, and where its parts lie.
const BYTES: usize = 32;
const DATA: usize = 8;
const COUNT_AND_SIZE: usize = 16;
const PORT: usize = 24;
const STATE: usize = 30;
/// In the word at [`PORT`]: state and flags, and the type.
const STATE_SHIFT: u32 = 48;
const KIND_SHIFT: u32 = 56;

/// What is accessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    Port = IOREQ_TYPE_PIO,
    Memory = IOREQ_TYPE_COPY,
    /// The address is the PCI function in the upper half and the register in the lower one.
    PciConfig = IOREQ_TYPE_PCI_CONFIG,
    /// The guest has set its clock: the data is the offset in seconds.
    TimeOffset = IOREQ_TYPE_TIMEOFFSET,
    /// Pages have left the guest.
    Invalidate = IOREQ_TYPE_INVALIDATE,
}

/// A request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    pub kind: Kind,
    pub address: u64,
    /// What is written, or with `is_pointer` the guest physical address of the data.
    pub data: u64,
    /// How many elements.
    pub count: u32,
    /// Bytes of an element.
    pub size: u32,
    pub is_read: bool,
    pub is_pointer: bool,
    /// Each element lies below the one before.
    pub falls: bool,
}

/// The state of a request in the page, in the order in which it changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum State {
    None = STATE_IOREQ_NONE,
    Ready = STATE_IOREQ_READY,
    InProcess = STATE_IOREQ_INPROCESS,
    Answered = STATE_IORESP_READY,
}

/// The device model wrote what has no meaning to where the request lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scribbled;

impl Request {
    /// The request that tells servers that pages have left the guest.
    pub const INVALIDATE: Self = Self { data: u64::MAX, ..Self::access(Kind::Invalidate, 0, 4, false) };

    /// Returns one access of `size` bytes, which writes 0 or reads.
    #[must_use]
    pub const fn access(kind: Kind, address: u64, size: u32, is_read: bool) -> Self {
        Self { kind, address, data: 0, count: 1, size, is_read, is_pointer: false, falls: false }
    }

    /// Returns the ports or addresses that it covers; None past the end of the address space.
    pub(super) fn range(&self) -> Option<RangeInclusive<u64>> {
        let size = u64::from(self.size);
        if self.kind == Kind::Port {
            return Some(self.address..=self.address.checked_add(size.checked_sub(1)?)?);
        }
        let others = u64::from(self.count.checked_sub(1)?).checked_mul(size)?;
        let first = if self.falls { self.address.checked_sub(others)? } else { self.address };
        Some(first..=first.checked_add(others)?.checked_add(size.checked_sub(1)?)?)
    }

    /// Returns it as a cycle of PCI configuration, if it is an access to the data ports while `latch`, the content of the
    /// address port, makes those such.
    pub(super) fn pci_config(&self, latch: u32) -> Option<Self> {
        if self.kind != Kind::Port || self.address & !3 != PCI_DATA || latch & super::PCI_ENABLED == 0 {
            return None;
        }
        let function = u64::from(latch >> 8 & 0xffff);
        let register = u64::from(latch & 0xfc) | self.address & 3;
        Some(Self { kind: Kind::PciConfig, address: function << u32::BITS | register, ..*self })
    }

    /// Returns the byte of flags, with this state.
    fn flags(&self, state: State) -> u8 {
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        state as u8
            | flag(self.is_pointer, DATA_IS_POINTER)
            | flag(self.is_read, DIRECTION_READ)
            | flag(self.falls, ADDRESSES_FALL)
    }

    /// Writes it to the place of a vCPU, where no request is, for a server to answer.
    ///
    /// **Errors:** [`Scribbled`] if a request is there or the port is not `port`, as it was left.
    pub(super) fn post(&self, page: &PageWords, vcpu: VcpuId, port: Port) -> Result<(), Scribbled> {
        let at = place(vcpu).ok_or(Scribbled)?;
        let read = page.load_u64(at.wrapping_add(PORT)).ok_or(Scribbled)?;
        if state_of(read) != STATE_IOREQ_NONE || read as u32 != port.0 {
            return Err(Scribbled);
        }
        let last = u64::from(port.0)
            | u64::from(self.flags(State::Ready)) << STATE_SHIFT
            | u64::from(self.kind as u8) << KIND_SHIFT;
        page.store_u64(at, self.address).ok_or(Scribbled)?;
        page.store_u64(at.wrapping_add(DATA), self.data).ok_or(Scribbled)?;
        let count_and_size = u64::from(self.count) | u64::from(self.size) << u32::BITS;
        page.store_u64(at.wrapping_add(COUNT_AND_SIZE), count_and_size).ok_or(Scribbled)?;
        // The state comes last, with the rest of its word.
        page.store_u64(at.wrapping_add(PORT), last).ok_or(Scribbled)
    }
}

/// Returns where a vCPU's request lies; None past the end of the page.
fn place(vcpu: VcpuId) -> Option<usize> {
    (vcpu.0 as usize).checked_mul(BYTES)
}

const fn state_of(word: u64) -> u8 {
    (word >> STATE_SHIFT) as u8 & STATE_MASK
}

/// Reads the state of a vCPU's request, and the answer if there is one; the place is then free again. `seen` is the last
/// state that was read.
///
/// **Errors:** [`Scribbled`] for a state that does not exist or does not come after `seen`. That there is no request is
/// no error: it was taken away.
pub(super) fn poll(page: &PageWords, vcpu: VcpuId, seen: State) -> Result<(State, u64), Scribbled> {
    let at = place(vcpu).ok_or(Scribbled)?;
    let state = match page.load_u8(at.wrapping_add(STATE)).ok_or(Scribbled)? & STATE_MASK {
        STATE_IOREQ_NONE => return Ok((State::None, u64::MAX)),
        STATE_IOREQ_READY => State::Ready,
        STATE_IOREQ_INPROCESS => State::InProcess,
        STATE_IORESP_READY => State::Answered,
        _ => return Err(Scribbled),
    };
    if state < seen {
        return Err(Scribbled);
    }
    if state != State::Answered {
        return Ok((state, 0));
    }
    let data = page.load_u64(at.wrapping_add(DATA)).ok_or(Scribbled)?;
    let flags = page.load_u8(at.wrapping_add(STATE)).ok_or(Scribbled)?;
    page.store_u8(at.wrapping_add(STATE), flags & !STATE_MASK).ok_or(Scribbled)?;
    Ok((State::Answered, data))
}

/// Writes the port of a vCPU to its place.
pub(super) fn publish_port(page: &PageWords, vcpu: VcpuId, port: Port) {
    if let Some(at) = place(vcpu) {
        let _ = page.store_u32(at.wrapping_add(PORT), port.0);
    }
}
