//! Serves a tree in memory on TCP, for a kernel's client without an emulator between:
//! `cargo run --release -p fs9p --example serve -- 127.0.0.1:5640`, then
//! `mount -t 9p -o trans=tcp,port=5640,version=9p2000.L 127.0.0.1 /mnt`. One client after the other; the tree stays.

use fs9p::wire::Timespec;
use fs9p::{MemoryTree, RequestId, Server};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::SystemTime;

fn now() -> Timespec {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timespec { sec: since.as_secs(), nsec: since.subsec_nanos().into() }
}

fn serve(mut stream: TcpStream, tree: MemoryTree) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut server = Server::new(tree);
    for id in 0.. {
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let mut message = size.to_vec();
        message.resize((u32::from_le_bytes(size) as usize).clamp(4, 1 << 21), 0);
        stream.read_exact(&mut message[4..])?;
        server.submit(RequestId(id), message);
        while let Some((_, reply)) = server.poll() {
            stream.write_all(&reply)?;
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5640".into());
    let listener = TcpListener::bind(&address)?;
    let tree = MemoryTree::new(2 << 30, now);
    println!("serving on {address}");
    loop {
        let (stream, peer) = listener.accept()?;
        match serve(stream, tree.clone()) {
            Ok(()) => {}
            Err(e) => println!("{peer}: {e}; {} bytes held", tree.used()),
        }
    }
}
