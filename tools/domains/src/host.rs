//! What making domains needs of domain 0's own system: a trait, so that it is tested without one.

use std::io;
use std::process::{Command, Stdio};

/// Domain 0's system.
pub trait Host {
    /// Joins a network interface to a bridge, and switches it on.
    ///
    /// **Errors:** there is no such interface or bridge; the text says which.
    fn join_bridge(&self, interface: &str, bridge: &str) -> io::Result<()>;
}

/// Linux, by the program `ip`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux;

/// The address of back ends' interfaces: no other is higher, so a bridge never takes it for its own.
const BACKEND_ADDRESS: &str = "fe:ff:ff:ff:ff:ff";

impl Host for Linux {
    fn join_bridge(&self, interface: &str, bridge: &str) -> io::Result<()> {
        let words = ["link", "set", "dev", interface, "address", BACKEND_ADDRESS, "master", bridge, "up"];
        let outcome = Command::new("ip").args(words).stdin(Stdio::null()).output()?;
        if outcome.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&outcome.stderr).trim().to_owned();
        Err(io::Error::other(format!("ip cannot join {interface} to {bridge}: {said}")))
    }
}
