//! A fake machine of ordinary vectors and maps, for tests of the core on the host.
//!
//! It does what [`xenolith_hal`] asks for and nothing by itself: time stands still until a test advances it, a virtual
//! CPU exits for the reasons that a test queued, and what the core wrote to the console can be read back. Guest memory
//! can be made to change while the core reads it.
#![forbid(unsafe_code)]

mod cpuid;
mod devices;
mod disturbance;
mod machine;
mod space;
mod vcpu;

pub use devices::{FakeFunction, FakeLine};
pub use disturbance::Disturbance;
pub use machine::FakeMachine;
pub use space::FakeSpace;
pub use vcpu::FakeVcpu;
