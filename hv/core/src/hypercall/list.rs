//! Every hypercall there is.

use super::table::{Body, Caller, Hypercall};
use super::{Handler, Operation, multicall};
use crate::event_channel;
use crate::operations::version;
use core::marker::PhantomData;
use xen_abi::{Errno, hypercall as number};
use xenolith_hal::Machine;

/// One past the highest number.
const COUNT: usize = 64;

/// The table, for one kind of machine.
pub struct Table<M>(PhantomData<M>);

const fn does<M: Machine>(number: u32, name: &'static str, caller: Caller, handler: Handler<M>) -> Hypercall<M> {
    Hypercall { number, name, caller, mask: u32::MAX, body: Body::Does(handler) }
}

const fn refused<M: Machine>(number: u32, name: &'static str, errno: Errno) -> Hypercall<M> {
    Hypercall { number, name, caller: Caller::Any, mask: u32::MAX, body: Body::Refused(errno) }
}

const fn operations<M: Machine>(number: u32, name: &'static str, list: &'static [Operation<M>]) -> Hypercall<M> {
    Hypercall { number, name, caller: Caller::Any, mask: u32::MAX, body: Body::Operations(list) }
}

impl<M: Machine> Table<M> {
    /// Every hypercall, in the order of the numbers.
    pub const ALL: &'static [Hypercall<M>] = &[
        does(number::MULTICALL, "multicall", Caller::Any, multicall),
        operations(number::XEN_VERSION, "xen_version", version::operations()),
        refused(number::EVENT_CHANNEL_OP_COMPAT, "event_channel_op_compat", Errno::ENOSYS),
        refused(number::XSM_OP, "xsm_op", Errno::ENOSYS),
        operations(number::EVENT_CHANNEL_OP, "event_channel_op", event_channel::hypercall::operations()),
        refused(number::ARCH_0, "mca", Errno::ENOSYS),
    ];

    /// The same by number.
    pub const BY_NUMBER: &'static [Option<&'static Hypercall<M>>; COUNT] = &Self::by_number();

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
