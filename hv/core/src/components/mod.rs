//! What a domain and a vCPU are made of, each part by itself.
//!
//! No part knows the domain that it belongs to: what it needs of it comes as a trait or as an argument, and what it wants
//! done goes back as a value.

pub mod access;
pub mod chipset;
pub mod control;
pub mod cpu_policy;
pub mod cpu_watchdog;
pub mod device_space;
pub mod devices;
pub mod event_channel;
pub mod grant;
pub mod hvm_params;
pub mod idle_time;
pub mod ioreq;
pub mod placing;
pub mod port_rights;
pub mod reference;
pub mod requests;
pub mod runstate;
pub mod shared_form;
pub mod slot;
pub mod stage;
pub mod sysctl_state;
pub mod vcpu_timers;
pub mod viridian;
pub mod watchdog;
