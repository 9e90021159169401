//! The registers of a vCPU in the form that debuggers and memory dumps use.

use super::Request;
use super::info::require_possible;
use crate::outcome::Answer;
use crate::stopped::with_stopped;
use xen_abi::Errno;
use xen_abi::guest_context::{CpuUserRegs, GuestContextFlags, VcpuGuestContext};
use xenolith_hal::{CpuState, GuestCpu, Machine};

/// Where CR0, CR2, CR3, CR4, DR6 and DR7 stand in their lists.
const CR0: usize = 0;
const CR2: usize = 2;
const CR3: usize = 3;
const CR4: usize = 4;
const DR6: usize = 6;
const DR7: usize = 7;

/// The floating-point state is not told, and marked as such.
///
/// **Errors:** `EINVAL` for a vCPU that does not exist and for the caller's own; `ENODATA` for one that was never
/// given a state to start in; `EFAULT`.
pub(super) fn get_vcpu_context<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let wanted = request.op.vcpucontext();
    let (hv, domain) = (request.call.hv, request.domain()?);
    require_possible(domain, wanted.vcpu)?;
    let own = domain.id == request.call.domain.id && wanted.vcpu == request.call.vcpu.id;
    let vcpu = domain.vcpu(wanted.vcpu).filter(|_| !own).ok_or(Errno::EINVAL)?;
    if !vcpu.is_up() {
        return Err(Errno::ENODATA);
    }
    let Some(context) = with_stopped(hv, domain, vcpu, |core| context(&core.hardware.state())) else {
        return request.again();
    };
    request.call.memory().write(wanted.ctxt, &context)?;
    request.copy_back()
}

fn context(state: &CpuState) -> VcpuGuestContext {
    let r = &state.registers;
    let mut context = VcpuGuestContext {
        flags: GuestContextFlags::ONLINE,
        user_regs: CpuUserRegs {
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
        },
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
    for (index, value) in [(DR6, state.dr6), (DR7, state.dr7)] {
        if let Some(place) = context.debugreg.get_mut(index) {
            *place = value;
        }
    }
    context
}
