//! The hypercall table.

use super::domctl::domctl;
use super::table::{Body, Hypercall, in_order};
use super::{Handler, Operation, multicall};
use super::{
    console_io, dm_op, event_channel, grant_table, hvm_op, memory, mmuext_op, physdev_op, platform_op, sched_op,
    sysctl, vcpu_op, version, vm_assist,
};
use crate::components::access::Action;
use core::marker::PhantomData;
use xen_abi::{Errno, hypercall as number};
use xenolith_hal::Machine;

/// One past the highest number.
const COUNT: usize = 64;

/// The hypercall table, for one kind of machine.
pub struct Table<M>(PhantomData<M>);

const fn does<M: Machine>(number: u32, name: &'static str, action: Action, handler: Handler<M>) -> Hypercall<M> {
    Hypercall { number, name, action, mask: u32::MAX, precondition: None, body: Body::Does(handler) }
}

const fn refused<M: Machine>(number: u32, name: &'static str, errno: Errno) -> Hypercall<M> {
    Hypercall {
        number,
        name,
        action: Action::CallForItself,
        mask: u32::MAX,
        precondition: None,
        body: Body::Refused(errno),
    }
}

const fn operations<M: Machine>(
    number: u32,
    name: &'static str,
    list: &'static [Operation<Handler<M>>],
) -> Hypercall<M> {
    Hypercall {
        number,
        name,
        action: Action::CallForItself,
        mask: u32::MAX,
        precondition: None,
        body: Body::Operations(in_order(list)),
    }
}

impl<M: Machine> Table<M> {
    /// The hypercalls, in the order of the numbers.
    pub const ALL: &'static [Hypercall<M>] = &[
        // Who may call is asked when the version of the interface was found right.
        does(number::PLATFORM_OP, "platform_op", Action::CallForItself, platform_op::platform_op),
        does(number::MULTICALL, "multicall", Action::CallForItself, multicall),
        operations(number::XEN_VERSION, "xen_version", version::operations()),
        refused(number::EVENT_CHANNEL_OP_COMPAT, "event_channel_op_compat", Errno::ENOSYS),
        does(number::SET_TIMER_OP, "set_timer_op", Action::CallForItself, vcpu_op::set_timer_op),
        Hypercall {
            action: Action::UseConsole,
            ..operations(number::CONSOLE_IO, "console_io", console_io::operations())
        },
        does(number::VM_ASSIST, "vm_assist", Action::CallForItself, vm_assist::vm_assist),
        Hypercall {
            precondition: Some(vcpu_op::is_of_a_vcpu),
            ..operations(number::VCPU_OP, "vcpu_op", vcpu_op::operations())
        },
        Hypercall {
            number: number::MEMORY_OP,
            name: "memory_op",
            action: Action::CallForItself,
            mask: xen_abi::memory::MEMOP_CMD_MASK,
            precondition: None,
            body: Body::Operations(in_order(memory::operations())),
        },
        operations(number::GRANT_TABLE_OP, "grant_table_op", grant_table::operations()),
        does(number::MMUEXT_OP, "mmuext_op", Action::CallForItself, mmuext_op::mmuext_op),
        refused(number::XSM_OP, "xsm_op", Errno::ENOSYS),
        operations(number::SCHED_OP, "sched_op", sched_op::operations()),
        operations(number::EVENT_CHANNEL_OP, "event_channel_op", event_channel::operations()),
        Hypercall {
            precondition: Some(physdev_op::has_devices),
            ..operations(number::PHYSDEV_OP, "physdev_op", physdev_op::operations())
        },
        operations(number::HVM_OP, "hvm_op", hvm_op::operations()),
        does(number::SYSCTL, "sysctl", Action::CallForItself, sysctl::sysctl),
        // Who may call is asked when the domain that it names was found.
        does(number::DOMCTL, "domctl", Action::CallForItself, domctl),
        refused(number::XENPMU_OP, "xenpmu_op", Errno::EOPNOTSUPP),
        does(number::DM_OP, "dm_op", Action::CallForItself, dm_op::dm_op),
        // Real Xen's answer to a path that it cannot take: there is no tree of settings.
        Hypercall { action: Action::ControlMachine, ..refused(number::HYPFS_OP, "hypfs_op", Errno::EINVAL) },
        refused(number::ARCH_0, "mca", Errno::ENOSYS),
        refused(number::ARCH_1, "paging_domctl_continuation", Errno::EOPNOTSUPP),
    ];

    /// The hypercalls by number.
    pub const BY_NUMBER: &'static [Option<&'static Hypercall<M>>; COUNT] = &Self::by_number();

    #[cfg_attr(
        not(test),
        expect(clippy::indexing_slicing, reason = "computed by the compiler, which refuses a number past the end")
    )]
    const fn by_number() -> [Option<&'static Hypercall<M>>; COUNT] {
        let mut table: [Option<&'static Hypercall<M>>; COUNT] = [None; COUNT];
        let mut rest = Self::ALL;
        while let [first, others @ ..] = rest {
            table[first.number as usize] = Some(first);
            rest = others;
        }
        table
    }
}
