//! A watch, and changes of which it must tell.

use std::path::Path;

use xenstore_wire::Kind;

use super::client::{Client, Said};

/// Changes a node and waits for the event until `end` exists. Returns a line that says how often.
///
/// **Errors:** an event did not come.
pub fn run(socket: &str, base: &str, end: &Path) -> Result<String, String> {
    let (mut watcher, mut writer) = (Client::connect(socket)?, Client::connect(socket)?);
    let (mut told, mut anew) = (0_u64, 0_u64);
    while !end.exists() {
        // Set for the first time, or anew after the sockets were closed.
        anew += 1;
        let Said::Answer(said) = watcher.ask(Kind::Watch, 0, &format!("{base}\0t\0"))? else { continue };
        if said != "OK\\x00" {
            return Err(format!("{base}: a watch was answered by {said:?}"));
        }
        // The event that every watch begins with.
        if !watcher.await_event(&[base])? {
            continue;
        }
        while !end.exists() {
            // The name says which change an event is of.
            let path = format!("{base}/{told}");
            let Said::Answer(said) = writer.ask(Kind::Write, 0, &format!("{path}\0x"))? else { break };
            if said != "OK\\x00" {
                return Err(format!("{path}: a write was answered by {said:?}"));
            }
            // A worker that begins tells of every watch once, in place of events that were lost.
            if !watcher.await_event(&[&path, base])? {
                break;
            }
            writer.ask(Kind::Remove, 0, &format!("{path}\0"))?;
            told += 1;
        }
        let _ = watcher.ask(Kind::Unwatch, 0, &format!("{base}\0t\0"))?;
        watcher.events.clear();
    }
    Ok(format!("{base}: told of {told} changes, the watch was set {anew} times"))
}
