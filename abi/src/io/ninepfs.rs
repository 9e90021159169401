//! File systems by 9P: the page by which the two rings of messages are found, and what stands before each message.
//!
//! **Source:** `io/9pfs.h`.

use crate::describe::wire;

/// Bytes before the body of a 9P message: its size with them (32 bits), its kind (8) and its tag (16), all little-endian.
pub const NINEPFS_HEADER_SIZE: usize = 7;

wire! {
    fixed;

    /// The page of the two rings, without the references behind it. "In" is what the frontend reads.
    pub struct NinepfsDataIntf: "struct xen_9pfs_data_intf" {
        /// How much of "in" was read; the frontend writes it.
        pub in_cons: u32,
        /// How much of "in" was written.
        pub in_prod: u32,
        /// Padding.
        pub pad1: [u8; 56],
        /// How much of "out" was read.
        pub out_cons: u32,
        /// How much of "out" was written; the frontend writes it.
        pub out_prod: u32,
        /// Padding.
        pub pad2: [u8; 56],
        /// Base 2 logarithm of the number of pages of data; their references follow.
        pub ring_order: u32,
    }
}
