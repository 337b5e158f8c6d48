//! Random operations on a memory tree, through the protocol, and on a directory of this machine: the same results, the same
//! errors. `FS9P_STEPS=N FS9P_SEED=S` for more of it.

mod both;
#[path = "../common/mod.rs"]
mod common;

use both::{Both, Has, new_directory};
use common::{memory, rng};
use fs9p::{Errno, FileTree, HostModes, HostTree, MappedTree, MemoryTree, Owners, RequestId, Server};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

const ALL: Has = Has { devices: true, xattrs: true, nanoseconds: true };
const NODE: Has = Has { devices: false, xattrs: false, nanoseconds: false };

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: no number")))
}

/// Random operations on `tree`.
fn compare(tree: impl FileTree, has: Has) {
    let (seed, steps) = (number("FS9P_SEED", 1), number("FS9P_STEPS", 15_000));
    let mut both = Both::new(tree, has);
    let mut random = rng(seed);
    let mut outcomes = std::collections::BTreeMap::<String, u64>::new();
    for step in 0..steps {
        let (text, ours, theirs) = both.step(&mut random);
        let text_of = |r: &Result<Vec<u8>, Errno>| {
            r.as_ref().map(|b| String::from_utf8_lossy(&b[..b.len().min(200)]).into_owned()).map_err(|e| *e)
        };
        assert!(ours == theirs, "seed {seed}, step {step}: {text}: {:?}, Linux {:?}", text_of(&ours), text_of(&theirs));
        let outcome = ours.map_or_else(|e| format!("{e:?}"), |_| "done".into());
        let operation = text.split([' ', ':']).next().unwrap_or_default().to_owned();
        *outcomes.entry(format!("{operation} {outcome}")).or_default() += 1;
        if step % 500 == 499 {
            both.compare();
        }
    }
    both.compare();
    println!("{outcomes:#?}");
    assert!(outcomes.len() > 40 || steps < 10_000, "too little happens: {outcomes:?}");
}

#[test]
fn a_tree_in_memory() {
    compare(memory(1 << 30), ALL);
}

/// A host that is our own server: what is asked of it and what comes back.
#[test]
fn a_tree_of_the_hosts() {
    let server = RefCell::new(Server::new(memory(1 << 30)));
    let host = move |message: Vec<u8>| {
        let mut server = server.borrow_mut();
        server.submit(RequestId(0), message);
        server.poll().map(|(_, reply)| reply)
    };
    compare(HostTree::new(host, Owners::Kept), ALL);
}

/// What a tree of plain files is made to seem.
#[test]
fn plain_files_with_metadata() {
    let below = memory(1 << 30);
    compare(MappedTree::new(below.clone(), HostModes::default()), ALL);
    plain(&below, b"");
}

/// All that is below is files and directories, with the modes that they are made with.
fn plain(tree: &MemoryTree, path: &[u8]) {
    for (name, stat) in tree.list(path).unwrap() {
        assert!([0o100600, 0o040700].contains(&stat.mode), "{}: {:o}", String::from_utf8_lossy(&name), stat.mode);
        if stat.mode == 0o040700 {
            plain(tree, &[path, b"/", &name].concat());
        }
    }
}

/// The Node host's directory, in a process of its own. `cargo xtask test` runs it, with the Node that it installs.
#[test]
#[ignore = "needs a Node that runs TypeScript, named by FS9P_NODE"]
fn a_directory_in_node() {
    in_node("node", |host| compare(HostTree::new(host, Owners::Kept), NODE));
}

/// The same with what Node has not: devices, and owners that an ordinary user may not give.
#[test]
#[ignore = "needs a Node that runs TypeScript, named by FS9P_NODE"]
fn a_directory_in_node_with_metadata() {
    in_node("mapped", |host| {
        compare(
            MappedTree::new(HostTree::new(host, Owners::Left), HostModes::default()),
            Has { devices: true, ..NODE },
        );
    });
}

/// Does something with a new directory that a Node process serves.
fn in_node(what: &str, act: impl FnOnce(Box<dyn Fn(Vec<u8>) -> Option<Vec<u8>>>)) {
    let node = std::env::var("FS9P_NODE")
        .expect("FS9P_NODE names a Node that runs TypeScript, such as web/node_modules/node/bin/node");
    let dir = new_directory(what);
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/tools/serve-directory.mjs");
    let mut child =
        Command::new(node).arg(script).arg(&dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let pipes = RefCell::new((child.stdin.take().unwrap(), child.stdout.take().unwrap()));
    act(Box::new(move |message: Vec<u8>| {
        let (to, from) = &mut *pipes.borrow_mut();
        to.write_all(&message).unwrap();
        let mut reply = vec![0; 4];
        from.read_exact(&mut reply).unwrap();
        reply.resize(u32::from_le_bytes(reply[..].try_into().unwrap()) as usize, 0);
        from.read_exact(&mut reply[4..]).unwrap();
        Some(reply)
    }));
    assert!(child.wait().unwrap().success());
    std::fs::remove_dir_all(dir).unwrap();
}
