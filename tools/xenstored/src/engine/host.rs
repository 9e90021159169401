//! The interface by which the state machine uses the machine around it.

use xenstore_wire::ErrorName;

/// State of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainState {
    Running,
    /// Shut down or suspended; its memory is still there.
    ShutDown,
    /// Destroyed, or being destroyed.
    Gone,
}

/// The machine around the state machine. No function may block on a client.
pub trait Host {
    /// Connects the ring of a domain; `port` is the domain's own event channel port. A ring that is connected already
    /// is connected anew.
    ///
    /// **Errors:** the error that is sent to the caller.
    fn connect(&mut self, domain: u16, gfn: u64, port: u32) -> Result<(), ErrorName>;

    /// Disconnects the ring of a domain.
    fn disconnect(&mut self, domain: u16);

    /// Returns the state of a domain.
    fn state(&mut self, domain: u16) -> DomainState;

    /// Writes a line to the log.
    fn log(&mut self, line: &str);

    /// Enables or disables the log.
    fn set_logging(&mut self, on: bool);

    /// Switches to another log file.
    ///
    /// **Errors:** it cannot be opened.
    fn log_to(&mut self, path: &str) -> Result<(), ErrorName>;

    /// Writes a report to a file, or to the log if `path` is None.
    ///
    /// **Errors:** it cannot be written.
    fn report(&mut self, path: Option<&str>, text: &str) -> Result<(), ErrorName>;

    /// Prepares or starts a live update; the words are those of `live-update`.
    ///
    /// **Errors:** `EINVAL` for words that are not valid. Other failures are the text of the response, as with Debian's
    /// daemon.
    fn live_update(&mut self, words: &[&str]) -> Result<String, ErrorName>;
}
