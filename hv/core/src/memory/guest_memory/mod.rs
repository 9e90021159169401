//! A guest's memory, as the hypervisor reads and writes it.

mod view;
mod walk;

pub use view::{GuestView, write_physical};
pub use walk::{Fault, Wanted, ram_page, translate};
