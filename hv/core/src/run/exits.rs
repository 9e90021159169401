//! Dispatch of guest exits to their handlers.

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::running::Running;
use crate::domains::vcpu::Vcpu;
use crate::hypercalls::answer;
use crate::lifecycle::power;
use crate::outcome::{After, CrashReason};
use crate::x86::guest_cpuid;
use crate::x86::guest_msr;
use crate::x86::guest_msr::MsrAnswer;
use crate::x86::guest_ports;
use crate::x86::interrupts::apic_effect;
use crate::x86::mmio;
use xenolith_hal::{Exception, Exit, GuestCpu, LogLevel, Machine};

/// Handles an exit.
pub(super) fn answer_exit<M: Machine>(running: &mut Running<'_, M>, exit: Exit) -> After {
    let Running { hv, domain, vcpu, .. } = *running;
    match exit {
        Exit::Hypercall => return answer(running),
        Exit::Cpuid { leaf, subleaf } => cpuid(running, leaf, subleaf),
        Exit::ReadMsr { msr } => read_msr(running, msr),
        Exit::WriteMsr { msr, value } => write_msr(running, msr, value),
        Exit::Io(access) => return guest_ports::access(running, access),
        Exit::Halt { interrupts_enabled } => return halt(running, interrupts_enabled),
        Exit::NestedFault { gpa, access } => return mmio::access(running, gpa, access),
        Exit::CacheFlush => flush_caches(running),
        Exit::UndefinedInstruction => running.core.hardware.inject(Exception::INVALID_OPCODE),
        Exit::SetXcr0 { .. } => running.core.hardware.inject(Exception::GENERAL_PROTECTION),
        Exit::Interrupted => {}
        Exit::Shutdown => return After::Crash(CrashReason::TripleFault),
        Exit::InvalidState => return After::Crash(CrashReason::InvalidState),
        Exit::StateLost => return state_lost(hv, domain, vcpu),
        Exit::Unknown { code } => return After::Crash(CrashReason::UnknownExit(code)),
    }
    After::Resume
}

/// Flushes the caches for the domain that has the machine's devices: they may read memory past the caches. For others
/// memory and caches are one, and a flush would only slow the whole machine.
fn flush_caches<M: Machine>(running: &mut Running<'_, M>) {
    if running.domain.privileged {
        running.hv.machine.write_back_caches();
    }
    running.core.hardware.skip_instruction();
}

fn state_lost<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) -> After {
    let line = format_args!(
        "d{}v{}: the processor lost the guest's state on the way out. QEMU's TCG does so on CPU 0 when several threads \
         emulate CPUs: leave guests off CPU 0 (no guests-on-cpu0), or start QEMU with -accel tcg,thread=single",
        domain.id, vcpu.id
    );
    hv.machine.log(LogLevel::Error, false, line);
    After::Crash(CrashReason::StateLost)
}

fn cpuid<M: Machine>(running: &mut Running<'_, M>, leaf: u32, subleaf: u32) {
    // CPUID faulting, of all leaves alike. CPUID exits in any case, so no hardware is needed for it.
    if running.core.msrs.cpuid_faults_for_users() && running.core.hardware.paging().cpl != 0 {
        return running.core.hardware.inject(Exception::GENERAL_PROTECTION);
    }
    let found = guest_cpuid::read(running, leaf, subleaf);
    let registers = running.core.hardware.registers_mut();
    registers.rax = u64::from(found.eax);
    registers.rbx = u64::from(found.ebx);
    registers.rcx = u64::from(found.ecx);
    registers.rdx = u64::from(found.edx);
    running.core.hardware.skip_instruction();
}

fn read_msr<M: Machine>(running: &mut Running<'_, M>, msr: u32) {
    match guest_msr::read(running, msr) {
        Ok(value) => {
            let registers = running.core.hardware.registers_mut();
            registers.rax = value & 0xffff_ffff;
            registers.rdx = value >> 32;
            running.core.hardware.skip_instruction();
        }
        Err(_) => running.core.hardware.inject(Exception::GENERAL_PROTECTION),
    }
}

fn write_msr<M: Machine>(running: &mut Running<'_, M>, msr: u32, value: u64) {
    let was_on = running.core.lapic.is_enabled();
    match guest_msr::write(running, msr, value) {
        Ok(MsrAnswer::Done) => running.core.hardware.skip_instruction(),
        Ok(MsrAnswer::Apic(effect)) => {
            running.core.hardware.skip_instruction();
            apic_effect(running, effect, was_on);
        }
        Err(_) => running.core.hardware.inject(Exception::GENERAL_PROTECTION),
    }
}

/// Handles HLT. With interrupts disabled only an NMI could wake the vCPU: it is taken down, and when the last one goes
/// down the domain powers off.
fn halt<M: Machine>(running: &mut Running<'_, M>, interrupts_enabled: bool) -> After {
    let Running { hv, domain, vcpu, .. } = *running;
    running.core.hardware.skip_instruction();
    if interrupts_enabled {
        return After::Block;
    }
    power::vcpu_down(hv, domain, vcpu);
    After::Stop
}
