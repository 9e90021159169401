//! Answers to the reasons for which a guest comes back.

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::{Vcpu, VcpuCore};
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

/// Does what an exit asks for.
pub(super) fn answer_exit<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    vcpu: &Vcpu<M>,
    core: &mut VcpuCore<M>,
    exit: Exit,
) -> After {
    match exit {
        Exit::Hypercall => return answer(hv, domain, vcpu, core),
        Exit::Cpuid { leaf, subleaf } => cpuid(hv, domain, vcpu, core, leaf, subleaf),
        Exit::ReadMsr { msr } => read_msr(hv, domain, core, msr),
        Exit::WriteMsr { msr, value } => write_msr(hv, domain, vcpu, core, msr, value),
        Exit::Io(access) => return guest_ports::access(hv, domain, core, access),
        Exit::Halt { interrupts_enabled } => return halt(hv, domain, vcpu, core, interrupts_enabled),
        Exit::NestedFault { gpa, access } => return mmio::access(hv, domain, vcpu, core, gpa, access),
        Exit::CacheFlush => core.hardware.skip_instruction(),
        Exit::UndefinedInstruction => core.hardware.inject(Exception::INVALID_OPCODE),
        Exit::SetXcr0 { .. } => core.hardware.inject(Exception::GENERAL_PROTECTION),
        Exit::Interrupted => {}
        Exit::Shutdown => return After::Crash(CrashReason::TripleFault),
        Exit::InvalidState => return After::Crash(CrashReason::InvalidState),
        Exit::StateLost => return state_lost(hv, domain, vcpu),
        Exit::Unknown { code } => return After::Crash(CrashReason::UnknownExit(code)),
    }
    After::Resume
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

fn cpuid<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    vcpu: &Vcpu<M>,
    core: &mut VcpuCore<M>,
    leaf: u32,
    subleaf: u32,
) {
    let found = guest_cpuid::read(hv, domain, vcpu, core, leaf, subleaf);
    let registers = core.hardware.registers_mut();
    registers.rax = u64::from(found.eax);
    registers.rbx = u64::from(found.ebx);
    registers.rcx = u64::from(found.ecx);
    registers.rdx = u64::from(found.edx);
    core.hardware.skip_instruction();
}

fn read_msr<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, core: &mut VcpuCore<M>, msr: u32) {
    match guest_msr::read(hv, domain, core, msr) {
        Ok(value) => {
            let registers = core.hardware.registers_mut();
            registers.rax = value & 0xffff_ffff;
            registers.rdx = value >> 32;
            core.hardware.skip_instruction();
        }
        Err(_) => core.hardware.inject(Exception::GENERAL_PROTECTION),
    }
}

fn write_msr<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    vcpu: &Vcpu<M>,
    core: &mut VcpuCore<M>,
    msr: u32,
    value: u64,
) {
    let was_on = core.lapic.is_enabled();
    match guest_msr::write(hv, domain, vcpu, core, msr, value) {
        Ok(MsrAnswer::Done) => core.hardware.skip_instruction(),
        Ok(MsrAnswer::Apic(effect)) => {
            core.hardware.skip_instruction();
            apic_effect(hv, domain, vcpu, core, effect, was_on);
        }
        Err(_) => core.hardware.inject(Exception::GENERAL_PROTECTION),
    }
}

/// HLT. With interrupts off nothing but an NMI could wake the vCPU: it is taken down, and the last one that goes
/// takes the domain with it, as a power-off.
fn halt<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    vcpu: &Vcpu<M>,
    core: &mut VcpuCore<M>,
    interrupts_enabled: bool,
) -> After {
    core.hardware.skip_instruction();
    if interrupts_enabled {
        return After::Block;
    }
    power::vcpu_down(hv, domain, vcpu);
    After::Stop
}
