//! What happens to domains and vCPUs: creation, waking, pausing, shutdown, destruction, time, events.

pub mod debug_keys;
pub mod destruction;
pub mod event_domain;
pub mod grant_world;
pub mod ioreq_servers;
pub mod making;
pub mod power;
pub mod soft_reset;
pub mod stopped;
pub mod time;
pub mod waking;
