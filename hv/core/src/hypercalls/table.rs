//! The types of the hypercall table: number, name, permitted callers, and handler.

use super::Call;
use crate::components::access::{Action, Object};
use crate::outcome::Answer;
use xen_abi::Errno;
use xenolith_hal::Machine;

/// The handler of a call.
pub type Handler<M> = fn(&mut Call<'_, M>) -> Answer;

/// A check before a call, whatever its operation.
pub type Precondition<M> = fn(&Call<'_, M>) -> Result<(), Errno>;

/// How a hypercall is handled.
pub enum Body<M: Machine> {
    /// By this handler.
    Does(Handler<M>),
    /// Refused with the errno that Xen has when it is absent or refused.
    Refused(Errno),
    /// By one of these operations, selected by the first argument.
    Operations(&'static [Operation<Handler<M>>]),
}

/// One operation: of a hypercall, of `domctl` or of `sysctl`. `H` is its handler.
pub struct Operation<H> {
    /// The value of the first argument under [`Hypercall::mask`], or of the structure's `cmd`.
    pub number: u32,
    /// The public name, such as `EVTCHNOP_send`.
    pub name: &'static str,
    /// What the caller must be permitted to do.
    pub action: Action,
    pub body: OperationBody<H>,
}

/// How an operation is handled.
#[derive(Clone, Copy)]
pub enum OperationBody<H> {
    /// Calls this handler.
    Does(H),
    /// Refused with the errno that Xen has when it is absent or refused.
    Refused(Errno),
}

/// Returns the list, which [`Operation::find`] needs in the order of the numbers: another one does not compile.
pub const fn in_order<H>(list: &'static [Operation<H>]) -> &'static [Operation<H>] {
    let mut rest = list;
    while let [first, others @ ..] = rest {
        if let [second, ..] = others {
            assert!(first.number < second.number, "operations out of order");
        }
        rest = others;
    }
    list
}

impl<H: Copy> Operation<H> {
    /// Finds the operation with this number. Lists are [in the order of the numbers](in_order), with few holes, so it stands at
    /// the place of its number or a little before.
    pub fn find(list: &'static [Self], number: u32) -> Option<&'static Self> {
        let upto = list.len().min((number as usize).saturating_add(1));
        let found = list.get(..upto)?.iter().rev().find(|operation| operation.number <= number)?;
        (found.number == number).then_some(found)
    }

    /// Returns the handler.
    ///
    /// **Errors:** the errno of an operation that is refused.
    pub fn handler(&self) -> Result<H, Errno> {
        match self.body {
            OperationBody::Does(handler) => Ok(handler),
            OperationBody::Refused(errno) => Err(errno),
        }
    }
}

/// One hypercall.
pub struct Hypercall<M: Machine> {
    pub number: u32,
    /// The public name without its prefix, such as `event_channel_op`.
    pub name: &'static str,
    /// What the caller must be permitted to do, whatever the operation.
    pub action: Action,
    /// The bits of the first argument that select the operation; the rest carries progress.
    pub mask: u32,
    /// Checked before the operation is looked up.
    pub precondition: Option<Precondition<M>>,
    pub body: Body<M>,
}

/// Returns an operation that concerns the caller alone, or that asks for permission itself once it knows the object.
pub const fn operation<H>(number: u32, name: &'static str, handler: H) -> Operation<H> {
    Operation { number, name, action: Action::CallForItself, body: OperationBody::Does(handler) }
}

/// Returns an operation on the machine that takes permission for `action`.
pub const fn permitted<H>(action: Action, number: u32, name: &'static str, handler: H) -> Operation<H> {
    Operation { number, name, action, body: OperationBody::Does(handler) }
}

/// Returns an operation that is refused with this errno.
pub const fn refused<H>(number: u32, name: &'static str, errno: Errno) -> Operation<H> {
    Operation { number, name, action: Action::CallForItself, body: OperationBody::Refused(errno) }
}

impl<M: Machine> Hypercall<M> {
    /// Makes the call.
    ///
    /// **Errors:** `ENOSYS` for an operation that does not exist, `EPERM` for one that the caller may not make, and
    /// the errors of the precondition and the handler.
    pub fn run(&self, call: &mut Call<'_, M>) -> Answer {
        call.may(self.action, Object::Machine)?;
        if let Some(check) = self.precondition {
            check(call)?;
        }
        match &self.body {
            Body::Does(handler) => handler(call),
            Body::Refused(errno) => Err(*errno),
            Body::Operations(list) => {
                let number = call.arg_u32(0) & self.mask;
                let operation = Operation::find(list, number).ok_or(Errno::ENOSYS)?;
                call.may(operation.action, Object::Machine)?;
                operation.handler()?(call)
            }
        }
    }
}
