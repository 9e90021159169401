//! Decoding of an exit, and the exits that the core need not see.

use super::{DEBUG_EXCEPTION, DR6_SINGLE_STEP, RFLAGS_RF, RFLAGS_TF, SHADOW, SvmVcpu};
use crate::guest::frame_access::FrameAccess;
use crate::guest::nested::NestedTables;
use crate::guest::svm::asid::Tag;
use crate::guest::svm::control_writes::{self, Write};
use crate::guest::svm::exits::{self, Meaning};
use crate::guest::svm::processor::Processor;
use crate::guest::svm::vmcb::{Field, clean};
use crate::guest::svm::{fetch, interrupt, state};
use xenolith_hal::{Exception, Exit, GuestCpu};

/// How many refusals in a row are taken for the guest's own doing.
const MISTAKEN_REFUSALS: u8 = 100;

impl<P: Processor, A: FrameAccess + 'static> SvmVcpu<P, A> {
    /// Returns the exit for the core; handles the others here.
    #[inline]
    pub(super) fn conclude(&mut self, space: &NestedTables<A>) -> Exit {
        // The most frequent exit, and the one whose decoding is the least.
        let is_hypercall = self.vmcb.get(Field::EXIT_CODE) == exits::HYPERCALL;
        if is_hypercall && interrupt::is_sound(self.vmcb.get(Field::VIRTUAL_INTERRUPT)) {
            self.refusals = 0;
            return Exit::Hypercall;
        }
        let meaning = exits::decode(self.vmcb, &self.registers);
        if matches!(meaning, Meaning::Core(Exit::InvalidState)) {
            if self.is_mistaken_refusal() {
                self.pending = Some(Exception::GENERAL_PROTECTION);
                return Exit::Interrupted;
            }
            return Exit::InvalidState;
        }
        self.refusals = 0;
        if !interrupt::is_sound(self.vmcb.get(Field::VIRTUAL_INTERRUPT)) {
            return Exit::StateLost;
        }
        match meaning {
            Meaning::Core(exit) => return exit,
            Meaning::HostInterrupt => P::open_interrupt_window(),
            Meaning::MachineCheck => P::machine_check(),
            Meaning::Inject(exception) => self.pending = Some(exception),
            Meaning::ControlRegister => return self.write_control_register(space),
            Meaning::DebugRegisters => {
                P::set_debug_addresses(&self.debug_addresses);
                self.use_debug_registers(true);
            }
            Meaning::InterruptReturn => {
                self.mask_nmi(false);
                // The IRET has yet to run; an NMI that waits must not come before it.
                let shadow = self.vmcb.get(Field::INTERRUPT_SHADOW);
                self.vmcb.set(Field::INTERRUPT_SHADOW, shadow | SHADOW);
            }
        }
        Exit::Interrupted
    }

    /// Returns whether a refusal of the state counts as the guest's own fault. QEMU 7.2 says that a guest's state was
    /// refused when the guest itself sets a reserved bit of a control or debug register; a CPU raises #GP. So a refusal
    /// of a sound state is taken for that, but not without end.
    fn is_mistaken_refusal(&mut self) -> bool {
        self.refusals = self.refusals.saturating_add(1);
        self.refusals <= MISTAKEN_REFUSALS && state::checked(&self.state(), &self.features).is_ok()
    }

    /// Writes CR0, CR4 or CR8 as a CPU would.
    fn write_control_register(&mut self, space: &NestedTables<A>) -> Exit {
        let now = self.paging();
        let base = if now.long_code { 0 } else { self.vmcb.segment(Field::CS).base };
        let (bytes, count) = fetch::instruction(space, &now, base.wrapping_add(self.registers.rip));
        let code = bytes.get(..count).and_then(|bytes| control_writes::decode(bytes, now.long_code));
        let Some((write, length)) = code else { return Exit::Unknown { code: self.vmcb.get(Field::EXIT_CODE) } };
        let value = write.value(now.cr0, &self.registers, now.long_code);
        let done = match write {
            Write::Cr8(_) => self.set_task_priority(value),
            Write::Cr4(_) => control_writes::cr4_fits(value, &now, &self.features)
                .then(|| self.set_control_registers([(Field::CR4, value); 2])),
            _ => control_writes::cr0_after(value, &now).map(|(cr0, efer)| {
                self.set_control_registers([(Field::CR0, cr0), (Field::EFER, efer | state::efer::SVME)]);
            }),
        };
        if done.is_none() {
            self.pending = Some(Exception::GENERAL_PROTECTION);
            return Exit::Interrupted;
        }
        self.next_rip = Some(self.registers.rip.wrapping_add(length));
        self.skip_instruction();
        Exit::Interrupted
    }

    fn set_control_registers(&mut self, changed: [(Field, u64); 2]) {
        for (field, value) in changed {
            self.change(field, value, clean::CONTROL_REGISTERS);
        }
        // Such a write drops what the CPU has cached of the guest's translations.
        self.tag = Tag::default();
    }

    /// Sets the task priority where the next entry looks for what the guest has set. None for a value that is none.
    fn set_task_priority(&mut self, value: u64) -> Option<()> {
        let priority = control_writes::task_priority(value)?;
        let word = interrupt::with_task_priority(self.vmcb.get(Field::VIRTUAL_INTERRUPT), priority);
        self.change(Field::VIRTUAL_INTERRUPT, word, clean::VIRTUAL_INTERRUPT);
        Some(())
    }

    /// Steps over the instruction that the last exit was about, as the CPU would have; once.
    #[inline]
    pub(super) fn step_over(&mut self) {
        let Some(next) = self.next_rip.take() else { return };
        self.registers.rip = next;
        let shadow = self.vmcb.get(Field::INTERRUPT_SHADOW);
        if shadow & SHADOW != 0 {
            self.vmcb.set(Field::INTERRUPT_SHADOW, shadow & !SHADOW);
        }
        if self.registers.rflags & (RFLAGS_RF | RFLAGS_TF) != 0 {
            self.end_debugged_step();
        }
    }

    /// What debugging has to do with an instruction that ends: RF is cleared, and the trap flag raises an exception.
    #[cold]
    fn end_debugged_step(&mut self) {
        self.registers.rflags &= !RFLAGS_RF;
        if self.registers.rflags & RFLAGS_TF != 0 && self.pending.is_none() {
            let status = self.vmcb.get(Field::DR6);
            self.change(Field::DR6, status | DR6_SINGLE_STEP, clean::DEBUG_REGISTERS);
            self.pending = Some(DEBUG_EXCEPTION);
        }
    }
}
