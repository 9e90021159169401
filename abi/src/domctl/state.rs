//! Control of a domain's saved state and of its time stamp counter.
//!
//! **Source:** `domctl.h`.

use crate::GuestHandle;
use crate::describe::wire;

wire! {
    fixed;

    /// Arguments of [`XEN_DOMCTL_GETHVMCONTEXT`](super::XEN_DOMCTL_GETHVMCONTEXT) and its counterpart; the records are
    /// in [`crate::hvm_save`].
    pub struct DomctlHvmcontext: "struct xen_domctl_hvmcontext" {
        /// In: length in bytes. Out: how many were written or, with a null buffer, are needed.
        pub size: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// In or out: the records.
        pub buffer: GuestHandle,
    }

    /// Arguments of [`XEN_DOMCTL_GETHVMCONTEXT_PARTIAL`](super::XEN_DOMCTL_GETHVMCONTEXT_PARTIAL).
    pub struct DomctlHvmcontextPartial: "struct xen_domctl_hvmcontext_partial" {
        /// In: the record's type.
        pub kind: u32 = "type",
        /// In: which of that type.
        pub instance: u32,
        /// In: length of the buffer in bytes.
        pub bufsz: u64,
        /// Out: the record, without its descriptor.
        pub buffer: GuestHandle,
    }

    /// Arguments of [`XEN_DOMCTL_SET_ADDRESS_SIZE`](super::XEN_DOMCTL_SET_ADDRESS_SIZE) and its counterpart.
    pub struct DomctlAddressSize: "struct xen_domctl_address_size" {
        /// In or out: 32 or 64.
        pub size: u32,
    }

    /// Arguments of [`XEN_DOMCTL_SETTSCINFO`](super::XEN_DOMCTL_SETTSCINFO) and its counterpart.
    pub struct DomctlTscInfo: "struct xen_domctl_tsc_info" {
        /// In or out: 0 default, 1 always emulated, 2 native.
        pub tsc_mode: u32,
        /// In or out: the domain's frequency in kHz.
        pub gtsc_khz: u32,
        /// In or out: its incarnation (number of migrations).
        pub incarnation: u32,
        /// Padding.
        pub pad: u32,
        /// In or out: the domain's age in nanoseconds.
        pub elapsed_nsec: u64,
    }
}
