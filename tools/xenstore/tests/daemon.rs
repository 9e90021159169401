//! The client against the daemon's state machine, over real sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use xenstore::{Access, Error, ErrorName, Permission, Store, StorePath};
use xenstore_wire::Assembler;
use xenstored::engine::{DomainState, Engine, FIRST_SOCKET, Host, Limits};

struct Nothing;

impl Host for Nothing {
    fn connect(&mut self, _: u16, _: u64, _: u32) -> Result<(), ErrorName> {
        Ok(())
    }
    fn disconnect(&mut self, _: u16) {}
    fn state(&mut self, domain: u16) -> DomainState {
        if domain < 10 { DomainState::Running } else { DomainState::Gone }
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

/// Serves one socket with a daemon that other sockets may share.
fn serve(engine: Arc<Mutex<Engine>>, connection: u32, mut socket: UnixStream) {
    engine.lock().unwrap().connect_socket(connection);
    thread::spawn(move || {
        let mut assembler = Assembler::new();
        let mut byte = [0];
        while socket.read(&mut byte).is_ok_and(|count| count == 1) {
            assembler.push(&byte).unwrap();
            let Some(message) = assembler.take() else { continue };
            let mut engine = engine.lock().unwrap();
            let answer = engine.handle(&mut Nothing, connection, &message);
            // Events first: a client must keep them.
            while let Some(event) = engine.take_event(connection) {
                socket.write_all(&event.to_bytes()).unwrap();
            }
            socket.write_all(&answer.to_bytes()).unwrap();
        }
    });
}

fn stores<const N: usize>() -> [Store; N] {
    let engine = Arc::new(Mutex::new(Engine::new(Limits::default(), 0, false)));
    std::array::from_fn(|number| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        serve(engine.clone(), FIRST_SOCKET + u32::try_from(number).unwrap(), theirs);
        Store::on_socket(ours)
    })
}

fn path(text: &str) -> StorePath {
    text.parse().unwrap()
}

#[test]
fn nodes_are_written_read_listed_and_removed() {
    let [mut store] = stores();
    store.write(&path("/a/b"), b"value").unwrap();
    store.make(&path("/a/c")).unwrap();
    assert_eq!(store.read_text(&path("/a/b")).unwrap(), "value");
    assert_eq!(store.list(&path("/a")).unwrap(), ["b", "c"]);
    let entries = [Permission { access: Access::None, domain: 3 }, Permission { access: Access::Read, domain: 0 }];
    store.set_permissions(&path("/a"), &entries).unwrap();
    assert_eq!(store.permissions(&path("/a")).unwrap(), entries);
    store.remove(&path("/a")).unwrap();
    store.remove(&path("/a/b")).unwrap();
    let error = store.read(&path("/a/b")).unwrap_err();
    assert_eq!(error.name(), Some(ErrorName::Missing));
    assert!(error.to_string().contains("/a/b") && error.to_string().contains("ENOENT"), "{error}");
}

#[test]
fn directories_of_any_length_are_listed() {
    let [mut store] = stores();
    let names: Vec<String> = (0..1500).map(|number| format!("child-number-{number}")).collect();
    names.iter().for_each(|name| store.make(&path("/many").child(name).unwrap()).unwrap());
    assert_eq!(store.list(&path("/many")).unwrap(), names);
    store.make(&path("/none")).unwrap();
    assert_eq!(store.list(&path("/none")).unwrap(), Vec::<String>::new());
}

#[test]
fn a_transaction_is_tried_again_where_another_gets_in_the_way() {
    let [mut one, mut other] = stores();
    one.write(&path("/n"), b"1").unwrap();
    let mut tries = 0;
    one.transaction(|transaction| {
        tries += 1;
        let value: u32 = transaction.read_text(&path("/n"))?.parse().unwrap();
        if tries < 3 {
            other.write(&path("/n"), (value * 10).to_string().as_bytes())?;
        }
        transaction.write(&path("/n"), (value + 1).to_string().as_bytes())
    })
    .unwrap();
    assert_eq!((tries, one.read_text(&path("/n")).unwrap()), (3, "101".to_owned()));
}

#[test]
fn a_transaction_that_fails_changes_nothing() {
    let [mut store] = stores();
    let outcome = store.transaction(|transaction| {
        transaction.write(&path("/x"), b"1")?;
        transaction.read(&path("/missing"))
    });
    assert!(matches!(outcome, Err(Error::Refused { error: ErrorName::Missing, .. })));
    assert_eq!(store.read(&path("/x")).unwrap_err().name(), Some(ErrorName::Missing));
}

#[test]
fn many_nodes_are_written_at_once_and_the_first_that_is_refused_is_told() {
    let [mut store] = stores();
    let rights = [Permission { access: Access::Read, domain: 5 }];
    let paths: Vec<StorePath> = (0..100).map(|number| path(&format!("/many/{number}"))).collect();
    let nodes: Vec<_> = paths.iter().map(|path| (path.clone(), &b"value"[..], Some(&rights[..]))).collect();
    store.watch("/many", "token").unwrap();
    store.transaction(|transaction| transaction.write_all(&nodes)).unwrap();
    assert_eq!(store.list(&path("/many")).unwrap().len(), 100);
    assert_eq!(
        (store.read(&paths[99]).unwrap(), store.permissions(&paths[99]).unwrap()),
        (b"value".to_vec(), rights.to_vec())
    );

    let too_long = vec![0; 4096];
    let refused = [nodes[0].clone(), (paths[1].clone(), &too_long[..], None), nodes[2].clone()];
    let error = store.transaction(|transaction| transaction.write_all(&refused)).unwrap_err();
    assert_eq!(error.name(), Some(ErrorName::TooBig));
    // Nobody would own it: the daemon refuses that, and answers the others too.
    let other = [(path("/many/0"), &b"x"[..], Some(&[][..])), (path("/many/1"), &b"new"[..], None)];
    assert!(
        store.transaction(|transaction| transaction.write_all(&other)).unwrap_err().to_string().contains("/many/0")
    );
    assert_eq!(store.read(&paths[1]).unwrap(), b"value", "all or none");
}

#[test]
fn whether_a_node_has_children_is_told_however_many_there_are() {
    let [mut store] = stores();
    let long = "x".repeat(200);
    for number in 0..40 {
        store.write(&path(&format!("/full/{long}-{number}")), b"").unwrap();
    }
    store.write(&path("/empty"), b"").unwrap();
    let found = store.transaction(|transaction| {
        Ok([transaction.has_children(&path("/full"))?, transaction.has_children(&path("/empty"))?])
    });
    assert_eq!(found.unwrap(), [true, false]);
    let missing = store.transaction(|transaction| transaction.has_children(&path("/missing"))).unwrap_err();
    assert_eq!(missing.name(), Some(ErrorName::Missing));
}

#[test]
fn events_are_kept_while_answers_are_waited_for() {
    let [mut store] = stores();
    store.watch("/w", "token").unwrap();
    store.write(&path("/w/x"), b"1").unwrap();
    let mut events = vec![];
    while let Some(event) = store.next_event(Some(Duration::from_millis(1))).unwrap() {
        assert_eq!(event.token, "token");
        events.push(event.path);
    }
    assert_eq!(events, ["/w", "/w/x"]);
    store.unwatch("/w", "token").unwrap();
    assert_eq!(store.unwatch("/w", "token").unwrap_err().name(), Some(ErrorName::Missing));
}

#[test]
fn what_is_too_long_for_a_message_is_refused_before_it_is_sent() {
    let [mut store] = stores();
    let error = store.write(&path("/x"), &[0; 4095]).unwrap_err();
    assert_eq!(error.name(), Some(ErrorName::TooBig));
    store.write(&path("/x"), &[0; 4093]).unwrap();
}

#[test]
fn domains_are_introduced_and_released() {
    let [mut store] = stores();
    store.introduce(5, u64::MAX, 1).unwrap();
    assert!(store.is_introduced(5).unwrap());
    store.release(5).unwrap();
    assert!(!store.is_introduced(5).unwrap());
    assert_eq!(store.introduce(50, 1, 1).unwrap_err().name(), Some(ErrorName::Missing));
    assert!(store.control(&["quota"]).unwrap().starts_with("Quota settings:"));
}
