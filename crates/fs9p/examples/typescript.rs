//! Writes `web/src/files/wire.gen.ts`.
fn main() -> std::io::Result<()> {
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/src/files/wire.gen.ts"), fs9p::wire::typescript())
}
