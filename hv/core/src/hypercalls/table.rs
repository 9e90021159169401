//! The one table of hypercalls: number, name, who may call, and what does it.

use super::Call;
use crate::outcome::Answer;
use xen_abi::Errno;
use xenolith_hal::Machine;

/// What does a call.
pub type Handler<M> = fn(&mut Call<'_, M>) -> Answer;

/// What must hold for a call, whatever it is to do.
pub type Precondition<M> = fn(&Call<'_, M>) -> Result<(), Errno>;

/// Who may call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// Every domain.
    Any,
    /// The control domain; others get `EPERM`.
    Control,
}

/// What stands behind a number.
pub enum Body<M: Machine> {
    /// This.
    Does(Handler<M>),
    /// Nothing: the errno that Xen has when it is absent or refused.
    Refused(Errno),
    /// Operations, told apart by the first argument.
    Operations(&'static [Operation<M>]),
}

/// One operation of a hypercall.
pub struct Operation<M: Machine> {
    /// The value of the first argument under [`Hypercall::mask`].
    pub number: u32,
    /// The public name, such as `EVTCHNOP_send`.
    pub name: &'static str,
    pub caller: Caller,
    pub body: OperationBody<M>,
}

/// What stands behind an operation's number.
pub enum OperationBody<M: Machine> {
    /// This.
    Does(Handler<M>),
    /// Nothing: the errno that Xen has when it is absent or refused.
    Refused(Errno),
}

/// One hypercall.
pub struct Hypercall<M: Machine> {
    pub number: u32,
    /// The public name without its prefix, such as `event_channel_op`.
    pub name: &'static str,
    pub caller: Caller,
    /// The bits of the first argument that tell operations apart; the rest carries progress.
    pub mask: u32,
    /// What is looked at before the operation is.
    pub precondition: Option<Precondition<M>>,
    pub body: Body<M>,
}

/// An operation that every domain may call.
pub const fn operation<M: Machine>(number: u32, name: &'static str, handler: Handler<M>) -> Operation<M> {
    Operation { number, name, caller: Caller::Any, body: OperationBody::Does(handler) }
}

/// An operation for the control domain.
pub const fn control<M: Machine>(number: u32, name: &'static str, handler: Handler<M>) -> Operation<M> {
    Operation { number, name, caller: Caller::Control, body: OperationBody::Does(handler) }
}

/// An operation that is refused with this errno.
pub const fn refused<M: Machine>(number: u32, name: &'static str, errno: Errno) -> Operation<M> {
    Operation { number, name, caller: Caller::Any, body: OperationBody::Refused(errno) }
}

impl<M: Machine> Hypercall<M> {
    /// The operation with this number. Lists stand in the order of the numbers, mostly without holes, so the first
    /// look mostly finds it.
    pub fn operation(list: &'static [Operation<M>], number: u32) -> Option<&'static Operation<M>> {
        match list.get(number as usize) {
            Some(found) if found.number == number => Some(found),
            _ => list.iter().find(|operation| operation.number == number),
        }
    }

    /// Makes the call.
    ///
    /// **Errors:** `ENOSYS` for an operation that does not exist, `EPERM` for one that is not the caller's to make,
    /// and whatever the precondition and the handler say.
    pub fn run(&self, call: &mut Call<'_, M>) -> Answer {
        permit(self.caller, call)?;
        if let Some(check) = self.precondition {
            check(call)?;
        }
        match &self.body {
            Body::Does(handler) => handler(call),
            Body::Refused(errno) => Err(*errno),
            Body::Operations(list) => {
                let number = call.arg_u32(0) & self.mask;
                let operation = Self::operation(list, number).ok_or(Errno::ENOSYS)?;
                permit(operation.caller, call)?;
                match operation.body {
                    OperationBody::Does(handler) => handler(call),
                    OperationBody::Refused(errno) => Err(errno),
                }
            }
        }
    }
}

fn permit<M: Machine>(caller: Caller, call: &Call<'_, M>) -> Result<(), Errno> {
    match caller {
        Caller::Any => Ok(()),
        Caller::Control => call.require_control(),
    }
}
