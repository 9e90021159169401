//! Concurrent transactions.

use crate::world::{SOCKET, World};
use proptest::prelude::*;
use xenstore_wire::Kind::*;

const OTHER: u32 = SOCKET + 1;

/// An open transaction: its ID, and its requests with their responses.
type Open = (u32, Vec<(xenstore_wire::Kind, String, String)>);

fn start(world: &mut World, who: u32) -> u32 {
    world.asks(who, TransactionStart, "\0").trim_end_matches('\0').parse().unwrap()
}

#[test]
fn what_a_transaction_writes_is_seen_by_itself_alone_until_it_ends() {
    let mut world = World::new();
    let number = start(&mut world, SOCKET);
    assert_eq!(world.inside(SOCKET, number, Write, "/t/x\x001"), "OK\0");
    assert_eq!(world.inside(SOCKET, number, Read, "/t/x\0"), "1");
    world.says(OTHER, Read, "/t/x\0", "ENOENT\0");
    // A number is its own connection's.
    assert_eq!(world.inside(OTHER, number, Read, "/t/x\0"), "ENOENT\0");
    assert_eq!(world.inside(SOCKET, number, TransactionEnd, "T\0"), "OK\0");
    world.says(OTHER, Read, "/t/x\0", "1");
    assert_eq!(world.inside(SOCKET, number, Read, "/t/x\0"), "ENOENT\0");
}

#[test]
fn a_transaction_that_is_given_up_leaves_nothing() {
    let mut world = World::new();
    let number = start(&mut world, SOCKET);
    world.inside(SOCKET, number, Write, "/t/x\x001");
    assert_eq!(world.inside(SOCKET, number, TransactionEnd, "F\0"), "OK\0");
    world.says(SOCKET, Read, "/t\0", "ENOENT\0");
    assert_eq!(world.engine.disagreements(), Vec::<String>::new());
}

#[test]
fn two_that_change_the_same_node_conflict() {
    let mut world = World::new();
    world.says(SOCKET, Write, "/m/a\x000", "OK\0");
    let (one, two) = (start(&mut world, SOCKET), start(&mut world, OTHER));
    world.inside(SOCKET, one, Write, "/m/a\x001");
    world.inside(OTHER, two, Write, "/m/a\x002");
    assert_eq!(world.inside(SOCKET, one, TransactionEnd, "T\0"), "OK\0");
    assert_eq!(world.inside(OTHER, two, TransactionEnd, "T\0"), "EAGAIN\0");
    world.says(SOCKET, Read, "/m/a\0", "1");
}

#[test]
fn two_that_make_different_children_of_one_node_do_not_conflict() {
    let mut world = World::new();
    let (one, two) = (start(&mut world, SOCKET), start(&mut world, OTHER));
    world.inside(SOCKET, one, Write, "/local/domain/8/a\x001");
    world.inside(OTHER, two, Write, "/local/domain/9/a\x002");
    assert_eq!(world.inside(SOCKET, one, TransactionEnd, "T\0"), "OK\0");
    assert_eq!(world.inside(OTHER, two, TransactionEnd, "T\0"), "OK\0");
    world.says(SOCKET, Read, "/local/domain/8/a\0", "1");
    world.says(SOCKET, Read, "/local/domain/9/a\0", "2");
}

#[test]
fn events_come_with_the_commit_once_for_each_node_that_changed() {
    let mut world = World::new();
    world.says(SOCKET, Write, "/m/b\x000", "OK\0");
    world.says(OTHER, Watch, "/m\0w\0", "OK\0");
    world.events(OTHER);
    let number = start(&mut world, SOCKET);
    for (kind, body) in [
        (Write, "/m/a\0x"),
        (Write, "/m/b\0x"),
        (Write, "/m/a\0y"),
        (MakeDirectory, "/m/zzz\0"),
        (Remove, "/m/zzz\0"),
        (Remove, "/m/b\0"),
        (MakeDirectory, "/m/b\0"),
        (SetPermissions, "/m/b\0n1\0"),
    ] {
        assert_eq!(world.inside(SOCKET, number, kind, body), "OK\0");
    }
    assert_eq!(world.events(OTHER), Vec::<String>::new());
    assert_eq!(world.inside(SOCKET, number, TransactionEnd, "T\0"), "OK\0");
    assert_eq!(world.events(OTHER), ["/m/a w", "/m/b w"]);
}

#[test]
fn a_transaction_may_not_begin_in_another() {
    let mut world = World::new();
    let number = start(&mut world, SOCKET);
    assert_eq!(world.inside(SOCKET, number, TransactionStart, "\0"), "EBUSY\0");
    assert_eq!(world.inside(SOCKET, 77, TransactionStart, "\0"), "ENOENT\0");
}

proptest! {
    /// Committed transactions are serializable in the order of their commits.
    #[test]
    fn committed_transactions_are_as_if_one_ran_after_the_other(
        steps in prop::collection::vec((0..3_usize, 0..5_u8, 0..3_u8, 0..3_u8), 1..150),
    ) {
        let mut world = World::new();
        world.engine.connect_socket(SOCKET + 2);
        let mut open: [Option<Open>; 3] = Default::default();
        let mut committed = vec![];
        for (who, what, first, second) in steps {
            let socket = SOCKET + u32::try_from(who).unwrap();
            if open[who].is_none() {
                open[who] = Some((start(&mut world, socket), vec![]));
            }
            let (number, log) = open[who].as_mut().unwrap();
            let path = format!("/s/{first}/{second}\0");
            let (kind, body) = match what {
                0 => (Read, path),
                1 => (Write, format!("{path}{}", log.len())),
                2 => (Remove, path),
                3 => (Directory, format!("/s/{first}\0")),
                _ => {
                    let (number, log) = open[who].take().unwrap();
                    if world.inside(socket, number, TransactionEnd, "T\0") == "OK\0" {
                        committed.extend(log);
                    }
                    continue;
                }
            };
            let answer = world.inside(socket, *number, kind, &body);
            log.push((kind, body, answer));
        }
        let mut serial = World::new();
        for (kind, body, answer) in committed {
            let again = serial.asks(SOCKET, kind, &body);
            // The order in which children are listed is that of their making, not part of the promise.
            let sorted = |text: &str| { let mut names: Vec<_> = text.split('\0').map(str::to_owned).collect(); names.sort(); names };
            if kind == Directory { prop_assert_eq!(sorted(&again), sorted(&answer)); } else { prop_assert_eq!(again, answer); }
        }
        prop_assert_eq!(world.engine.disagreements(), Vec::<String>::new());
    }
}
