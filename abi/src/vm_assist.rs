//! Behaviour of the hypervisor that a domain turns on or off.
//!
//! Hypercall [`VM_ASSIST`](crate::hypercall::VM_ASSIST): `(operation, kind)`. **Source:** `xen.h`.

use crate::describe::constants;

constants! {
    table CONSTANTS;
    /// Turns it on.
    pub const VMASST_CMD_ENABLE: u32 = 0;
    /// Turns it off.
    pub const VMASST_CMD_DISABLE: u32 = 1;
    /// 32-bit PV: segments of 4 GiB.
    pub const VMASST_TYPE_4GB_SEGMENTS: u32 = 0;
    /// 32-bit PV: a trap whenever such a segment is used.
    pub const VMASST_TYPE_4GB_SEGMENTS_NOTIFY: u32 = 1;
    /// PV: writes to page tables are emulated.
    pub const VMASST_TYPE_WRITABLE_PAGETABLES: u32 = 2;
    /// 32-bit PV: page directories above 4 GiB.
    pub const VMASST_TYPE_PAE_EXTENDED_CR3: u32 = 3;
    /// PV: the I/O privilege level works as on a machine.
    pub const VMASST_TYPE_ARCHITECTURAL_IOPL: u32 = 4;
    /// The runstate in guest memory is marked while it is being written.
    pub const VMASST_TYPE_RUNSTATE_UPDATE_FLAG: u32 = 5;
    /// PV: user space does not see the table of machine frames.
    pub const VMASST_TYPE_M2P_STRICT: u32 = 32;
}
