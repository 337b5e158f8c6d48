//! The TypeScript side is what the table says.

#[test]
fn typescript_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/src/abi.gen.ts");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert!(text == host_abi::typescript(), "{path} is stale: run `cargo run -p host-abi`");
}

#[test]
fn only_numbers_cross() {
    for f in host_abi::IMPORTS.iter().chain(host_abi::EXPORTS) {
        for ty in f.params.iter().map(|p| p.ty).chain(f.result) {
            assert!(matches!(ty, "u32" | "u64" | "f64"), "{}: {ty}", f.name);
        }
        assert!(!f.doc.is_empty(), "{} has no documentation", f.name);
    }
}

#[test]
fn codes_are_distinct_and_convert() {
    for codes in host_abi::CODES {
        for (i, code) in codes.codes.iter().enumerate() {
            assert!(codes.codes.iter().skip(i + 1).all(|c| c.value != code.value), "{}::{}", codes.name, code.name);
        }
    }
    assert_eq!(host_abi::Exit::from_u32(host_abi::Exit::Stopped as u32), Some(host_abi::Exit::Stopped));
    assert_eq!(host_abi::Exit::from_u32(99), None);
}
