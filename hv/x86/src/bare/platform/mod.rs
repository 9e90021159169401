//! The platform around the CPUs: PCI, the IOMMU, clocks, power, debug keys.

pub mod amd_vi;
pub mod calibration;
pub mod keys;
pub mod memory_types;
pub mod microcode;
pub mod pci_config;
pub mod power;
pub mod serial_input;
pub mod spare_cpu;
pub mod wall_clock;
