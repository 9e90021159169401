//! Where a PV domain is entered.
//!
//! Hypercall [`CALLBACK_OP`](crate::hypercall::CALLBACK_OP): `(operation, pointer to arguments)`.
//! **Source:** `callback.h`.

use crate::describe::{constants, flags, wire};

constants! {
    table CONSTANTS;
    /// Registers a callback; [`CallbackRegister`].
    pub const CALLBACKOP_REGISTER: u32 = 0;
    /// Unregisters a callback; [`CallbackUnregister`].
    pub const CALLBACKOP_UNREGISTER: u32 = 1;
    /// For events.
    pub const CALLBACKTYPE_EVENT: u16 = 0;
    /// For a segment or return state that cannot be restored (failsafe).
    pub const CALLBACKTYPE_FAILSAFE: u16 = 1;
    /// For SYSCALL from 64-bit code.
    pub const CALLBACKTYPE_SYSCALL: u16 = 2;
    /// For non-maskable interrupts.
    pub const CALLBACKTYPE_NMI: u16 = 4;
    /// For SYSENTER.
    pub const CALLBACKTYPE_SYSENTER: u16 = 5;
    /// For SYSCALL from 32-bit code.
    pub const CALLBACKTYPE_SYSCALL32: u16 = 7;
}

flags! {
    /// Flags of [`CallbackRegister`].
    pub struct CallbackFlags("CALLBACKF_"): u16 {
        /// Events are masked on entry.
        const MASK_EVENTS = 1 << 0;
    }
}

wire! {
    /// Arguments of [`CALLBACKOP_REGISTER`].
    pub struct CallbackRegister: "struct callback_register" {
        /// In: a `CALLBACKTYPE_*`.
        pub kind: u16 = "type",
        /// In: flags.
        pub flags: CallbackFlags,
        /// Padding.
        pub pad: [u8; 4],
        /// In: guest virtual address.
        pub address: u64,
    }

    /// Arguments of [`CALLBACKOP_UNREGISTER`].
    pub struct CallbackUnregister: "struct callback_unregister" {
        /// In: a `CALLBACKTYPE_*`.
        pub kind: u16 = "type",
        /// Padding.
        pub pad: u16,
    }
}
