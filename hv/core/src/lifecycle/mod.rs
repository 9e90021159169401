//! What happens to domains and vCPUs: waking, stopping, making, destruction, time, power, debug keys.

pub mod debug_keys;
pub mod destruction;
pub(crate) mod event_domain;
pub(crate) mod grant_world;
pub mod making;
pub mod power;
pub mod stopped;
pub mod time;
