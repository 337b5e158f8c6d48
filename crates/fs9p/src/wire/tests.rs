use super::*;

#[test]
fn layout_of_a_request() {
    // Twalk tag 1, fid 2, newfid 3, "ab", "c": protocol.md, section Twalk.
    let walk = Request::Twalk { fid: 2, newfid: 3, names: vec![b"ab", b"c"] };
    let bytes = b"\x18\0\0\0\x6e\x01\0\x02\0\0\0\x03\0\0\0\x02\0\x02\0ab\x01\0c";
    assert_eq!(walk.encode(1), bytes);
    let (kind, tag, fields) = split(bytes).unwrap();
    assert_eq!((Request::decode(kind, fields), tag), (Ok(walk), 1));
}

#[test]
fn sizes_as_linux_has_them() {
    let qid = Qid { kind: 0, version: 1, path: 2 };
    let zero = Timespec::default();
    let stat = Stat {
        valid: 0,
        qid,
        mode: 0,
        uid: 0,
        gid: 0,
        nlink: 0,
        rdev: 0,
        size: 0,
        blksize: 0,
        blocks: 0,
        atime: zero,
        mtime: zero,
        ctime: zero,
        btime: zero,
        generation: 0,
        data_version: 0,
    };
    // "A[qQdddqqqqqqqqqqqqqqq]" after the qid of 13 bytes: 8 + 13 + 3 * 4 + 15 * 8
    assert_eq!(Reply::Rgetattr { stat }.encode(0).len(), HEADER + 8 + 13 + 12 + 15 * 8);
    // "ddqqqqqqd"
    let statfs = StatFs { magic: 0, bsize: 0, blocks: 0, bfree: 0, bavail: 0, files: 0, ffree: 0, fsid: 0, namelen: 0 };
    assert_eq!(Reply::Rstatfs { stat: statfs }.encode(0).len(), HEADER + 12 + 6 * 8);
    // "I" of Tsetattr: "ddddqqqqq"
    let changes = SetAttr { valid: 0, mode: 0, uid: 0, gid: 0, size: 0, atime: zero, mtime: zero };
    assert_eq!(Request::Tsetattr { fid: 0, changes }.encode(0).len(), HEADER + 4 + 16 + 5 * 8);
}

#[test]
fn what_is_cut_off_is_no_message() {
    let whole = Request::Tlcreate { fid: 1, name: b"name", flags: 2, mode: 3, gid: 4 }.encode(9);
    for n in 0..whole.len() {
        assert_eq!(split(&whole[..n]), None, "{n}");
        if n >= HEADER {
            let mut short = whole[..n].to_vec();
            finish(&mut short);
            let (kind, _, fields) = split(&short).unwrap();
            assert_eq!(Request::decode(kind, fields), Err(Undecodable::Fields), "{n}");
        }
    }
    assert_eq!(Request::decode(99, &[]), Err(Undecodable::Type));
    assert_eq!(Request::decode(7, &[]), Err(Undecodable::Type), "a reply");
}

#[test]
fn a_walk_has_sixteen_names_at_most() {
    let names = |n| Request::Twalk { fid: 0, newfid: 1, names: vec![&b"x"[..]; n] }.encode(0);
    let decoded = |bytes: &[u8]| Request::decode(110, &bytes[HEADER..]).is_ok();
    assert!(decoded(&names(16)));
    assert!(!decoded(&names(17)));
}

#[test]
fn the_hosts_table_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/src/files/wire.gen.ts");
    let there = std::fs::read_to_string(path).unwrap();
    let words = |text: &str| text.split_whitespace().collect::<String>().replace(",]", "]");
    assert_eq!(words(&there), words(&typescript()), "run `cargo run -p fs9p --example typescript`");
}
