//! Responses to single requests. Debian's daemon gave the same ones, where it was asked.

use crate::world::{SOCKET, World};
use xenstore_wire::Kind::{self, *};

#[test]
fn nodes_are_made_read_listed_and_removed() {
    let mut world = World::new();
    for (kind, body, answer) in [
        (Write, "/b\0v", "OK\0"),
        (Write, "/a/x\0v2", "OK\0"),
        (MakeDirectory, "/c\0", "OK\0"),
        (MakeDirectory, "/c\0", "OK\0"),
        (Directory, "/\0", "tool\0local\0b\0a\0c\0"),
        (Read, "/a\0", ""),
        (Read, "/a/x\0", "v2"),
        (Remove, "/zz/y\0", "ENOENT\0"),
        (Remove, "/zz\0", "OK\0"),
        (Remove, "/\0", "EINVAL\0"),
        (Remove, "/a\0", "OK\0"),
        (Read, "/a/x\0", "ENOENT\0"),
    ] {
        world.says(SOCKET, kind, body, answer);
    }
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut world = World::new();
    for (kind, body) in [
        (Read, "/tool/\0"),
        (Read, "//tool\0"),
        (Read, "/a*\0"),
        (Read, "\0"),
        (Read, ""),
        (Read, "/tool\0x"),
        (Read, "@releaseDomain\0"),
        (Write, "@foo\0x"),
        (Write, "/w"),
        (MakeDirectory, "/w\0x"),
        (GetPermissions, "@releaseDomain\0"),
        (SetPermissions, "@foo\0n0\0"),
        (SetPermissions, "/tool\0x1\0"),
        (SetPermissions, "/tool\0"),
        (SetPermissions, "/tool\0n\0"),
        (DirectoryPart, "/\0"),
        (Watch, "/b\0tok2"),
        (Watch, "/b/\0t\0"),
        (Watch, "/q\0"),
        (Watch, "/b\0t\x001\0"),
        (Unwatch, "/b\0"),
        (TransactionEnd, "X\0"),
        (GetDomainPath, ""),
        (GetDomainPath, "5"),
        (Introduce, "5\0"),
        (Release, "0\0"),
        (Release, "x\0"),
        (Resume, "0\0"),
        (SetTarget, "1\0"),
        (Control, ""),
        (Control, "\0"),
        (Control, "nonsense\0"),
        (Control, "quota\0set\0foo\x001\0"),
        (Control, "quota\0set\0outstanding\0x\0"),
        (Control, "print\0"),
        (Control, "log\0"),
        (Control, "help\0foo\0"),
    ] {
        world.says(SOCKET, kind, body, "EINVAL\0");
    }
}

#[test]
fn a_kind_that_is_none_is_refused_by_its_own_error() {
    let mut world = World::new();
    for number in [20, 23, 99, 0xffff, WatchEvent.number(), Error.number()] {
        let message = xenstore_wire::Message { kind: number, request: 4, transaction: 0, body: vec![] };
        let answer = world.engine.handle(&mut world.host, SOCKET, &message);
        assert_eq!((answer.kind, &answer.body[..]), (Error.number(), &b"ENOSYS\0"[..]));
    }
}

#[test]
fn a_directory_is_listed_in_parts() {
    let mut world = World::new();
    for (offset, names) in [("0", "tool\0local\0\0"), ("2", "ol\0local\0\0"), ("500", "\0")] {
        let answer = world.asks(SOCKET, DirectoryPart, format!("/\0{offset}\0"));
        assert_eq!(answer.split_once('\0').unwrap().1, names);
    }
    for child in 0..1000 {
        world.says(SOCKET, MakeDirectory, format!("/many/child{child}\0"), "OK\0");
    }
    world.says(SOCKET, Directory, "/many\0", "E2BIG\0");
    let (mut offset, mut names, mut generations) = (0, String::new(), vec![]);
    loop {
        let answer = world.asks(SOCKET, DirectoryPart, format!("/many\0{offset}\0"));
        let (generation, part) = answer.split_once('\0').unwrap();
        generations.push(generation.to_owned());
        let ends = part.ends_with("\0\0") || part == "\0";
        let part = if ends { &part[..part.len() - 1] } else { part };
        offset += part.len();
        names.push_str(part);
        if ends {
            break;
        }
    }
    generations.dedup();
    assert_eq!((generations.len(), names.split_terminator('\0').count()), (1, 1000));
}

#[test]
fn a_domain_sees_and_changes_what_permissions_allow() {
    let mut world = World::new();
    world.says(SOCKET, SetPermissions, "/local/domain/1\0n1\0r2\0", "OK\0");
    world.says(SOCKET, Write, "/local/domain/1/ro\0v", "OK\0");
    world.says(SOCKET, GetPermissions, "/local/domain/1/ro\0", "n1\0r2\0");
    world.says(SOCKET, SetPermissions, "/local/domain/1/ro\0n0\0r1\0", "OK\0");
    for (who, kind, body, answer) in [
        (1, Write, "a/b\0v", "OK\0"),
        (1, GetPermissions, "a/b\0", "n1\0r2\0"),
        (1, Read, "ro\0", "v"),
        (1, Write, "ro\0x", "EACCES\0"),
        (1, Remove, "ro\0", "EACCES\0"),
        (1, Write, "ro/k\0x", "EACCES\0"),
        (1, SetPermissions, "ro\0n1\0", "EACCES\0"),
        (1, Write, "/x\0v", "EACCES\0"),
        (1, Directory, "/\0", "EACCES\0"),
        (1, Read, "/local/domain/2/zz\0", "EACCES\0"),
        (2, Read, "/local/domain/1/a/b\0", "v"),
        (2, Directory, "/local/domain/1\0", "ro\0a\0"),
        (2, Read, "/local/domain/1/nope\0", "ENOENT\0"),
        (1, Remove, "/local/domain/2/nope\0", "EACCES\0"),
        (1, SetPermissions, "a\0n0\0", "EPERM\0"),
        (1, SetPermissions, "a\0n1\0w2\0", "OK\0"),
        (2, Write, "/local/domain/1/a\0w", "OK\0"),
        (2, Read, "/local/domain/1/a\0", "EACCES\0"),
        (2, Write, "/local/domain/1/a/new\0w", "OK\0"),
        (2, GetPermissions, "/local/domain/1/a/new\0", "n2\0w2\0"),
        (1, SetPermissions, "/local/domain/1/a/new\0n1\0", "EACCES\0"),
        (2, SetPermissions, "/local/domain/1/a/new\0n1\0", "EPERM\0"),
        (2, SetPermissions, "/local/domain/1/a/new\0n2\0r1\0", "OK\0"),
        (1, Remove, "a/new\0", "EACCES\0"),
        (2, Remove, "a/new\0", "ENOENT\0"),
    ] {
        world.says(who, kind, body, answer);
    }
}

#[test]
fn what_only_the_tools_may_do_is_refused_to_domains() {
    let mut world = World::new();
    for (kind, body) in [
        (Introduce, "3\x001\x005\0"),
        (Release, "2\0"),
        (SetTarget, "1\x002\0"),
        (Control, "help\0"),
        (Resume, "2\0"),
        (IsDomainIntroduced, "2\0"),
        (SetPermissions, "@releaseDomain\0n1\0"),
    ] {
        world.says(1, kind, body, "EACCES\0");
    }
    world.says(1, GetDomainPath, "2\0", "/local/domain/2\0");
}

#[test]
fn domains_are_introduced_and_released() {
    let mut world = World::new();
    for (kind, body, answer) in [
        (IsDomainIntroduced, "0\0", "T\0"),
        (IsDomainIntroduced, "1\0", "T\0"),
        (IsDomainIntroduced, "5\0", "F\0"),
        (Introduce, "5\x001\x001\0", "ENOENT\0"),
        (Introduce, "0\x001\x001\0", "OK\0"),
        (Release, "5\0", "ENOENT\0"),
        (Resume, "5\0", "ENOENT\0"),
        (SetTarget, "5\x006\0", "ENOENT\0"),
        (SetTarget, "1\x002\0", "OK\0"),
        (Release, "1\0", "OK\0"),
        (IsDomainIntroduced, "1\0", "F\0"),
    ] {
        world.says(SOCKET, kind, body, answer);
    }
}

#[test]
fn a_domain_that_acts_for_another_may_do_what_that_one_may() {
    let mut world = World::new();
    world.says(1, Write, "/local/domain/2/byone\0v", "EACCES\0");
    world.says(SOCKET, SetTarget, "1\x002\0", "OK\0");
    world.says(1, Write, "/local/domain/2/byone\0v", "OK\0");
    world.says(SOCKET, GetPermissions, "/local/domain/2/byone\0", "n1\0");
    world.end(2);
    world.begin(2);
    world.says(1, Write, "/local/domain/2/byone\0v", "EACCES\0");
}

#[test]
fn limits_hold_for_domains_and_not_for_the_tools() {
    let mut world = World::new();
    let until_refused = |world: &mut World, kind: Kind, body: &dyn Fn(u32) -> String| {
        (0..5000).find_map(|round| {
            let answer = world.asks(1, kind, body(round));
            answer.starts_with('E').then_some((round, answer))
        })
    };
    world.says(SOCKET, Control, "quota\0set\0nodes\x0020\0", "OK\0");
    let made = until_refused(&mut world, MakeDirectory, &|round| format!("n{round}\0"));
    assert_eq!(made, Some((19, "ENOSPC\0".to_owned())));
    let watched = until_refused(&mut world, Watch, &|round| format!("/q{round}\0t\0"));
    assert_eq!(watched, Some((129, "E2BIG\0".to_owned())));
    let opened = until_refused(&mut world, TransactionStart, &|_| "\0".to_owned());
    assert_eq!(opened, Some((11, "ENOSPC\0".to_owned())));
    world.says(1, SetPermissions, "n1\0n1\0r2\0r2\0r2\0r2\0", "OK\0");
    world.says(1, SetPermissions, "n1\0n1\0r2\0r2\0r2\0r2\0r2\0", "ENOSPC\0");
    world.says(1, Write, [b"n2\0", &[b'x'; 2015][..]].concat(), "OK\0");
    world.says(1, Write, [b"n2\0", &[b'x'; 2016][..]].concat(), "ENOSPC\0");
    world.says(SOCKET, Write, [b"/big\0", &[b'x'; 4000][..]].concat(), "OK\0");
    assert_eq!(world.engine.disagreements(), Vec::<String>::new());
}

#[test]
fn memory_is_charged_to_its_domain_and_given_back() {
    let mut world = World::new();
    world.says(SOCKET, Control, "quota\0set\0memory\x0020000\0", "OK\0");
    let refused = (0..100).find(|round| {
        world.asks(1, Write, [format!("n{round}\0").as_bytes(), &[b'x'; 1000][..]].concat()) == "ENOSPC\0"
    });
    assert!(refused.is_some_and(|round| (10..20).contains(&round)), "{refused:?}");
    world.says(2, Write, "n\0v", "OK\0");
    world.says(1, Remove, "n0\0", "OK\0");
    world.says(1, Write, "n0\0small", "OK\0");
    let before = world.asks(SOCKET, Control, "quota\x002\0");
    world.says(2, Watch, "n\0t\0", "OK\0");
    world.says(2, Write, "more\0v", "OK\0");
    world.says(2, Remove, "more\0", "OK\0");
    world.says(2, ResetWatches, "\0", "OK\0");
    assert_eq!(world.asks(SOCKET, Control, "quota\x002\0"), before);
}

#[test]
fn the_quotas_are_listed_as_debians_daemon_lists_them() {
    let mut world = World::new();
    let expected = "Quota settings:
nodes            :     1000 Nodes per domain
watches          :      128 Watches per domain
transactions     :       10 Transactions per domain
outstanding      :       20 Outstanding requests per domain
transaction-nodes:     1024 Max. number of accessed nodes per transaction
memory           :  2621440 Total Xenstore memory per domain (error level)
node-size        :     2048 Max. size of a node
path-max         :     2048 Max. length of a node path
permissions      :        5 Max. number of permissions per node
\0";
    world.says(SOCKET, Control, "quota\0", expected);
    let of_one = world.asks(SOCKET, Control, "quota\x001\0");
    assert!(of_one.starts_with("Domain 1:\nnodes           :        1\nwatches         :        0\n"), "{of_one}");
    world.says(SOCKET, Control, "quota\x007\0", "ENOENT\0");
}
