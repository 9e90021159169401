//! The security module (FLASK), so far as its operations are told apart.
//!
//! Hypercall [`XSM_OP`](crate::hypercall::XSM_OP): `(pointer to a [`FlaskOp`])`. A hypervisor without the module
//! answers every one of them with `ENOSYS`. **Source:** `xsm/flask_op.h`.

use crate::describe::{constants, union_members, wire};
use crate::{GuestHandle, Union};

constants! {
    table CONSTANTS;
    /// [`FlaskOp::interface_version`].
    pub const XEN_FLASK_INTERFACE_VERSION: u32 = 1;
    /// Loads a policy.
    pub const FLASK_LOAD: u32 = 1;
    /// Asks whether the policy is enforced.
    pub const FLASK_GETENFORCE: u32 = 2;
    /// Sets whether the policy is enforced.
    pub const FLASK_SETENFORCE: u32 = 3;
    /// Turns a label into a number; [`FlaskSidContext`].
    pub const FLASK_CONTEXT_TO_SID: u32 = 4;
    /// Turns a number into a label; [`FlaskSidContext`].
    pub const FLASK_SID_TO_CONTEXT: u32 = 5;
    /// Asks whether an access is allowed.
    pub const FLASK_ACCESS: u32 = 6;
    /// Asks for the label of a new thing.
    pub const FLASK_CREATE: u32 = 7;
    /// Asks for the label of a changed thing.
    pub const FLASK_RELABEL: u32 = 8;
    /// Asks for the policy's version.
    pub const FLASK_POLICYVERS: u32 = 10;
    /// Gives a domain another label.
    pub const FLASK_RELABEL_DOMAIN: u32 = 24;
}

wire! {
    /// An operation of the security module.
    pub struct FlaskOp: "struct xen_flask_op" {
        /// In: a `FLASK_*`.
        pub cmd: u32,
        /// In: [`XEN_FLASK_INTERFACE_VERSION`].
        pub interface_version: u32,
        /// In and out: by operation.
        pub u: Union<32>,
    }

    /// Arguments of [`FLASK_CONTEXT_TO_SID`] and [`FLASK_SID_TO_CONTEXT`].
    pub struct FlaskSidContext: "struct xen_flask_sid_context" {
        /// In or out: the number.
        pub sid: u32,
        /// In: room for the label. Out: its length.
        pub size: u32,
        /// In or out: the label.
        pub context: GuestHandle,
    }
}

union_members! {
    FlaskOp, u:
    /// For [`FLASK_CONTEXT_TO_SID`] and [`FLASK_SID_TO_CONTEXT`].
    sid_context, set_sid_context: FlaskSidContext;
}
