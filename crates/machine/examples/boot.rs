//! Boots with QEMU-style options on the host itself: the machine without a browser, for debuggers and profilers.
//!
//! `cargo run --release -p machine --example boot -- -m 512 -kernel vmlinuz -initrd initrd.gz -append console=ttyS0`

use std::io::{Read, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use machine::{Exit, Files, HostTime, Machine};

/// Instructions a slice: a millisecond or two.
const SLICE: u64 = 200_000;

fn main() {
    if let Err(message) = run() {
        eprintln!("boot: {message}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    log_to_stderr();
    let config = options::parse(std::env::args().skip(1)).map_err(|e| e.to_string())?;
    let read = |name: &String| std::fs::read(name).map_err(|e| format!("{name}: {e}"));
    let kernel = read(&config.kernel)?;
    let initrd = config.initrd.as_ref().map(read).transpose()?;
    let start = Instant::now();
    let now = || HostTime {
        monotonic_ns: start.elapsed().as_nanos() as u64,
        unix_ns: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64),
    };
    let disk = |d: &options::Drive| -> Result<Box<dyn storage::BlockBackend>, String> {
        Ok(Box::new(storage::Disk::memory(&d.file, read(&d.file)?, d.read_only)))
    };
    let disks = config.drives.iter().map(disk).collect::<Result<_, _>>()?;
    if !config.nets.is_empty() {
        return Err("this example has no network: leave out -nic and -netdev".to_owned());
    }
    let shares = config.shares.iter().map(share).collect::<Result<_, _>>()?;
    let files = Files { kernel, initrd, disks, nets: Vec::new(), shares };
    let mut machine = Machine::new(&config, files, now(), [42; 32]).map_err(|e| e.to_string())?;

    let (send, typed) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(n @ 1..) = std::io::stdin().read(&mut buffer) {
            if send.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut waiting: Vec<u8> = Vec::new();
    loop {
        waiting.extend(typed.try_iter().flatten());
        let taken = machine.console_input(&waiting);
        waiting.drain(..taken);
        let exit = machine.run(now(), SLICE);
        let output = std::mem::take(machine.console_output());
        if !output.is_empty() {
            let _ = std::io::stdout().write_all(&output).and_then(|()| std::io::stdout().flush());
        }
        match exit {
            Exit::Budget => {}
            Exit::Idle { until_ns } => {
                let elapsed = start.elapsed().as_nanos() as u64;
                let wait =
                    until_ns.map_or(Duration::from_secs(3600), |t| Duration::from_nanos(t.saturating_sub(elapsed)));
                match typed.recv_timeout(wait) {
                    Ok(bytes) => waiting.extend(bytes),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(wait),
                }
            }
            Exit::PowerOff | Exit::Reset => break,
            Exit::Stopped(report) => return Err(report.to_string()),
        }
    }
    let stats = machine.stats();
    eprintln!("boot: ended after {:.2} s of guest time: {stats:?}", stats.guest_ns as f64 / 1e9);
    Ok(())
}

/// A tree in memory: directories of the host's are served by the TypeScript hosts.
fn share(share: &options::Share) -> Result<Box<dyn machine::P9Backend>, String> {
    match &share.source {
        options::ShareSource::Memory { .. } => Ok(machine::serve(share, fs9p::MemoryTree::new(2 << 30, unix_time))),
        options::ShareSource::Local { path, .. } => {
            Err(format!("path={path}: this program serves no directories; give -virtfs memory,mount_tag=TAG"))
        }
    }
}

fn unix_time() -> fs9p::wire::Timespec {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    fs9p::wire::Timespec { sec: since.as_secs(), nsec: since.subsec_nanos().into() }
}

/// `PAGEVM_LOG=debug` and the like.
fn log_to_stderr() {
    struct Stderr;
    impl log::Log for Stderr {
        fn enabled(&self, _: &log::Metadata) -> bool {
            true
        }
        fn log(&self, record: &log::Record) {
            eprintln!("[{}] {}", record.level(), record.args());
        }
        fn flush(&self) {}
    }
    let level = std::env::var("PAGEVM_LOG").ok().and_then(|l| l.parse().ok()).unwrap_or(log::LevelFilter::Warn);
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
}
