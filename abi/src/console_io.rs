//! The hypervisor's own console.
//!
//! Hypercall [`CONSOLE_IO`](crate::hypercall::CONSOLE_IO): `(operation, length in bytes, pointer to bytes)`.
//! **Source:** `xen.h`.

use crate::describe::constants;

constants! {
    table CONSTANTS;
    /// Writes bytes to the console; returns 0.
    pub const CONSOLEIO_WRITE: u32 = 0;
    /// Reads typed bytes, control domain only; returns how many.
    pub const CONSOLEIO_READ: u32 = 1;
}
