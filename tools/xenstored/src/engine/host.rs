//! What the engine asks of the machine around it.

use xenstore_wire::ErrorName;

/// What a domain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainState {
    Running,
    /// It has ended or is suspended, and its memory is still there.
    ShutDown,
    /// There is no such domain, or it is being taken apart.
    Gone,
}

/// What the engine asks of the machine around it. Nothing here may wait for a client.
pub trait Host {
    /// Serves the ring of a domain; `port` is the domain's own event channel. A domain whose ring is served already is
    /// connected anew.
    ///
    /// **Errors:** what the caller is to be told.
    fn connect(&mut self, domain: u16, gfn: u64, port: u32) -> Result<(), ErrorName>;

    /// No longer serves it.
    fn disconnect(&mut self, domain: u16);

    /// Says what a domain does.
    fn state(&mut self, domain: u16) -> DomainState;

    /// Writes a line to the log.
    fn log(&mut self, line: &str);

    /// Turns the log on or off.
    fn set_logging(&mut self, on: bool);

    /// Logs to another file from now on.
    ///
    /// **Errors:** it cannot be opened.
    fn log_to(&mut self, path: &str) -> Result<(), ErrorName>;

    /// Writes a report to a file, or to the log where no file is named.
    ///
    /// **Errors:** it cannot be written.
    fn report(&mut self, path: Option<&str>, text: &str) -> Result<(), ErrorName>;

    /// Prepares or does an exchange of the running program; the words are those of `live-update`.
    ///
    /// **Errors:** a word makes no sense. What else goes wrong is told in the answer, as Debian's daemon does.
    fn live_update(&mut self, words: &[&str]) -> Result<String, ErrorName>;
}
