//! What is injected at an entry: exceptions, NMIs, and what was cut short.

use super::{SHADOW, SvmVcpu};
use crate::guest::frame_access::FrameAccess;
use crate::guest::svm::processor::Processor;
use crate::guest::svm::vmcb::{Field, clean};
use crate::guest::svm::{exits, interrupt, state};

impl<P: Processor, A: FrameAccess + 'static> SvmVcpu<P, A> {
    /// Returns the event for EVENTINJ, or 0. An exception goes first; an interrupted delivery goes before a new NMI. An
    /// exception takes the place of another event, which its instruction raises again or its interrupt controller
    /// offers again; but for an NMI, which comes only once.
    #[inline]
    pub(super) fn next_event(&mut self, nmi_waits: bool) -> u64 {
        // Asked first: to take what is not there costs more than to look.
        if self.pending.is_some()
            && let Some(exception) = self.pending.take()
        {
            self.again = 0;
            if let Some(address) = exception.address {
                self.change(Field::CR2, address, clean::CR2);
            }
            let protected = self.vmcb.get(Field::CR0) & state::cr0::PE != 0;
            return interrupt::exception(&exception, protected);
        }
        if self.again != 0 {
            return core::mem::take(&mut self.again);
        }
        if self.nmi_again {
            self.nmi_again = false;
            return interrupt::NMI;
        }
        if nmi_waits && !self.nmi_masked && self.vmcb.get(Field::INTERRUPT_SHADOW) & SHADOW == 0 {
            self.nmi_taken = true;
            self.mask_nmi(true);
            return interrupt::NMI;
        }
        0
    }

    /// Notes an event that is to be delivered at the next entry, because it was not at the last.
    #[inline]
    pub(super) fn deliver_again(&mut self, event: u64) {
        if event == interrupt::NMI {
            self.nmi_again = true;
        } else {
            self.again = event;
        }
    }

    /// Forgets what was to be injected.
    pub(super) fn drop_events(&mut self) {
        self.pending = None;
        self.again = 0;
        self.nmi_again = false;
    }

    pub(super) fn mask_nmi(&mut self, masked: bool) {
        self.nmi_masked = masked;
        let also = if masked { exits::INTERCEPT_IRET } else { 0 };
        self.change(Field::INTERCEPTS, exits::INTERCEPTS | also, clean::INTERCEPTS);
    }

    /// Returns EVENTINJ of the event that the next entry injects, or 0.
    pub(super) fn waiting_event(&self) -> u64 {
        let protected = self.vmcb.get(Field::CR0) & state::cr0::PE != 0;
        let first = self.pending.as_ref().map_or(self.again, |pending| interrupt::exception(pending, protected));
        if first == 0 && self.nmi_again { interrupt::NMI } else { first }
    }
}
