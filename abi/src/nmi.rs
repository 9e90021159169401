//! Non-maskable interrupts.
//!
//! Hypercall [`NMI_OP`](crate::hypercall::NMI_OP): `(operation, pointer to arguments)`, for PV.
//! **Source:** `nmi.h`.

use crate::describe::{constants, wire};

constants! {
    table CONSTANTS;
    /// Reason in the shared page: an I/O check.
    pub const XEN_NMIREASON_IO_ERROR: u64 = 1 << 0;
    /// Reason in the shared page: a PCI system error.
    pub const XEN_NMIREASON_PCI_SERR: u64 = 1 << 1;
    /// Reason in the shared page: not known.
    pub const XEN_NMIREASON_UNKNOWN: u64 = 1 << 2;
    /// Sets the handler; [`XennmiCallback`].
    pub const XENNMI_REGISTER_CALLBACK: u32 = 0;
    /// Takes the handler away.
    pub const XENNMI_UNREGISTER_CALLBACK: u32 = 1;
}

wire! {
    /// Arguments of [`XENNMI_REGISTER_CALLBACK`].
    pub struct XennmiCallback: "struct xennmi_callback" {
        /// In: guest virtual address.
        pub handler_address: u64 as long,
        /// Padding.
        pub pad: u64 as long,
    }
}
