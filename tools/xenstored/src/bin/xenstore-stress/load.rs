//! Writes, reads, removals and transactions, and what must come of them.

use std::collections::BTreeMap;
use std::path::Path;

use xenstore_wire::Kind;

use super::client::{Client, Said};

/// What a node may hold: one value or none; two of them while nobody knows whether a request was done.
type Known = Vec<Option<String>>;

/// Nodes of one client.
const NODES: u64 = 8;

/// Asks until `end` exists. Returns a line that says how much was asked.
///
/// **Errors:** the first answer that cannot be.
pub fn run(socket: &str, base: &str, end: &Path) -> Result<String, String> {
    let mut client = Client::connect(socket)?;
    let mut state = base.bytes().fold(99, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut roll = move |most: u64| {
        // An xorshift generator.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % most
    };
    let mut nodes = BTreeMap::<u64, Known>::new();
    let (mut answered, mut again, mut lost) = (0_u64, 0_u64, 0_u64);
    client.ask(Kind::Remove, 0, &format!("{base}\0"))?;
    // A connection that is lost here leaves the node unmade, and the first write makes it.
    client.ask(Kind::MakeDirectory, 0, &format!("{base}\0"))?;
    while !end.exists() {
        let node = roll(NODES);
        let path = format!("{base}/n{node}\0");
        let known = nodes.entry(node).or_insert_with(|| vec![None]);
        let value = format!("v{answered}");
        match roll(4) {
            0 => match client.ask(Kind::Write, 0, &format!("{path}{value}"))? {
                Said::Answer(said) => done(&said, &path, known, Some(value))?,
                Said::Nothing => known.push(Some(value)),
            },
            1 => match client.ask(Kind::Read, 0, &path)? {
                Said::Answer(said) => read(said, &path, known)?,
                Said::Nothing => lost += 1,
            },
            2 => match client.ask(Kind::Remove, 0, &path)? {
                Said::Answer(said) => done(&said, &path, known, None)?,
                Said::Nothing => known.push(None),
            },
            _ => match transaction(&mut client, &path, &value)? {
                Outcome::Done => *known = vec![Some(value)],
                Outcome::Again => again += 1,
                Outcome::Unknown => known.push(Some(value)),
            },
        }
        answered += 1;
    }
    for (node, known) in &mut nodes {
        let path = format!("{base}/n{node}\0");
        if let Said::Answer(said) = client.ask(Kind::Read, 0, &path)? {
            read(said, &path, known)?;
        }
    }
    Ok(format!("{base}: {answered} requests, {again} transactions to be done again, {lost} reads without an answer"))
}

fn done(said: &str, path: &str, known: &mut Known, now: Option<String>) -> Result<(), String> {
    if said != "OK\\x00" {
        return Err(format!("{path:?}: a change was answered by {said:?}"));
    }
    *known = vec![now];
    Ok(())
}

/// Checks what was read, which tells what the node holds.
fn read(said: String, path: &str, known: &mut Known) -> Result<(), String> {
    let held = (said != "ENOENT\\x00").then_some(said);
    if !known.contains(&held) {
        return Err(format!("{path:?} holds {held:?}, and {known:?} was acknowledged"));
    }
    *known = vec![held];
    Ok(())
}

enum Outcome {
    Done,
    /// Nothing of it was done.
    Again,
    Unknown,
}

fn transaction(client: &mut Client<'_>, path: &str, value: &str) -> Result<Outcome, String> {
    let Said::Answer(number) = client.ask(Kind::TransactionStart, 0, "\0")? else { return Ok(Outcome::Again) };
    let number =
        number.trim_end_matches("\\x00").parse().map_err(|_| format!("a transaction has the number {number:?}"))?;
    match client.ask(Kind::Write, number, &format!("{path}{value}"))? {
        Said::Answer(said) if said == "OK\\x00" => {}
        Said::Answer(said) => return Err(format!("{path:?}: a write in a transaction was answered by {said:?}")),
        Said::Nothing => return Ok(Outcome::Again),
    }
    let Said::Answer(seen) = client.ask(Kind::Read, number, path)? else { return Ok(Outcome::Again) };
    match client.ask(Kind::TransactionEnd, number, "T\0")? {
        // One that lost what it had written is never committed.
        Said::Answer(said) if said == "OK\\x00" && seen == value => Ok(Outcome::Done),
        Said::Answer(said) if said == "EAGAIN\\x00" => Ok(Outcome::Again),
        Said::Answer(said) => {
            Err(format!("a transaction read {seen:?} for {value:?}, and its end was answered by {said:?}"))
        }
        Said::Nothing => Ok(Outcome::Unknown),
    }
}
