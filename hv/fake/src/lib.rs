//! A fake machine of ordinary vectors and maps, for tests of the core on the host.
//!
//! It does what [`xenolith_hal`] asks for and nothing by itself: time stands still until a test advances it, a virtual
//! CPU exits for the reasons that a test queued or that a played guest gives, and what the core wrote to the console can be read back. Guest memory
//! can be made to change while the core reads it.
//!
//! ```
//! use xenolith_fake::FakeMachine;
//! use xenolith_hal::{CpuId, Machine, Time};
//!
//! let machine = FakeMachine::new(2, 16);
//! machine.set_timer(Time(500));
//! machine.kick(CpuId(1));
//! let before = machine.now();
//! machine.pass_ns(100);
//! assert_eq!(machine.now(), before.after_ns(100), "time stands still otherwise");
//! assert_eq!(machine.timer(CpuId(0)), Time(500));
//! assert_eq!(machine.kicks(CpuId(1)), 1);
//! ```
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
pub use vcpu::{FakeEntry, FakeGuest, FakeVcpu};
