//! Writes `web/src/abi.gen.ts`.
fn main() -> std::io::Result<()> {
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/src/abi.gen.ts"), host_abi::typescript())
}
