//! Hypercalls, foreign memory, event channels and grants from a program in dom0, through Linux's Xen devices.
//!
//! ```no_run
//! use hypervisor_access::{EventChannels, Grants, Hypercalls};
//!
//! # fn main() -> std::io::Result<()> {
//! // Which domains are there?
//! let hypercalls = Hypercalls::open()?;
//! for domain in hypercalls.domains(0, 64)? {
//!     println!("domain {} has {} pages", domain.domain.0, domain.tot_pages);
//! }
//! // The page by which domain 5 speaks to xenstore, and its event channel.
//! let page = Grants::open()?.map(5, &[1])?;
//! println!("{} bytes wait", page.load_u32(2052).wrapping_sub(page.load_u32(2048)));
//! let channels = EventChannels::open()?;
//! let port = channels.bind_interdomain(5, 1)?;
//! channels.notify(port)?;
//! # Ok(())
//! # }
//! ```
//!
//! **Source:** Linux's `include/uapi/xen/{privcmd,evtchn,gntdev,gntalloc}.h`.

mod buffer;
mod building;
mod device_model;
mod event_channels;
mod foreign;
mod grants;
mod hypercalls;
mod ioctl;
mod saving;

pub use buffer::Buffer;
pub use building::CpuPolicy;
pub use event_channels::EventChannels;
pub use foreign::Resource;
pub use grants::{GrantMapping, Grants, Offered, Offers};
pub use hypercalls::Hypercalls;
pub use mapped_memory::Mapping;
