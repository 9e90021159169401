//! Microsoft's hypervisor interface (Viridian), as Xen 4.17 offers it to guests that ask for it.
//!
//! The state is that of a domain with all its vCPUs. Time comes in as the machine's time stamp
//! counter, and is a count of 100 ns to the guest; what is to be done in
//! the guest's memory, at its local APICs and to its timers comes out as data.
//!
//! Nothing here is hot: the functions stay apart, so that they keep this crate's level and are not built into larger ones.
//!
//! **Source:** Microsoft's Hypervisor Top Level Functional Specification (TLFS) 6.0b; `hvm/params.h`; observed of Xen 4.17.

mod clock;
mod hypercall;
mod leaf;
mod msr;
mod processor;
mod saved;
mod timer;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use xen_abi::VcpuId;
use xen_abi::hvm_param::{HVMPV_APIC_ASSIST, HVMPV_FEATURE_MASK};

pub use clock::COUNT_NS;
use clock::TscScale;
pub use hypercall::{
    Call, Control, HYPERCALL_FLAG, INPUT_WORDS, INVALID_CODE, INVALID_PARAMETER, PAGE_CODE, SUCCESS, Set,
};
pub use leaf::{LEAVES_OF_XEN, leaf};
pub use msr::{MSRS, Read, Written, XEN_HYPERCALL_PAGE_MSR};
pub use processor::{Polled, Processor, Taken};
pub use timer::Message;

/// Bit 0 of the registers that name a page: it is in use.
const PAGE_ENABLED: u64 = 1;

/// The state of a domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Viridian {
    /// `HVMPV_*`.
    features: u64,
    /// What the guest calls itself; 0 before it has done so.
    os_id: u64,
    hypercall: u64,
    reference_tsc: u64,
    /// Ticks of the time stamp counter in a millisecond, and what they are in the guest's counts.
    khz: u32,
    scale: TscScale,
    /// What is added to the counts that the machine's time stamp counter is.
    count_offset: u64,
    /// The guest's words about its crash.
    crash: [u64; 5],
    processors: Vec<Processor>,
}

/// There is no memory for the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory;

impl Viridian {
    /// Creates the state of a domain with these features and up to `vcpus` vCPUs. Its time begins now, when the machine's
    /// time stamp counter of `khz` is `tsc`.
    ///
    /// **Errors:** [`NoMemory`].
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    #[inline(never)]
    pub fn new(features: u64, vcpus: u32, khz: u32, tsc: u64) -> Result<Self, NoMemory> {
        let mut processors = Vec::new();
        processors.try_reserve_exact(vcpus as usize).map_err(|_| NoMemory)?;
        processors.resize_with(vcpus as usize, Processor::default);
        let scale = TscScale::of(khz);
        Ok(Self {
            features: features & HVMPV_FEATURE_MASK,
            os_id: 0,
            hypercall: 0,
            reference_tsc: 0,
            khz,
            scale,
            count_offset: scale.counts(tsc).wrapping_neg(),
            crash: [0; 5],
            processors,
        })
    }

    /// Returns whether the domain has one of these features (`HVMPV_*`).
    #[must_use]
    pub const fn has(&self, features: u64) -> bool {
        self.features & features != 0
    }

    /// Returns what the guest calls itself.
    #[must_use]
    pub const fn os_id(&self) -> u64 {
        self.os_id
    }

    /// Returns the guest's time, in 100 ns, when the machine's time stamp counter is `tsc`.
    #[must_use]
    #[inline(never)]
    pub fn count(&self, tsc: u64) -> u64 {
        self.scale.counts(tsc).wrapping_add(self.count_offset)
    }

    /// Returns what the reference page says to a guest whose own time stamp counter is `shift` ahead of the machine's, which
    /// is `tsc`: scale and offset.
    #[must_use]
    #[inline(never)]
    pub fn clock(&self, tsc: u64, shift: i64) -> [u64; 2] {
        let own = self.scale.counts(tsc.wrapping_add_signed(shift));
        [self.scale.0, self.count(tsc).wrapping_sub(own)]
    }

    /// Returns the words about the guest's crash.
    #[must_use]
    pub const fn crash(&self) -> [u64; 5] {
        self.crash
    }

    /// Returns the state of a vCPU.
    pub fn processor(&mut self, vcpu: VcpuId) -> Option<&mut Processor> {
        self.processors.get_mut(vcpu.0 as usize)
    }

    /// Notes that a vCPU took an interrupt. `alone` says that no other is in service, and that its end is nobody's business
    /// but the local APIC's.
    #[inline(never)]
    pub fn interrupt_taken(&mut self, vcpu: VcpuId, vector: u8, alone: bool) -> Taken {
        let assists = alone && self.has(HVMPV_APIC_ASSIST);
        let Some(own) = self.processor(vcpu) else { return Taken::Nothing };
        if own.ends_by_itself(vector) {
            return Taken::Ended;
        }
        let Some(page) = page_of(own.assist).filter(|_| assists) else { return Taken::Nothing };
        own.assisted = true;
        Taken::Assisted(page)
    }

    /// Returns the frame of the reference page, if the guest has one.
    #[must_use]
    pub const fn reference_page(&self) -> Option<xen_abi::Gfn> {
        page_of(self.reference_tsc)
    }
}

/// Returns the frame that a register names, if it is in use.
const fn page_of(register: u64) -> Option<xen_abi::Gfn> {
    if register & PAGE_ENABLED != 0 { Some(xen_abi::Gfn(register >> 12)) } else { None }
}
