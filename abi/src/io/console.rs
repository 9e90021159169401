//! The console ring.
//!
//! **Source:** `io/console.h`.

use crate::describe::wire;

wire! {
    fixed;

    /// The shared page of a console. Indexes count up and are masked by the size.
    pub struct XenconsInterface: "struct xencons_interface" {
        /// What the domain reads.
        pub input: [u8; 1024] = "in",
        /// What the domain writes.
        pub output: [u8; 2048] = "out",
        /// How much of `input` was read; the domain writes it.
        pub in_cons: u32,
        /// How much of `input` was written.
        pub in_prod: u32,
        /// How much of `output` was read.
        pub out_cons: u32,
        /// How much of `output` was written; the domain writes it.
        pub out_prod: u32,
    }
}
