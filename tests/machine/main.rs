//! Whole machines: what must hold when the image boots in an emulated machine.
//!
//! They take the images as they lie in `target/image/`; `cargo xtask test` builds them first.

mod bochs;
mod boot_disc;
mod boot_loaders;
mod cpus;
mod crash;
mod debian_guests;
mod debian_kernel;
mod dom0;
mod dom0_memory;
mod domains;
mod grub_script;
mod image;
mod instructions;
mod iommu;
mod memory;
mod options;
mod refusals;
mod serial_line;
mod spinning_kernel;
