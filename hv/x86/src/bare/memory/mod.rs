//! The hypervisor's own address space, its heap and stacks, and access to RAM and to device registers.

pub mod address_space;
pub mod boot_memory;
pub mod device_registers;
pub mod heap;
pub mod ram;
pub mod stacks;
