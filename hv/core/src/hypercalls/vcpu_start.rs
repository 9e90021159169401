//! `VCPUOP_initialise`: sets a vCPU's first registers, called by its own domain. **Source:** `hvm/hvm_vcpu.h`.

use super::vcpu_op::target;
use crate::hypercalls::Call;
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::hvm_vcpu::{VCPU_HVM_MODE_32B, VCPU_HVM_MODE_64B, VcpuHvmContext, VcpuHvmX8632, VcpuHvmX8664};
use xenolith_hal::{CpuState, GuestCpu, Machine, Registers, Segment, SegmentAttributes};

const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// The defined bits of RFLAGS, and the one that is always set.
const RFLAGS: u64 = 0x3f_7fd5;
const RFLAGS_FIXED: u64 = 2;

/// Bits of a segment's access word.
const WRITABLE_OR_READABLE: u16 = 1 << 1;
const CODE: u16 = 1 << 3;
const TYPE: u16 = 0xf;
const NOT_SYSTEM: u16 = 1 << 4;
const PRESENT: u16 = 1 << 7;
const ACCESS_WORD: u16 = 0xfff;
const BUSY: u16 = 1 << 1;
const BUSY_TASK: u16 = 0xb;

/// Implements `VCPUOP_initialise`: sets the first registers of a vCPU that is down; it still has to be brought up.
///
/// **Errors:** `EEXIST` for one that has a state already, `EINVAL` for registers that no processor accepts, `EBUSY` for
/// one that was stopped this moment, `ENOENT`, `EFAULT`.
pub fn initialise<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let vcpu = target(call)?;
    let context: VcpuHvmContext = call.read_arg(2)?;
    if vcpu.is_initialised() {
        return Err(Errno::EEXIST);
    }
    let state = state(&context)?;
    let tsc_offset = call.core.tsc_offset;
    let given = vcpu.with_core(|core| {
        if vcpu.is_initialised() {
            return Err(Errno::EEXIST);
        }
        core.hardware.set_state(&state).map_err(|_| Errno::EINVAL)?;
        core.lapic.init();
        core.nmi_pending = false;
        core.waits_for_startup = false;
        core.hardware.shift_tsc(tsc_offset.wrapping_sub(core.tsc_offset));
        core.tsc_offset = tsc_offset;
        vcpu.mark_initialised();
        Ok(())
    });
    given.unwrap_or(Err(Errno::EBUSY)).map(|()| Outcome::OK)
}

fn state(context: &VcpuHvmContext) -> Result<CpuState, Errno> {
    if context.pad != 0 {
        return Err(Errno::EINVAL);
    }
    match context.mode {
        VCPU_HVM_MODE_32B => state_32(&context.x86_32()),
        VCPU_HVM_MODE_64B => state_64(&context.x86_64()),
        _ => Err(Errno::EINVAL),
    }
}

const fn active(efer: u64) -> u64 {
    if efer & EFER_LME != 0 { efer | EFER_LMA } else { efer }
}

fn state_64(given: &VcpuHvmX8664) -> Result<CpuState, Errno> {
    let canonical = (given.rip << 16).cast_signed() >> 16 == given.rip.cast_signed();
    if !canonical || given.cr0 & CR0_PG == 0 || given.cr4 & CR4_PAE == 0 || given.efer & EFER_LME == 0 {
        return Err(Errno::EINVAL);
    }
    let mut state = CpuState::at_pvh_entry(0, 0);
    state.registers = Registers {
        rax: given.rax,
        rcx: given.rcx,
        rdx: given.rdx,
        rbx: given.rbx,
        rsp: given.rsp,
        rbp: given.rbp,
        rsi: given.rsi,
        rdi: given.rdi,
        rip: given.rip,
        rflags: (given.rflags & RFLAGS) | RFLAGS_FIXED,
        ..Registers::default()
    };
    (state.cr0, state.cr3, state.cr4, state.efer) = (given.cr0, given.cr3, given.cr4, active(given.efer));
    state.cs.attributes.remove(SegmentAttributes::DEFAULT_SIZE);
    state.cs.attributes.insert(SegmentAttributes::LONG);
    Ok(state)
}

fn state_32(given: &VcpuHvmX8632) -> Result<CpuState, Errno> {
    if given.pad1 != 0 || given.pad2 != [0; 3] || (given.efer & EFER_LMA != 0 && given.efer & EFER_LME == 0) {
        return Err(Errno::EINVAL);
    }
    let mut state = CpuState::at_pvh_entry(given.eip, 0);
    state.cs = segment(given.cs_ar, given.cs_limit, given.cs_base, |kind| kind & CODE != 0)?;
    state.ss = segment(given.ss_ar, given.ss_limit, given.ss_base, |kind| {
        kind & CODE == 0 && kind & WRITABLE_OR_READABLE != 0
    })?;
    state.ds = data_segment(given.ds_ar, given.ds_limit, given.ds_base)?;
    state.es = data_segment(given.es_ar, given.es_limit, given.es_base)?;
    state.tr = task(given.tr_ar | BUSY, given.tr_limit, given.tr_base)?;
    let pages = state.cs.attributes.contains(SegmentAttributes::PAGES);
    let limit = if pages { given.cs_limit << 12 | 0xfff } else { given.cs_limit };
    let privilege = state.cs.attributes.privilege();
    let above = |Segment { attributes, .. }: &Segment| {
        attributes.contains(SegmentAttributes::PRESENT) && attributes.privilege() > privilege
    };
    if given.eip > limit || state.ss.attributes.privilege() != privilege || above(&state.ds) || above(&state.es) {
        return Err(Errno::EINVAL);
    }
    state.registers = Registers {
        rax: given.eax.into(),
        rcx: given.ecx.into(),
        rdx: given.edx.into(),
        rbx: given.ebx.into(),
        rsp: given.esp.into(),
        rbp: given.ebp.into(),
        rsi: given.esi.into(),
        rdi: given.edi.into(),
        rip: given.eip.into(),
        rflags: (u64::from(given.eflags) & RFLAGS) | RFLAGS_FIXED,
        ..Registers::default()
    };
    (state.cr0, state.cr3, state.cr4) = (given.cr0.into(), given.cr3.into(), given.cr4.into());
    state.efer = active(given.efer);
    Ok(state)
}

/// Returns the attributes of an access word, which has the descriptor's bits in the same order.
const fn attributes(access: u16) -> SegmentAttributes {
    SegmentAttributes::from_bits_truncate(access)
}

/// Returns a code or data segment that is present, and whose type `fits`.
fn segment(access: u16, limit: u32, base: u32, fits: impl Fn(u16) -> bool) -> Result<Segment, Errno> {
    let needed = NOT_SYSTEM | PRESENT;
    if access & !ACCESS_WORD != 0 || access & needed != needed || !fits(access) {
        return Err(Errno::EINVAL);
    }
    Ok(Segment { selector: 0, attributes: attributes(access) | SegmentAttributes::ACCESSED, limit, base: base.into() })
}

/// Returns a data segment, which may be absent.
fn data_segment(access: u16, limit: u32, base: u32) -> Result<Segment, Errno> {
    if access == 0 {
        return Ok(Segment { selector: 0, attributes: SegmentAttributes::empty(), limit, base: base.into() });
    }
    segment(access, limit, base, |kind| kind & CODE == 0 || kind & WRITABLE_OR_READABLE != 0)
}

fn task(access: u16, limit: u32, base: u32) -> Result<Segment, Errno> {
    let sound = access & NOT_SYSTEM == 0 && access & TYPE == BUSY_TASK && access & PRESENT != 0;
    if access & !ACCESS_WORD != 0 || !sound {
        return Err(Errno::EINVAL);
    }
    Ok(Segment { selector: 0, attributes: attributes(access), limit, base: base.into() })
}
