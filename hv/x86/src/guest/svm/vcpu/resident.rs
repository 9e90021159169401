//! Lazily switched state, which stays in the physical CPU from one run to the next: the FPU, DR0 to DR3, and on some
//! CPUs the page attributes.

use super::{DR7_ENABLED, SvmVcpu};
use crate::guest::frame_access::FrameAccess;
use crate::guest::svm::per_cpu::CpuData;
use crate::guest::svm::processor::Processor;
use crate::guest::svm::vmcb::{Field, clean};
use crate::guest::svm::{exits, state};
use xenolith_hal::Mfn;

/// Where an image of the FPU has MXCSR, the bits that it has on every CPU, and the one for misaligned accesses (MM).
/// **Source:** AMD manual volume 1, 4.2.2.
const MXCSR: usize = 24;
const MXCSR_KNOWN: u32 = 0xffff;
const MXCSR_MISALIGNED: u32 = 1 << 17;
/// Offset of XSTATE_BV in an XSAVE area, and the parts that FXSAVE writes.
const XSTATE_PARTS: usize = 512;
const LEGACY_PARTS: u64 = 3;
const SSE_PART: u64 = 1 << 1;
/// Where XMM0 lies in an image of the FPU; the others follow. **Source:** AMD manual volume 2, figure 11-8.
const VECTORS: usize = 160;

impl<P: Processor, A: FrameAccess + 'static> SvmVcpu<P, A> {
    /// Loads the FPU and debug registers into this CPU. Returns false while another vCPU's are loaded there: it was not
    /// parked.
    pub(super) fn bring_in(&mut self, data: &CpuData, block: Mfn) -> bool {
        if self.loaded && data.holds(self.id) {
            return true;
        }
        if self.loaded || !data.claim(self.id, block) {
            return false;
        }
        self.loaded = true;
        P::load_fpu(self.fpu);
        self.page_attributes_changed();
        if self.debug_in_use {
            P::set_debug_addresses(&self.debug_addresses);
        }
        true
    }

    /// Saves what [`Self::bring_in`] loaded.
    #[inline]
    pub(super) fn take_out(&mut self) {
        let Some(data) = CpuData::of(P::this_cpu()) else { return };
        if !self.loaded || !data.holds(self.id) {
            return;
        }
        P::save_fpu(self.fpu);
        if self.features.shares_page_attributes() {
            self.change(Field::G_PAT, self.page_attributes(), clean::NESTED_PAGING);
        }
        if self.debug_in_use {
            self.debug_addresses = P::debug_addresses();
            // Without a breakpoint that is on they are not needed until the guest asks again.
            self.use_debug_registers(self.vmcb.get(Field::DR7) & DR7_ENABLED != 0);
        }
        self.loaded = false;
        data.forget(self.id);
    }

    /// Returns the guest's page attribute table. An emulated CPU, which does not put it into the block, lets the guest
    /// write what no CPU has.
    #[inline]
    pub(super) fn page_attributes(&self) -> u64 {
        let of_block = self.vmcb.get(Field::G_PAT);
        if !self.loaded || !self.features.shares_page_attributes() {
            return of_block;
        }
        let of_cpu = P::page_attributes();
        if of_cpu != of_block && state::pat_is_valid(of_cpu) { of_cpu } else { of_block }
    }

    /// Notes that the page attributes in the VMCB are the guest's.
    #[inline]
    pub(super) fn page_attributes_changed(&self) {
        if self.loaded && self.features.shares_page_attributes() {
            P::set_page_attributes(self.vmcb.get(Field::G_PAT));
        }
    }

    /// Sets whether DR0 to DR3 are the guest's while it runs, or another's and intercepted.
    pub(super) fn use_debug_registers(&mut self, used: bool) {
        self.debug_in_use = used;
        let intercepts = exits::register_intercepts(&self.features, !used);
        self.change(Field::REGISTER_INTERCEPTS, intercepts, clean::INTERCEPTS);
    }

    /// Returns the FPU's state in the format of FXSAVE; only while it is not loaded in the CPU.
    pub(super) fn saved_fpu(&self) -> [u8; 512] {
        let mut image = [0; 512];
        // The image is a part of the page.
        let _ = self.fpu.read_bytes(0, &mut image);
        image
    }

    /// Replaces the FPU's state; none stands for that after a reset.
    pub(super) fn set_saved_fpu(&mut self, image: Option<&[u8; 512]>) {
        self.fpu.clear();
        let Some(image) = image else { return P::reset_fpu(self.fpu) };
        let _ = self.fpu.write_bytes(0, image);
        let control = self.fpu.load_u32(MXCSR).unwrap_or(0);
        let known = MXCSR_KNOWN | if self.features.misaligned_sse { MXCSR_MISALIGNED } else { 0 };
        let _ = self.fpu.store_u32(MXCSR, control & known);
        if self.features.xcr0 != 0 {
            let _ = self.fpu.store_u64(XSTATE_PARTS, LEGACY_PARTS);
        }
    }
    /// Returns an XMM register; only while the state is not loaded in the CPU.
    pub(super) fn saved_vector(&self, number: u8) -> u128 {
        let mut bytes = [0; size_of::<u128>()];
        let _ = self.fpu.read_bytes(vector_at(number), &mut bytes);
        u128::from_le_bytes(bytes)
    }

    /// Replaces an XMM register and nothing else.
    pub(super) fn set_saved_vector(&self, number: u8, value: u128) {
        let _ = self.fpu.write_bytes(vector_at(number), &value.to_le_bytes());
        if self.features.xcr0 != 0 {
            let parts = self.fpu.load_u64(XSTATE_PARTS).unwrap_or(0);
            let _ = self.fpu.store_u64(XSTATE_PARTS, parts | SSE_PART);
        }
    }
}

fn vector_at(number: u8) -> usize {
    usize::from(number % 16).wrapping_mul(size_of::<u128>()).wrapping_add(VECTORS)
}
