//! What a domain and a vCPU are made of, each part by itself.

pub mod control;
pub mod cpu_policy;
pub mod device_space;
pub mod devices;
pub mod event_channel;
pub mod grant;
pub mod hvm_params;
pub mod idle_time;
pub mod placing;
pub(crate) mod slot;
pub(crate) mod sysctl_state;
pub mod vcpu_timers;
pub mod watchdog;
