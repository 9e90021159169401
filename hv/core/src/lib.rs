//! Xenolith's core: domains, vCPUs, event channels, grants, memory, time and the hypercalls that work on them.
//!
//! It never touches hardware and holds no `unsafe`: everything that it asks of the machine goes through
//! [`xenolith_hal`]. So all of it runs on the host, in tests.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod cpu_policy;
pub mod ctl_bitmap;
pub mod debug_keys;
pub mod destruction;
pub mod device_space;
pub mod dom0;
pub mod domain;
pub mod domain_control;
pub mod domain_table;
pub mod domctl;
pub mod event_channel;
pub mod frames;
pub mod grant;
pub mod guest_code;
pub mod guest_cpuid;
pub mod guest_memory;
pub mod guest_msr;
pub mod guest_ports;
pub mod hvm_context;
pub mod hvm_params;
pub mod hypercall;
pub mod hypervisor;
pub mod idle_time;
pub mod memory_op;
pub mod mmio;
pub mod operations;
pub mod outcome;
pub mod passthrough;
pub mod physmap;
pub mod power;
pub mod scheduler;
pub mod settings;
pub mod stopped;
pub mod sysctl;
pub mod time;
pub mod vcpu;
pub mod vcpu_loop;
pub mod vcpu_timers;
pub mod vcpus;
pub mod watchdog;
