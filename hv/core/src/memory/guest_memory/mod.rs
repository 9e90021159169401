//! Guest memory access: copying in and out by guest virtual address.

mod view;
mod walk;

pub use view::{GuestView, Layout, write_physical};
pub use walk::{Fault, Lookups, Wanted, ram_page, translate};
