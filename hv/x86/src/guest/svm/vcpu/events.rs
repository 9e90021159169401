//! What is injected at an entry: exceptions, NMIs, and what was cut short.

use super::{SHADOW, SvmVcpu};
use crate::guest::frame_access::FrameAccess;
use crate::guest::svm::processor::Processor;
use crate::guest::svm::vmcb::{Field, clean};
use crate::guest::svm::{exits, interrupt, state};

impl<P: Processor, A: FrameAccess + 'static> SvmVcpu<P, A> {
    /// Returns the event for EVENTINJ, or 0. An exception goes first; an interrupted delivery goes before a new NMI.
    #[inline]
    pub(super) fn next_event(&mut self, nmi_waits: bool) -> u64 {
        // Asked first: to take what is not there costs more than to look.
        if self.pending.is_some()
            && let Some(exception) = self.pending.take()
        {
            if self.again != interrupt::NMI {
                self.again = 0;
            }
            if let Some(address) = exception.address {
                self.change(Field::CR2, address, clean::CR2);
            }
            let protected = self.vmcb.get(Field::CR0) & state::cr0::PE != 0;
            return interrupt::exception(&exception, protected);
        }
        if self.again != 0 {
            return core::mem::take(&mut self.again);
        }
        if nmi_waits && !self.nmi_masked && self.vmcb.get(Field::INTERRUPT_SHADOW) & SHADOW == 0 {
            self.nmi_taken = true;
            self.mask_nmi(true);
            return interrupt::NMI;
        }
        0
    }

    pub(super) fn mask_nmi(&mut self, masked: bool) {
        self.nmi_masked = masked;
        let also = if masked { exits::INTERCEPT_IRET } else { 0 };
        self.change(Field::INTERCEPTS, exits::INTERCEPTS | also, clean::INTERCEPTS);
    }

    /// Returns EVENTINJ of the event that the next entry injects, or 0.
    pub(super) fn waiting_event(&self) -> u64 {
        let protected = self.vmcb.get(Field::CR0) & state::cr0::PE != 0;
        self.pending.as_ref().map_or(self.again, |pending| interrupt::exception(pending, protected))
    }
}
