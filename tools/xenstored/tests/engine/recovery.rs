//! Recovery: another instance continues from the changes of the first.

use crate::world::{Domains, SOCKET, World};
use proptest::prelude::*;
use xenstore_wire::Kind::{self, *};
use xenstored::engine::{Engine, Limits};
use xenstored::store::Change;

/// Returns everything that a client can read.
fn seen(engine: &Engine) -> Vec<String> {
    let mut all = vec![];
    engine.tree().walk(|path, node| {
        let entries: Vec<String> = node.permissions.iter().map(ToString::to_string).collect();
        all.push(format!("{path} = {:?} {entries:?}", node.value));
    });
    all
}

fn again(changes: &[Change]) -> Engine {
    let mut engine = Engine::new(Limits::default(), 1 << 40, false);
    changes.iter().cloned().for_each(|change| engine.replay(change));
    engine
}

fn kind(number: u8) -> Kind {
    [Write, Write, MakeDirectory, Remove, SetPermissions, Watch, Unwatch, TransactionStart, TransactionEnd, Read]
        [usize::from(number) % 10]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_changes_make_the_same_store_and_so_does_a_snapshot(
        steps in prop::collection::vec((0..5_u8, any::<u8>(), 0..3_u8, 0..3_u8, 0..3_u32), 1..200),
    ) {
        let mut world = World::new();
        for (who, what, first, second, transaction) in steps {
            let (who, kind) = (if who >= 3 { SOCKET + u32::from(who) - 3 } else { u32::from(who) + 1 }, kind(what));
            let path = format!("/local/domain/{}/{first}/{second}\0", 1 + what % 3);
            let body = match kind {
                Write => format!("{path}{what}"),
                SetPermissions => format!("{path}n{}\0b{}\0", 1 + what % 3, 1 + first),
                Watch | Unwatch => format!("{path}t{}\0", second),
                TransactionStart => "\0".to_owned(),
                TransactionEnd => (if second == 0 { "F\0" } else { "T\0" }).to_owned(),
                _ => path,
            };
            let transaction = if matches!(kind, TransactionStart | Watch | Unwatch) { 0 } else { transaction };
            world.inside(who, transaction, kind, &body);
            if what == 77 {
                world.end(3);
                world.begin(3);
            }
            prop_assert_eq!(world.engine.disagreements(), Vec::<String>::new());
        }
        let changes = world.engine.take_changes();
        let one = again(&changes);
        prop_assert_eq!(seen(&one), seen(&world.engine));
        let two = again(&one.snapshot());
        prop_assert_eq!(two.snapshot(), one.snapshot());
        prop_assert_eq!(one.disagreements(), Vec::<String>::new());
        prop_assert_eq!(one.snapshot(), world.engine.snapshot());
    }
}

#[test]
fn after_a_restart_watches_fire_and_open_transactions_conflict() {
    let mut world = World::new();
    world.says(SOCKET, Watch, "/w\0t\0", "OK\0");
    world.says(1, Watch, "dev\0d\0", "OK\0");
    let number: u32 = world.asks(SOCKET, TransactionStart, "\0").trim_end_matches('\0').parse().unwrap();
    world.inside(SOCKET, number, Write, "/lost\0v");
    let mut engine = again(&world.engine.take_changes());
    engine.resume_after(&[SOCKET]);
    let mut next = World { engine, host: Domains::default() };
    assert_eq!(next.events(SOCKET), ["/w t"]);
    assert_eq!(next.events(1), ["dev d"]);
    // The client goes on as if nothing had happened, until the end tells it to do it again.
    assert_eq!(next.inside(SOCKET, number, Write, "/more\0v"), "OK\0");
    assert_eq!(next.inside(SOCKET, number, TransactionEnd, "T\0"), "EAGAIN\0");
    next.says(SOCKET, Read, "/more\0", "ENOENT\0");
    // A socket that did not live on is gone with what it had.
    assert_eq!(next.asks(SOCKET + 1, Read, "/\0"), "EIO\0");
}

#[test]
fn permissions_of_a_domain_that_ended_do_not_come_back_for_the_next_of_its_number() {
    let path = "/local/domain/2/shared\0";
    let mut changes = vec![];
    let mut replayed_alike = |world: &mut World| {
        changes.extend(world.engine.take_changes());
        assert_eq!(again(&changes).snapshot(), world.engine.snapshot());
    };
    let mut world = World::new();
    world.says(2, Write, format!("{path}1"), "OK\0");
    world.says(2, SetPermissions, format!("{path}n2\0b3\0"), "OK\0");
    world.end(3);
    world.begin(3);
    world.says(3, Read, path, "EACCES\0");
    // The value alone is written: who may read it stays as it was.
    world.says(2, Write, format!("{path}2"), "OK\0");
    replayed_alike(&mut world);
    // The same permissions are set again, for the new domain.
    world.says(2, SetPermissions, format!("{path}n2\0b3\0"), "OK\0");
    world.says(3, Read, path, "2");
    replayed_alike(&mut world);
}
