//! A run: VMRUN, and back with the exit.

use super::SvmVcpu;
use super::doorstep::Entry;
use crate::guest::frame_access::FrameAccess;
use crate::guest::nested::NestedTables;
use crate::guest::svm::exits;
use crate::guest::svm::interrupt::{self, CutShort};
use crate::guest::svm::per_cpu::CpuData;
use crate::guest::svm::processor::Processor;
use crate::guest::svm::vmcb::{Field, clean};
use xenolith_hal::{CpuId, Exit, Mpa, RunControl, ShortAnswers};

/// How the last turn of a run ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// With an exit that was answered.
    Answered,
    Unanswered,
}

impl<P: Processor, A: FrameAccess + 'static> SvmVcpu<P, A> {
    /// Implements [`xenolith_hal::GuestCpu::run`].
    #[inline]
    pub(super) fn run_in(
        &mut self,
        space: &NestedTables<A>,
        control: RunControl,
        short: &mut impl ShortAnswers,
    ) -> Exit {
        let cpu = P::this_cpu();
        let (Some(data), Some(root)) = (CpuData::of(cpu), space.root()) else { return Exit::InvalidState };
        let (Some(host), Some([block, _])) = (data.host(), self.frames) else { return Exit::InvalidState };
        if !self.bring_in(data, block) {
            return Exit::InvalidState;
        }
        let event = self.prepare(cpu, control);
        self.change(Field::NESTED_CR3, root.0, clean::NESTED_PAGING);
        let Some(generation) = space.residency().enter(cpu) else { return Exit::InvalidState };
        let asid = data.asids.word(&mut self.tag, cpu, root.0, generation, self.features.flush_by_asid);
        self.change(Field::ASID, asid, clean::ASID);
        self.vmcb.set(Field::CLEAN, self.clean);
        let entry = Entry { offered: self.vmcb.get(Field::VIRTUAL_INTERRUPT), event, asid, nmi: control.nmi };
        let turn = loop {
            // SAFETY: the block lies in its own frame (promised to `new`) and was filled there and by `set_state`, which
            // refuses what no guest may hold; its nested tables are those of `space`, the vCPU's own, and cannot be torn
            // down while a vCPU runs in it. `host` is set by `enable_cpu` only, and each CPU reads its own.
            unsafe { P::enter(&mut self.registers, Mpa::from_mfn(block), host) };
            if self.features.forgets_interrupts() {
                P::recall_interrupts();
            }
            if !self.answer_shortly(&entry, data, short) {
                break Turn::Unanswered;
            }
            // As at each entry: the quiet point first, then the generation of the translation.
            if !short.may_go_on() || space.residency().generation() != generation {
                break Turn::Answered;
            }
            self.vmcb.set(Field::CLEAN, self.all_clean());
        };
        space.residency().leave(cpu);
        self.collect(control, event);
        if turn == Turn::Answered {
            self.next_rip = None;
            return Exit::Interrupted;
        }
        if let Some(counts) = data.counts() {
            counts.count(self.vmcb.get(Field::EXIT_CODE), self.registers.rax);
        }
        self.conclude(space)
    }

    /// Writes into the VMCB what this entry needs, and returns the event that it injects, or 0. RIP, RSP, RAX and
    /// RFLAGS are never cached by the CPU.
    #[inline]
    fn prepare(&mut self, cpu: CpuId, control: RunControl) -> u64 {
        if self.last_cpu != Some(cpu) {
            self.last_cpu = Some(cpu);
            self.clean = 0;
        }
        self.interrupt_taken = false;
        self.nmi_taken = false;
        let event = self.next_event(control.nmi);
        self.vmcb.set(Field::EVENT_INJECTION, event);
        self.change(Field::VIRTUAL_INTERRUPT, interrupt::virtual_interrupt(control), clean::VIRTUAL_INTERRUPT);
        self.vmcb.set(Field::RAX, self.registers.rax);
        self.vmcb.set(Field::RSP, self.registers.rsp);
        self.vmcb.set(Field::RIP, self.registers.rip);
        self.vmcb.set(Field::RFLAGS, self.registers.rflags);
        event
    }

    /// Returns the clean bits after a run: what the CPU may reuse of the VMCB that it has cached.
    #[inline]
    fn all_clean(&self) -> u64 {
        if self.features.clean_bits { clean::ALL } else { 0 }
    }

    /// Reads from the VMCB what the run left there. `event` is what its entry injected, or 0.
    #[inline(always)]
    fn collect(&mut self, control: RunControl, event: u64) {
        self.registers.rax = self.vmcb.get(Field::RAX);
        self.registers.rsp = self.vmcb.get(Field::RSP);
        self.registers.rip = self.vmcb.get(Field::RIP);
        self.registers.rflags = self.vmcb.get(Field::RFLAGS);
        self.clean = self.all_clean();
        let offered = interrupt::still_offered(self.vmcb.get(Field::VIRTUAL_INTERRUPT));
        self.interrupt_taken = control.interrupt.is_some() && !offered;
        let interrupted = self.vmcb.get(Field::EXIT_INTERRUPTION);
        if interrupt::was_cut_short(interrupted) {
            self.collect_event(event, interrupted);
        }
        self.next_rip = exits::next_instruction(self.vmcb, self.registers.rip, self.features.next_rip);
    }

    /// Keeps what was being delivered when an exit interrupted it. `event` is what the entry injected, or 0;
    /// `interrupted` is EXITINTINFO.
    #[cold]
    fn collect_event(&mut self, event: u64, interrupted: u64) {
        match interrupt::cut_short(interrupted) {
            CutShort::Nothing => {}
            CutShort::Inject(event) => self.deliver_again(event),
            // The one that was injected has left its interrupt controller: nobody offers it again.
            CutShort::Interrupt if !self.interrupt_taken && interrupt::is_interrupt(event, interrupted) => {
                self.again = event;
            }
            CutShort::Interrupt => self.interrupt_taken = false,
        }
    }
}
