//! The fast path: exits that are answered in the VMCB itself, after which the guest is entered again.

use super::{RFLAGS_RF, RFLAGS_TF, SHADOW, SvmVcpu};
use crate::guest::frame_access::FrameAccess;
use crate::guest::svm::asid;
use crate::guest::svm::exits;
use crate::guest::svm::interrupt::{self, CutShort};
use crate::guest::svm::per_cpu::CpuData;
use crate::guest::svm::processor::Processor;
use crate::guest::svm::vmcb::Field;
use xenolith_hal::ShortAnswers;

/// The entry with which a run began.
pub(super) struct Entry {
    /// The virtual interrupt word.
    pub(super) offered: u64,
    pub(super) event: u64,
    pub(super) asid: u64,
    pub(super) nmi: bool,
}

impl Entry {
    /// Returns whether the guest can be entered once more with nothing new in the VMCB but its registers: an injection
    /// or a flush was for one entry.
    #[inline]
    const fn can_be_repeated(&self) -> bool {
        self.event == 0 && !self.nmi && !asid::flushes(self.asid)
    }
}

impl<P: Processor, A: FrameAccess + 'static> SvmVcpu<P, A> {
    /// Answers an exit that is the same whatever else is going on, in the VMCB itself; returns false for any other,
    /// with nothing done.
    #[inline]
    pub(super) fn answer_shortly(&self, entry: &Entry, data: &CpuData, short: &mut impl ShortAnswers) -> bool {
        let vmcb = self.vmcb;
        let Some((access, next)) = exits::port(vmcb) else { return false };
        let flags = vmcb.get(Field::RFLAGS);
        let unchanged = vmcb.get(Field::VIRTUAL_INTERRUPT) == entry.offered
            && interrupt::cut_short(vmcb.get(Field::EXIT_INTERRUPTION)) == CutShort::Nothing;
        if !entry.can_be_repeated() || !unchanged || flags & RFLAGS_TF != 0 {
            return false;
        }
        let Some(rax) = short.port(access, vmcb.get(Field::RAX)) else { return false };
        vmcb.set(Field::RAX, rax);
        vmcb.set(Field::RIP, next);
        vmcb.set(Field::RFLAGS, flags & !RFLAGS_RF);
        vmcb.set(Field::INTERRUPT_SHADOW, vmcb.get(Field::INTERRUPT_SHADOW) & !SHADOW);
        if let Some(counts) = data.counts() {
            counts.count_port();
        }
        true
    }
}
