//! A report of the VMCB of the vCPU on this CPU.

use crate::bare::base::cpu_area;
use crate::bare::memory::ram;
use crate::guest::svm::per_cpu::CpuData;
use crate::guest::svm::vmcb::{Field, Vmcb};

/// Where the guest was when it was last left, and why.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the names of the registers say it all")]
pub struct GuestReport {
    pub rip: u64,
    pub rsp: u64,
    pub rflags: u64,
    pub rax: u64,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub exit_code: u64,
    /// V_TPR, V_IRQ and their kin.
    pub virtual_interrupt: u64,
    /// EVENTINJ of the last entry.
    pub event: u64,
    /// Bit 0: in an interrupt shadow.
    pub shadow: u64,
}

impl GuestReport {
    /// Reports the vCPU on this CPU, if there is one. May be called in an NMI handler.
    #[must_use]
    pub fn of_this_cpu() -> Option<Self> {
        let block = Vmcb::new(ram::page(CpuData::of(cpu_area::this_cpu())?.block()?)?);
        Some(Self {
            rip: block.get(Field::RIP),
            rsp: block.get(Field::RSP),
            rflags: block.get(Field::RFLAGS),
            rax: block.get(Field::RAX),
            cr0: block.get(Field::CR0),
            cr2: block.get(Field::CR2),
            cr3: block.get(Field::CR3),
            cr4: block.get(Field::CR4),
            exit_code: block.get(Field::EXIT_CODE),
            virtual_interrupt: block.get(Field::VIRTUAL_INTERRUPT),
            event: block.get(Field::EVENT_INJECTION),
            shadow: block.get(Field::INTERRUPT_SHADOW),
        })
    }

    /// Writes it to the console.
    pub fn show(&self) {
        crate::print!("RIP:    [<{:016x}>]   RFLAGS: {:016x}   CONTEXT: guest", self.rip, self.rflags);
        crate::print!("rax: {:016x}   rsp: {:016x}   cr2: {:016x}", self.rax, self.rsp, self.cr2);
        crate::print!("cr0: {:016x}   cr3: {:016x}   cr4: {:016x}", self.cr0, self.cr3, self.cr4);
        crate::print!(
            "last exit {:#x}; virtual interrupt {:#x}, event injected {:#x}, shadow {}\n",
            self.exit_code,
            self.virtual_interrupt,
            self.event,
            self.shadow & 1
        );
    }
}
