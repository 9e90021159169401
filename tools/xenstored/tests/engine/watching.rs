//! Watches and their events.

use crate::world::{SOCKET, World};
use xenstore_wire::Kind::*;
use xenstored::engine::DomainState;

const OTHER: u32 = SOCKET + 1;

#[test]
fn a_new_watch_fires_at_once_and_only_once_for_its_token() {
    let mut world = World::new();
    world.says(SOCKET, Watch, "/b\0tok\0", "OK\0");
    assert_eq!(world.events(SOCKET), ["/b tok"]);
    world.says(SOCKET, Watch, "/b\0tok\0", "EEXIST\0");
    world.says(SOCKET, Unwatch, "/b\0tok\0", "OK\0");
    world.says(SOCKET, Unwatch, "/b\0tok\0", "ENOENT\0");
}

#[test]
fn an_event_that_is_queued_is_not_queued_again() {
    let mut world = World::new();
    world.says(SOCKET, Watch, "/b\0t\0", "OK\0");
    world.says(SOCKET, Watch, "/b/c\0t\0", "OK\0");
    world.events(SOCKET);
    world.says(OTHER, Write, "/b/c/d\0v", "OK\0");
    world.says(OTHER, Write, "/b/c/d\0w", "OK\0");
    assert_eq!(world.events(SOCKET), ["/b/c/d t"]);
    world.says(OTHER, Write, "/b/c/d\0x", "OK\0");
    assert_eq!(world.events(SOCKET), ["/b/c/d t"]);
}

#[test]
fn creating_setting_and_removing_a_node_fire_its_watches() {
    let mut world = World::new();
    world.says(SOCKET, Watch, "/b\0tok\0", "OK\0");
    world.events(SOCKET);
    for (kind, body, event) in
        [(Write, "/b/k/l\0v", "/b/k/l tok"), (SetPermissions, "/b\0n0\0", "/b tok"), (Remove, "/b\0", "/b tok")]
    {
        world.says(OTHER, kind, body, "OK\0");
        assert_eq!(world.events(SOCKET), [event]);
    }
    world.says(OTHER, Remove, "/b\0", "OK\0");
    world.says(SOCKET, ResetWatches, "\0", "OK\0");
    world.says(OTHER, Write, "/b/k/l\0v", "OK\0");
    assert_eq!(world.events(SOCKET), Vec::<String>::new());
}

#[test]
fn a_removal_fires_the_watches_of_descendants() {
    let mut world = World::new();
    world.says(1, Write, "a/b\0v2", "OK\0");
    for body in ["a/b\0deep\0", "a/b/c\0deeper\0", "a\0rel\0"] {
        world.says(1, Watch, body, "OK\0");
    }
    assert_eq!(world.events(1), ["a/b deep", "a/b/c deeper", "a rel"]);
    world.says(1, Remove, "a\0", "OK\0");
    assert_eq!(world.events(1), ["a/b deep", "a rel"]);
}

#[test]
fn a_domain_gets_no_event_of_a_node_that_it_may_not_read() {
    let mut world = World::new();
    world.says(1, Watch, "/local/domain/2\0t\0", "OK\0");
    world.says(1, Watch, "/\0all\0", "OK\0");
    world.events(1);
    world.says(SOCKET, Write, "/local/domain/2/p\0v2", "OK\0");
    assert_eq!(world.events(1), Vec::<String>::new());
    world.says(2, SetPermissions, "p\0n2\0r1\0", "OK\0");
    assert_eq!(world.events(1), ["/local/domain/2/p all", "/local/domain/2/p t"]);
    // Losing the right to read is the last that is told.
    world.says(2, SetPermissions, "p\0n2\0", "OK\0");
    assert_eq!(world.events(1).len(), 2);
    world.says(2, Write, "p\0secret", "OK\0");
    assert_eq!(world.events(1), Vec::<String>::new());
}

#[test]
fn introduced_and_released_domains_fire_the_special_watches() {
    let mut world = World::new();
    world.says(SOCKET, Watch, "@introduceDomain\0i\0", "OK\0");
    world.says(SOCKET, Watch, "@releaseDomain\0r\0", "OK\0");
    world.says(2, Watch, "@releaseDomain\0r\0", "OK\0");
    world.events(SOCKET);
    world.events(2);
    world.begin(4);
    assert_eq!(world.events(SOCKET), ["@introduceDomain i"]);
    world.says(SOCKET, Introduce, "4\x001\x005\0", "OK\0");
    assert_eq!(world.events(SOCKET), Vec::<String>::new());
    let look = |world: &mut World, state| {
        world.host.states.insert(4, state);
        world.engine.domains_changed(&mut world.host);
        world.events(SOCKET)
    };
    assert_eq!(look(&mut world, DomainState::ShutDown), ["@releaseDomain r"]);
    assert_eq!(look(&mut world, DomainState::ShutDown), Vec::<String>::new());
    world.says(SOCKET, Resume, "4\0", "OK\0");
    assert_eq!(look(&mut world, DomainState::ShutDown), ["@releaseDomain r"]);
    assert_eq!(world.events(2), Vec::<String>::new());
    world.says(SOCKET, SetPermissions, "@releaseDomain\0n0\0r2\0", "OK\0");
    assert_eq!(look(&mut world, DomainState::Gone), ["@releaseDomain r"]);
    assert_eq!(world.events(2), ["@releaseDomain r"]);
}

#[test]
fn a_domain_that_is_gone_takes_its_nodes_and_rights_with_it() {
    let mut world = World::new();
    world.says(SOCKET, Write, "/shared\0v", "OK\0");
    world.says(SOCKET, SetPermissions, "/shared\0n0\0b2\0r3\0", "OK\0");
    world.says(2, Write, "/shared/of2/x\0v", "OK\0");
    world.says(2, Write, "/shared\0two", "OK\0");
    world.says(SOCKET, Watch, "/shared\0w\0", "OK\0");
    world.events(SOCKET);
    world.end(2);
    assert_eq!(world.events(SOCKET), ["/shared/of2 w"]);
    world.says(SOCKET, Directory, "/local/domain\0", "1\x003\0");
    world.says(SOCKET, Directory, "/shared\0", "");
    // Another domain of the same number inherits nothing.
    world.begin(2);
    world.says(2, Read, "/shared\0", "EACCES\0");
    world.says(3, Read, "/shared\0", "two");
    world.says(SOCKET, SetPermissions, "/shared\0n0\0b2\0r3\0", "OK\0");
    world.says(2, Read, "/shared\0", "two");
    assert_eq!(world.engine.disagreements(), Vec::<String>::new());
}

#[test]
fn nodes_of_a_domain_that_was_never_introduced_go_with_it() {
    let mut world = World::new();
    world.host.states.insert(7, DomainState::Running);
    world.says(SOCKET, Write, "/vm/seven\0v", "OK\0");
    world.says(SOCKET, SetPermissions, "/vm/seven\0n7\0", "OK\0");
    world.says(SOCKET, SetPermissions, "/vm/seven\0n8\0", "ENOENT\0");
    world.end(7);
    world.says(SOCKET, Read, "/vm/seven\0", "ENOENT\0");
}
