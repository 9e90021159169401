//! What hostile domains send to xenstored: requests of every kind, with paths, numbers and bodies that are nearly right.
//!
//! Most inputs go through rings and sockets (`serving`). In the others the state machine is asked itself: domain 1 and a domain that acts for nobody share the store with domain 2, whose private node must stay what it is, and
//! the accounts must agree with the tree all the while.

use fastrand::Rng;
use xenstore_wire::{Assembler, ErrorName, Kind, Message};
use xenstored::engine::{DomainState, Engine, FIRST_SOCKET, Host, Limits};

use crate::{mutation, serving};

/// Requests in one input.
const REQUESTS: u64 = 400;
const SECRET: &str = "/local/domain/2/secret\0untouched";

/// A machine whose domains come and go by dice.
struct Machine {
    gone: bool,
}

impl Host for Machine {
    fn connect(&mut self, _: u16, _: u64, _: u32) -> Result<(), ErrorName> {
        Ok(())
    }

    fn disconnect(&mut self, _: u16) {}

    fn state(&mut self, domain: u16) -> DomainState {
        match domain {
            3 if self.gone => DomainState::Gone,
            0..=3 => DomainState::Running,
            _ => DomainState::Gone,
        }
    }

    fn log(&mut self, _: &str) {}

    fn set_logging(&mut self, _: bool) {}

    fn log_to(&mut self, _: &str) -> Result<(), ErrorName> {
        Ok(())
    }

    fn report(&mut self, _: Option<&str>, _: &str) -> Result<(), ErrorName> {
        Ok(())
    }

    fn live_update(&mut self, _: &[&str]) -> Result<String, ErrorName> {
        Ok("OK".into())
    }
}

fn path(dice: &mut Rng, base: &str) -> String {
    const PARTS: [&str; 9] = ["a", "b", "device", "vif", "0", "-_@", "x*", "", "secret"];
    let bases = ["", "/", "/local/domain/1", "/local/domain/2", "/local/domain/3", "/shared", "@releaseDomain"];
    let mut path = if base.is_empty() { bases[dice.usize(..bases.len())] } else { base }.to_owned();
    for _ in 0..dice.usize(..4) {
        path.push('/');
        path.push_str(PARTS[dice.usize(..PARTS.len())]);
    }
    if dice.u8(..50) == 0 {
        path.push_str(&"/long".repeat(dice.usize(..900)));
    }
    let is_relative = base.is_empty() && dice.bool();
    path.trim_start_matches(if is_relative { '/' } else { '\0' }).to_owned()
}

fn body(dice: &mut Rng, base: &str) -> Vec<u8> {
    let mut body = path(dice, base).into_bytes();
    body.push(0);
    match dice.u8(..8) {
        0 => body.extend_from_slice(b"T\0"),
        1 => body.extend((0..dice.usize(..3000)).map(|_| b'v')),
        2 => (0..dice.usize(..7))
            .for_each(|_| body.extend(format!("{}{}\0", b"nrwbx"[dice.usize(..5)] as char, dice.u8(..5)).bytes())),
        3 => body.extend(format!("token{}\0", dice.u8(..4)).bytes()),
        4 => body.extend(format!("{}\0", mutation::number(dice)).bytes()),
        5 => body = format!("{}\0{}\0{}\0", dice.u8(..5), mutation::number(dice), dice.u8(..9)).into_bytes(),
        6 => body = b"T\0".to_vec(),
        _ => (),
    }
    if dice.u8(..6) == 0 {
        mutation::damage(dice, &mut body);
    }
    body.truncate(xenstore_wire::PAYLOAD_MAX);
    body
}

/// Returns a request that is nearly right, on paths below `base`, or on any if that is empty.
pub fn message(dice: &mut Rng, request: u32, base: &str) -> Message {
    let kind = if dice.u8(..40) == 0 { dice.u32(..) } else { Kind::ALL[dice.usize(..Kind::ALL.len())].number() };
    Message { kind, request, transaction: dice.u32(..4), body: body(dice, base) }
}

fn tell(engine: &mut Engine, machine: &mut Machine, kind: Kind, body: &str) {
    let message = Message::new(kind, 0, 0, body.as_bytes().to_vec());
    engine.handle(machine, FIRST_SOCKET, &message);
}

/// Makes the store, with three domains and what the second keeps to itself.
fn furnished(machine: &mut Machine) -> Engine {
    let mut engine = Engine::new(Limits::default(), 0, false);
    engine.furnish();
    engine.connect_socket(FIRST_SOCKET);
    for domain in 1..=3 {
        tell(&mut engine, machine, Kind::Introduce, &format!("{domain}\x001\x001\0"));
        tell(&mut engine, machine, Kind::MakeDirectory, &format!("/local/domain/{domain}\0"));
        tell(&mut engine, machine, Kind::SetPermissions, &format!("/local/domain/{domain}\0n{domain}\0"));
    }
    tell(&mut engine, machine, Kind::Write, SECRET);
    tell(&mut engine, machine, Kind::Write, "/shared\0v");
    tell(&mut engine, machine, Kind::SetPermissions, "/shared\0b0\0");
    engine
}

/// Runs one input and returns how many requests were made.
pub fn run(dice: &mut Rng) -> u64 {
    if dice.u8(..8) == 0 { ask_engine(dice) } else { serving::run(dice) }
}

fn ask_engine(dice: &mut Rng) -> u64 {
    let mut machine = Machine { gone: false };
    let mut engine = furnished(&mut machine);
    for _ in 0..REQUESTS {
        let domain = if dice.bool() { 1 } else { 3 };
        let number = dice.u32(..);
        let message = message(dice, number, "");
        // As it arrives: by the stream, which holds the limit of a message.
        let mut assembler = Assembler::new();
        if assembler.push(&message.to_bytes()).is_err() {
            continue;
        }
        let Some(message) = assembler.take() else { continue };
        let answer = engine.handle(&mut machine, domain, &message);
        assert_eq!((answer.request, answer.transaction), (message.request, message.transaction));
        assert!(answer.body.len() <= xenstore_wire::PAYLOAD_MAX);
        if dice.u8(..30) == 0 {
            while let Some(event) = engine.take_event(domain) {
                assert!(event.body.len() <= xenstore_wire::PAYLOAD_MAX);
            }
        }
        if dice.u8(..100) == 0 {
            machine.gone = !machine.gone;
            engine.domains_changed(&mut machine);
            tell(&mut engine, &mut machine, Kind::Introduce, "3\x001\x001\0");
        }
    }
    assert_eq!(engine.disagreements(), Vec::<String>::new());
    let secret = Message::new(Kind::Read, 0, 0, b"/local/domain/2/secret\0".to_vec());
    assert_eq!(engine.handle(&mut machine, FIRST_SOCKET, &secret).body, b"untouched");
    REQUESTS
}
