//! The registers of a vCPU in the format of debuggers, memory dumps and resuming a suspended domain
//! (`vcpu_guest_context`).
//!
//! Of what is set, the general and the debug registers, the floating-point state and whether the vCPU is up count: the
//! rest is the domain's own affair. **Source:** Xen 4.17, for an HVM domain.

use super::Request;
use super::info::require_possible;
use crate::domains::vcpu::{Vcpu, VcpuCore};
use crate::lifecycle::stopped::with_stopped;
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::guest_context::{CpuUserRegs, GuestContextFlags, VcpuGuestContext};
use xenolith_hal::{CpuState, GuestCpu, Machine, Registers};

/// The index of CR0, CR2, CR3 and CR4 in their list.
const CR0: usize = 0;
const CR2: usize = 2;
const CR3: usize = 3;
const CR4: usize = 4;

/// Implements `XEN_DOMCTL_getvcpucontext`.
///
/// **Errors:** `EINVAL` for a vCPU that does not exist, for the caller's own and for a dying domain; `ENODATA` for one
/// that was never given a state to start in; `EFAULT`.
pub(super) fn get_vcpu_context<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let wanted = request.op.vcpucontext();
    let (hv, domain) = (request.call.hv, request.domain()?);
    require_possible(domain, wanted.vcpu)?;
    let own = domain.id == request.call.domain.id && wanted.vcpu == request.call.vcpu.id;
    let vcpu = domain.vcpu(wanted.vcpu).filter(|_| !own).ok_or(Errno::EINVAL)?;
    if !vcpu.is_up() {
        return Err(Errno::ENODATA);
    }
    let context = match with_stopped(hv, domain, vcpu, |core| context(&core.hardware)) {
        Err(Errno::EAGAIN) => return request.again(),
        told => told?,
    };
    request.call.memory().write(wanted.ctxt, &context)?;
    request.copy_back()
}

/// Implements `XEN_DOMCTL_setvcpucontext`: replaces a vCPU's registers. Pending events stay pending.
///
/// **Errors:** `EINVAL` for the caller, for a vCPU that does not exist, for a dying domain, and for registers that no
/// processor can have; `EOPNOTSUPP` for a null context, which would reset the vCPU; `EFAULT`.
pub(super) fn set_vcpu_context<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let wanted = request.op.vcpucontext();
    let (hv, domain) = (request.call.hv, request.other_domain()?);
    require_possible(domain, wanted.vcpu)?;
    let vcpu = domain.vcpu(wanted.vcpu).ok_or(Errno::EINVAL)?;
    if wanted.ctxt.is_null() {
        return Err(Errno::EOPNOTSUPP);
    }
    let context: VcpuGuestContext = request.call.memory().read(wanted.ctxt)?;
    // Up or down before anything lets it run: afterwards it would run with the registers that it had.
    match with_stopped(hv, domain, vcpu, |core| load(vcpu, core, &context)) {
        Err(Errno::EAGAIN) => request.again(),
        loaded => loaded?.map(|()| Outcome::OK),
    }
}

fn load<M: Machine>(vcpu: &Vcpu<M>, core: &mut VcpuCore<M>, context: &VcpuGuestContext) -> Result<(), Errno> {
    let [dr0, dr1, dr2, dr3, _, _, dr6, dr7] = context.debugreg;
    let hardware = &mut core.hardware;
    let event = hardware.undelivered_event();
    let state = CpuState { registers: registers(&context.user_regs), dr6, dr7, ..hardware.state() };
    hardware.set_state(&state).map_err(|_| Errno::EINVAL)?;
    hardware.set_undelivered_event(event);
    hardware.set_debug_addresses([dr0, dr1, dr2, dr3]);
    let image = context.flags.contains(GuestContextFlags::I387_VALID).then_some(&context.fpu_ctxt);
    // The image is a part of what there may be: one that says nothing new leaves the rest alone.
    if image != Some(&hardware.fpu_image()) {
        hardware.set_fpu_image(image);
    }
    if context.flags.contains(GuestContextFlags::ONLINE) {
        if !vcpu.is_up() {
            vcpu.bring_up();
        }
    } else {
        vcpu.take_down();
    }
    Ok(())
}

const fn registers(r: &CpuUserRegs) -> Registers {
    Registers {
        rax: r.rax,
        rbx: r.rbx,
        rcx: r.rcx,
        rdx: r.rdx,
        rsi: r.rsi,
        rdi: r.rdi,
        rbp: r.rbp,
        rsp: r.rsp,
        r8: r.r8,
        r9: r.r9,
        r10: r.r10,
        r11: r.r11,
        r12: r.r12,
        r13: r.r13,
        r14: r.r14,
        r15: r.r15,
        rip: r.rip,
        rflags: r.rflags,
    }
}

fn user_registers(state: &CpuState) -> CpuUserRegs {
    let r = &state.registers;
    CpuUserRegs {
        r15: r.r15,
        r14: r.r14,
        r13: r.r13,
        r12: r.r12,
        rbp: r.rbp,
        rbx: r.rbx,
        r11: r.r11,
        r10: r.r10,
        r9: r.r9,
        r8: r.r8,
        rax: r.rax,
        rcx: r.rcx,
        rdx: r.rdx,
        rsi: r.rsi,
        rdi: r.rdi,
        rip: r.rip,
        rflags: r.rflags,
        rsp: r.rsp,
        cs: state.cs.selector,
        ss: state.ss.selector,
        es: state.es.selector,
        ds: state.ds.selector,
        fs: state.fs.selector,
        gs: state.gs.selector,
        ..CpuUserRegs::default()
    }
}

fn context(hardware: &impl GuestCpu) -> VcpuGuestContext {
    let state = hardware.state();
    let mut context = VcpuGuestContext {
        fpu_ctxt: hardware.fpu_image(),
        flags: GuestContextFlags::ONLINE | GuestContextFlags::I387_VALID,
        user_regs: user_registers(&state),
        fs_base: state.fs.base,
        ..VcpuGuestContext::default()
    };
    // In the kernel the base of the user's GS lies in the register that SWAPGS brings, and the other way round.
    let in_kernel = state.paging().cpl == 0;
    (context.gs_base_kernel, context.gs_base_user) =
        if in_kernel { (state.gs.base, state.kernel_gs_base) } else { (state.kernel_gs_base, state.gs.base) };
    let mut set = |index: usize, value| {
        if let Some(place) = context.ctrlreg.get_mut(index) {
            *place = value;
        }
    };
    set(CR0, state.cr0);
    set(CR2, state.cr2);
    set(CR3, state.cr3);
    set(CR4, state.cr4);
    let [dr0, dr1, dr2, dr3] = hardware.debug_addresses();
    context.debugreg = [dr0, dr1, dr2, dr3, 0, 0, state.dr6, state.dr7];
    context
}
