//! The table of `domctl` operations.

use super::{
    Request, affinity, create, info, memory, page_kinds, policy, running, scheduling, settings, state, vcpu_context,
};
use crate::hypercalls::{Operation, operation, refused};
use crate::outcome::Answer;
use xen_abi::Errno;
use xen_abi::domctl::*;
use xenolith_hal::Machine;

/// The handler of an operation.
pub type CommandHandler<M> = fn(&mut Request<'_, '_, M>) -> Answer;

/// Refuses an operation that is absent, and that a domain could not do to itself either.
///
/// **Errors:** `EINVAL` for the caller, `EOPNOTSUPP` for another domain, `ESRCH`.
fn refused_of_others<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    request.other_domain()?;
    Err(Errno::EOPNOTSUPP)
}

/// Returns the operations, in the order of the numbers. Any other is `ENOSYS`.
pub const fn commands<M: Machine>() -> &'static [Operation<CommandHandler<M>>] {
    const {
        &[
            operation(XEN_DOMCTL_CREATEDOMAIN, "createdomain", create::create),
            operation(XEN_DOMCTL_DESTROYDOMAIN, "destroydomain", running::destroy),
            operation(XEN_DOMCTL_PAUSEDOMAIN, "pausedomain", running::pause),
            operation(XEN_DOMCTL_UNPAUSEDOMAIN, "unpausedomain", running::unpause),
            operation(XEN_DOMCTL_GETDOMAININFO, "getdomaininfo", info::get_domain_info),
            operation(XEN_DOMCTL_SETVCPUAFFINITY, "setvcpuaffinity", affinity::set_vcpu_affinity),
            operation(XEN_DOMCTL_SHADOW_OP, "shadow_op", memory::shadow_op),
            operation(XEN_DOMCTL_MAX_MEM, "max_mem", memory::max_mem),
            operation(XEN_DOMCTL_SETVCPUCONTEXT, "setvcpucontext", vcpu_context::set_vcpu_context),
            operation(XEN_DOMCTL_GETVCPUCONTEXT, "getvcpucontext", vcpu_context::get_vcpu_context),
            operation(XEN_DOMCTL_GETVCPUINFO, "getvcpuinfo", info::get_vcpu_info),
            operation(XEN_DOMCTL_MAX_VCPUS, "max_vcpus", create::max_vcpus),
            operation(XEN_DOMCTL_SCHEDULER_OP, "scheduler_op", scheduling::scheduler_op),
            operation(XEN_DOMCTL_SETDOMAINHANDLE, "setdomainhandle", settings::set_domain_handle),
            operation(XEN_DOMCTL_SETDEBUGGING, "setdebugging", settings::set_debugging),
            operation(XEN_DOMCTL_SETTIMEOFFSET, "settimeoffset", settings::set_time_offset),
            operation(XEN_DOMCTL_GETVCPUAFFINITY, "getvcpuaffinity", affinity::get_vcpu_affinity),
            operation(XEN_DOMCTL_RESUMEDOMAIN, "resumedomain", running::resume),
            operation(XEN_DOMCTL_SENDTRIGGER, "sendtrigger", running::send_trigger),
            operation(XEN_DOMCTL_GETHVMCONTEXT, "gethvmcontext", state::get_hvm_context),
            operation(XEN_DOMCTL_SETHVMCONTEXT, "sethvmcontext", state::set_hvm_context),
            refused(XEN_DOMCTL_SET_ADDRESS_SIZE, "set_address_size", Errno::EOPNOTSUPP),
            refused(XEN_DOMCTL_GET_ADDRESS_SIZE, "get_address_size", Errno::EOPNOTSUPP),
            refused(XEN_DOMCTL_ASSIGN_DEVICE, "assign_device", Errno::EOPNOTSUPP),
            refused(XEN_DOMCTL_TEST_ASSIGN_DEVICE, "test_assign_device", Errno::EOPNOTSUPP),
            operation(XEN_DOMCTL_SET_TARGET, "set_target", refused_of_others),
            refused(XEN_DOMCTL_DEASSIGN_DEVICE, "deassign_device", Errno::EOPNOTSUPP),
            refused(XEN_DOMCTL_GET_DEVICE_GROUP, "get_device_group", Errno::EOPNOTSUPP),
            refused(XEN_DOMCTL_DEBUG_OP, "debug_op", Errno::EOPNOTSUPP),
            operation(XEN_DOMCTL_GETHVMCONTEXT_PARTIAL, "gethvmcontext_partial", state::get_hvm_context_partial),
            refused(XEN_DOMCTL_VM_EVENT_OP, "vm_event_op", Errno::EOPNOTSUPP),
            operation(XEN_DOMCTL_GETTSCINFO, "gettscinfo", settings::get_tsc_info),
            operation(XEN_DOMCTL_SETTSCINFO, "settscinfo", settings::set_tsc_info),
            operation(XEN_DOMCTL_GETPAGEFRAMEINFO3, "getpageframeinfo3", page_kinds::get_page_frame_info),
            refused(XEN_DOMCTL_SET_ACCESS_REQUIRED, "set_access_required", Errno::EOPNOTSUPP),
            operation(XEN_DOMCTL_SET_VIRQ_HANDLER, "set_virq_handler", policy::set_virq_handler),
            operation(XEN_DOMCTL_SETNODEAFFINITY, "setnodeaffinity", affinity::set_node_affinity),
            operation(XEN_DOMCTL_GETNODEAFFINITY, "getnodeaffinity", affinity::get_node_affinity),
            refused(XEN_DOMCTL_PSR_CMT_OP, "psr_cmt_op", Errno::EOPNOTSUPP),
            refused(XEN_DOMCTL_MONITOR_OP, "monitor_op", Errno::EOPNOTSUPP),
            refused(XEN_DOMCTL_PSR_ALLOC, "psr_alloc", Errno::EOPNOTSUPP),
            operation(XEN_DOMCTL_SOFT_RESET, "soft_reset", running::soft_reset),
            operation(XEN_DOMCTL_GET_CPU_POLICY, "get_cpu_policy", policy::get_cpu_policy),
            operation(XEN_DOMCTL_SET_CPU_POLICY, "set_cpu_policy", policy::set_cpu_policy),
            operation(XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE, "get_paging_mempool_size", memory::get_paging_mempool_size),
            operation(XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE, "set_paging_mempool_size", memory::set_paging_mempool_size),
        ]
    }
}
