//! Random requests, sent to both daemons in the same order.

use std::io;

use xenstore_wire::Kind;

use crate::client::Client;
use crate::reasons::{self, Reasons};

/// A pseudo-random generator, determined by its seed.
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(usize::try_from(self.below(all.len() as u64)).unwrap_or(0))
    }
}

/// A request in a transaction: type, body.
type Request = (Kind, Vec<u8>);

/// A transaction of one connection that is open at both daemons.
struct Open {
    numbers: [u32; 2],
    /// Its requests, with the responses of both daemons.
    log: Vec<(Request, [String; 2])>,
}

/// Two connections to each daemon.
pub struct Pair<'a> {
    /// Indexed by connection, then by daemon.
    clients: [[Client; 2]; 2],
    open: [Option<Open>; 2],
    reasons: &'a mut Reasons,
    pub made: u64,
    /// The last request, for the report of a difference.
    last: String,
}

/// The subtree that all requests use, so that they disturb nothing else.
const BASE: &str = "/compare";

impl<'a> Pair<'a> {
    pub fn new(first: [Client; 2], second: [Client; 2], reasons: &'a mut Reasons) -> Self {
        let [[a, b], [c, d]] = [first, second];
        Self { clients: [[a, c], [b, d]], open: [None, None], reasons, made: 0, last: String::new() }
    }

    /// Sends a request to both daemons and returns both responses.
    fn both(&mut self, who: usize, kind: u32, numbers: [u32; 2], body: &[u8]) -> Result<[String; 2], String> {
        self.made = self.made.saturating_add(1);
        self.last = format!("{:?} {} of {who}", Kind::from_number(kind), body.escape_ascii());
        let Some([one, other]) = self.clients.get_mut(who) else { return Err("no such connection".into()) };
        let failed = |error: io::Error| format!("{kind} {}: {error}", body.escape_ascii());
        Ok([one.ask(kind, numbers[0], body).map_err(failed)?, other.ask(kind, numbers[1], body).map_err(failed)?])
    }

    /// Compares two responses.
    fn judge(&mut self, kind: u32, body: &[u8], answers: &[String; 2]) -> Result<(), String> {
        let [one, other] = answers;
        if self.reasons.allow(Kind::from_number(kind), body, one, other) {
            return Ok(());
        }
        let asked = format!("{:?} {}", Kind::from_number(kind), body.escape_ascii());
        Err(format!("{asked}: {one:?} and {other:?}; last was {}", self.last))
    }

    /// Makes one step: a random request on one connection.
    ///
    /// **Errors:** a difference without a documented reason; a daemon is gone.
    pub fn step(&mut self, dice: &mut Dice) -> Result<(), String> {
        let who = usize::try_from(dice.below(2)).unwrap_or(0);
        let begins = dice.below(12) == 0;
        let ends = dice.below(8) == 0;
        match self.open.get_mut(who).and_then(Option::take) {
            None if begins => self.begin(who),
            Some(open) if ends => self.end(who, &open, dice.below(5) != 0),
            Some(mut open) => {
                let request = inside(dice);
                let answers = self.both(who, request.0.number(), open.numbers, &request.1)?;
                open.log.push((request, answers));
                if let Some(place) = self.open.get_mut(who) {
                    *place = Some(open);
                }
                Ok(())
            }
            None => self.outside(who, dice),
        }
    }

    fn begin(&mut self, who: usize) -> Result<(), String> {
        let answers = self.both(who, Kind::TransactionStart.number(), [0, 0], b"\0")?;
        let number = |answer: &String| answer.strip_suffix("\\x00").and_then(|number| number.parse().ok());
        let [Some(one), Some(other)] = answers.each_ref().map(number) else {
            return Err(format!("no transaction was opened: {answers:?}"));
        };
        if let Some(place) = self.open.get_mut(who) {
            *place = Some(Open { numbers: [one, other], log: Vec::new() });
        }
        Ok(())
    }

    /// Ends a transaction at both daemons. Reads of a transaction that was not committed are not compared.
    fn end(&mut self, who: usize, open: &Open, commits: bool) -> Result<(), String> {
        let body: &[u8] = if commits { b"T\0" } else { b"F\0" };
        let answers = self.both(who, Kind::TransactionEnd.number(), open.numbers, body)?;
        match (&*answers[0], &*answers[1]) {
            // One that is given up may have seen what would not have been committed.
            ("OK\\x00", "OK\\x00") if !commits => {}
            ("OK\\x00", "OK\\x00") => {
                for ((kind, body), answers) in &open.log {
                    self.judge(kind.number(), body, answers)?;
                }
            }
            ("error EAGAIN\\x00", "error EAGAIN\\x00") => {}
            ("error EAGAIN\\x00", "OK\\x00") => {
                self.reasons.count(reasons::DIRECTORY);
                self.again(who, open)?;
            }
            (one, other) => return Err(format!("the end of a transaction: {one:?} and {other:?}")),
        }
        self.last = format!("the end of {:?}", open.log);
        self.compare_events()
    }

    /// Repeats a transaction at the first daemon, which refused to commit it, and compares what it reads now.
    fn again(&mut self, who: usize, open: &Open) -> Result<(), String> {
        let Some([first, _]) = self.clients.get_mut(who) else { return Err("no such connection".into()) };
        let failed = |error: io::Error| format!("a transaction that is done again: {error}");
        let number = first.ask(Kind::TransactionStart.number(), 0, b"\0").map_err(failed)?;
        let number = number.strip_suffix("\\x00").and_then(|number| number.parse().ok()).ok_or("no transaction")?;
        let mut answers = Vec::new();
        for ((kind, body), [_, other]) in &open.log {
            let one = first.ask(kind.number(), number, body).map_err(failed)?;
            answers.push((*kind, body.clone(), [one, other.clone()]));
        }
        let said = first.ask(Kind::TransactionEnd.number(), number, b"T\0").map_err(failed)?;
        if said != "OK\\x00" {
            return Err(format!("a transaction that is done again alone: {said}"));
        }
        answers.iter().try_for_each(|(kind, body, answers)| self.judge(kind.number(), body, answers))
    }

    fn outside(&mut self, who: usize, dice: &mut Dice) -> Result<(), String> {
        let (kind, body) = request(dice);
        let answers = self.both(who, kind, [0, 0], &body)?;
        self.judge(kind, &body, &answers)?;
        self.compare_events()
    }

    fn compare_events(&mut self) -> Result<(), String> {
        for [one, other] in &mut self.clients {
            let failed = |error: io::Error| format!("events: {error}");
            let (one, other) = (one.events().map_err(failed)?, other.events().map_err(failed)?);
            if one != other {
                return Err(format!("events after {}: {one:?} and {other:?}", self.last));
            }
        }
        Ok(())
    }

    /// Aborts open transactions, compares both stores below [`BASE`], and empties them.
    ///
    /// **Errors:** a difference; a daemon is gone.
    pub fn finish(&mut self) -> Result<(), String> {
        for who in 0..2 {
            if let Some(open) = self.open.get_mut(who).and_then(Option::take) {
                self.both(who, Kind::TransactionEnd.number(), open.numbers, b"F\0")?;
            }
        }
        let mut left = vec![BASE.to_owned()];
        while let Some(path) = left.pop() {
            let body = format!("{path}\0");
            for kind in [Kind::Read, Kind::GetPermissions, Kind::Directory] {
                let answers = self.both(0, kind.number(), [0, 0], body.as_bytes())?;
                self.judge(kind.number(), body.as_bytes(), &answers)?;
                if kind == Kind::Directory && !answers[0].starts_with("error") {
                    let names = answers[0].split("\\x00").filter(|name| !name.is_empty());
                    left.extend(names.map(|name| format!("{path}/{name}")));
                }
            }
        }
        for who in 0..2 {
            self.both(who, Kind::ResetWatches.number(), [0, 0], b"\0")?;
        }
        let answers = self.both(0, Kind::Remove.number(), [0, 0], format!("{BASE}\0").as_bytes())?;
        self.judge(Kind::Remove.number(), b"", &answers)
    }
}

fn path(dice: &mut Dice) -> String {
    let mut path = BASE.to_owned();
    for _ in 0..dice.below(4) {
        path.push('/');
        path.push_str(dice.one_of(&["a", "b", "c"]).copied().unwrap_or_default());
    }
    path
}

/// Returns a request that is also valid in a transaction.
fn inside(dice: &mut Dice) -> Request {
    let path = path(dice);
    match dice.below(10) {
        0..3 => (Kind::Write, format!("{path}\0{}", dice.below(100)).into_bytes()),
        3 => (Kind::MakeDirectory, format!("{path}\0").into_bytes()),
        4 => (Kind::Remove, format!("{path}\0").into_bytes()),
        5 => (Kind::Directory, format!("{path}\0").into_bytes()),
        6 => (Kind::GetPermissions, format!("{path}\0").into_bytes()),
        7 => (Kind::SetPermissions, format!("{path}\0n0\0r{}\0", dice.below(3)).into_bytes()),
        _ => (Kind::Read, format!("{path}\0").into_bytes()),
    }
}

/// Returns any request, mostly valid ones.
fn request(dice: &mut Dice) -> (u32, Vec<u8>) {
    let path = path(dice);
    let token = dice.below(3);
    let (kind, body) = match dice.below(24) {
        0 | 1 => (Kind::Watch, format!("{path}\0t{token}\0")),
        2 => (Kind::Unwatch, format!("{path}\0t{token}\0")),
        3 => (Kind::DirectoryPart, format!("{path}\0{}\0", dice.below(9))),
        4 => (Kind::GetDomainPath, format!("{}\0", dice.below(70_000))),
        5 => (Kind::IsDomainIntroduced, format!("{}\0", 20_000 + dice.below(100))),
        6 => (Kind::Read, format!("{path}{}\0", dice.one_of(&["/", "//x", "*", " "]).copied().unwrap_or_default())),
        7 => (Kind::Write, path),
        8 => (Kind::TransactionEnd, "T\0".to_owned()),
        9 => (
            Kind::SetPermissions,
            format!("{path}\0{}\0", dice.one_of(&["x1", "n", "r", "n0"]).copied().unwrap_or_default()),
        ),
        10 => (Kind::Release, format!("{}\0", 20_000 + dice.below(100))),
        11 => (
            Kind::Control,
            dice.one_of(&["help\0", "check\0", "nonsense\0", "quota-soft\0"]).copied().unwrap_or_default().to_owned(),
        ),
        12 => return (u32::try_from(20 + dice.below(9)).unwrap_or(20), path.into_bytes()),
        _ => {
            let (kind, body) = inside(dice);
            return (kind.number(), body);
        }
    };
    (kind.number(), body.into_bytes())
}
