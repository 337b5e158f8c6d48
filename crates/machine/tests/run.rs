//! Machines that run guests of a few instructions.

use bare::kernel;
use guest_api::NoTier;
use machine::{Exit, Files, HostTime, Machine};
use netstack::{ChannelId, Channels, Ids, Kind, Net};
use options::Config;
use std::cell::RefCell;
use std::rc::Rc;
use storage::{BlockBackend, Completion, Request, Tag};

const MS: u64 = 1_000_000;

fn at(ms: u64) -> HostTime {
    HostTime { monotonic_ns: 1000 * MS + ms * MS, unix_ns: 1_700_000_000_000_000_000 }
}

fn machine(code: &[u8], options: &str) -> Machine {
    with_nets(code, options, |_| Vec::new())
}

/// A machine with the networks that `nets` makes of its configuration.
fn with_nets(code: &[u8], options: &str, nets: impl FnOnce(&Config) -> Vec<Net>) -> Machine {
    let line = format!("-kernel k -m 64 {options}");
    let config = options::parse(line.split_whitespace()).unwrap();
    let (kernel, nets) = (kernel(code), nets(&config));
    let files = Files { kernel, initrd: None, disks: Vec::new(), nets, shares: Vec::new() };
    Machine::new(&config, files, at(0), [7; 32]).unwrap()
}

/// A machine with `disk` on memory-mapped registers.
fn with_disk(code: &[u8], disk: impl BlockBackend + 'static) -> Machine {
    let line = "-kernel k -m 64 -drive file=d,if=none,id=d -device virtio-blk-device,drive=d";
    let config = options::parse(line.split_whitespace()).unwrap();
    let (kernel, disks) = (kernel(code), vec![Box::new(disk) as Box<dyn BlockBackend>]);
    let files = Files { kernel, initrd: None, disks, nets: Vec::new(), shares: Vec::new() };
    Machine::new(&config, files, at(0), [7; 32]).unwrap()
}

/// Writes `text` to COM1.
fn print(text: &str) -> Vec<u8> {
    let mut code = vec![0x66, 0xba, 0xf8, 0x03]; // mov dx, 0x3f8
    for byte in text.bytes() {
        code.extend([0xb0, byte, 0xee]); // mov al, byte; out dx, al
    }
    code
}

const CLI_HLT: &[u8] = &[0xfa, 0xf4];

#[test]
fn a_guest_prints_and_halts_for_good() {
    let mut m = machine(&[&print("hello"), CLI_HLT].concat(), "");
    assert_eq!(m.run(at(0), 1_000_000), Exit::Idle { until_ns: None });
    assert_eq!(m.console_output(), b"hello");
    assert_eq!((m.stats().insns, m.stats().decoded_insns, m.stats().decode_estimate_ns), (13, 13, 13 * 45));
    assert_eq!(m.run(at(10), 1_000_000), Exit::Idle { until_ns: None });
}

/// `mov al, value; out port, al`.
fn out(port: u8, value: u8) -> [u8; 4] {
    [0xb0, value, 0xe6, port]
}

/// `mov dx, 0x604; mov ax, 0x3400; out dx, ax`: S5 by the ACPI tables.
const POWER_OFF: &[u8] = &[0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef, 0xf4];

/// A guest with a 10 ms tick through the 8259: each prints `T`; after `count` it switches off.
fn ticking(count: u8) -> Vec<u8> {
    const GDT: u32 = 0x10_0400;
    const IDT: u32 = 0x10_0600;
    let mut code = vec![0xbc, 0, 0, 8, 0]; // mov esp, 0x80000
    code.extend([0x0f, 0x01, 0x15, 0x00, 0x03, 0x10, 0x00]); // lgdt [0x100300]
    code.extend([0x0f, 0x01, 0x1d, 0x08, 0x03, 0x10, 0x00]); // lidt [0x100308]
    // The first 8259: vectors from 0x20, only IRQ 0 open. Counter 0 of the 8254: mode 2, 11932 pulses.
    for (port, value) in
        [(0x43, 0x34), (0x40, 0x9c), (0x40, 0x2e), (0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xfe)]
    {
        code.extend(out(port, value));
    }
    code.extend([0x31, 0xdb]); // xor ebx, ebx
    // wait: sti; hlt; cli; cmp ebx, count; jne wait
    code.extend([0xfb, 0xf4, 0xfa, 0x83, 0xfb, count, 0x75, 0xf8]);
    code.extend(POWER_OFF);
    let handler = 0x10_0000 + code.len() as u32;
    code.push(0x43); // inc ebx
    code.extend(print("T"));
    code.extend(out(0x20, 0x20)); // EOI
    code.push(0xcf); // iret
    code.resize(0x300, 0);
    for (table, limit) in [(GDT, 0x1fu16), (IDT, 0x107)] {
        code.extend(limit.to_le_bytes());
        code.extend(table.to_le_bytes());
        code.extend([0; 2]);
    }
    code.resize(0x400, 0);
    for descriptor in [0u64, 0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff] {
        code.extend(descriptor.to_le_bytes());
    }
    code.resize(0x700, 0); // gate 0x20: 32-bit interrupt gate, selector 0x10
    code.extend([handler & 0xffff | 0x10 << 16, handler & 0xffff_0000 | 0x8e00].iter().flat_map(|w| w.to_le_bytes()));
    code
}

/// A guest that echoes what it reads from the serial port, up to `q`; before each look it executes `pause`.
fn echo_with(pause: &[u8]) -> Vec<u8> {
    let n = pause.len() as u8;
    let mut code = pause.to_vec();
    code.extend([0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7 - n]); // wait for LSR.DR
    code.extend([0x66, 0xba, 0xf8, 0x03, 0xec, 0xee]); // mov dx, 0x3f8; in al, dx; out dx, al
    code.extend([0x3c, b'q', 0x75, 0xed - n]); // cmp al, 'q'; jne start
    code.extend(POWER_OFF);
    code
}

fn echo() -> Vec<u8> {
    echo_with(&[])
}

/// A guest that prints `R` and resets the machine through the reset register.
fn resetting() -> Vec<u8> {
    [&print("R")[..], &[0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee], CLI_HLT].concat()
}

/// Runs slices of `insns` instructions at host times `from..` in steps of 1 ms until something else than a budget's end.
fn run_until_exit(m: &mut Machine, from: u64, insns: u64) -> Exit {
    (from..from + 10_000).map(|ms| m.run(at(ms), insns)).find(|e| *e != Exit::Budget).expect("the guest does not end")
}

#[test]
fn a_timer_wakes_a_halted_guest() {
    let mut m = machine(&ticking(3), "");
    for tick in 0..3 {
        let Exit::Idle { until_ns: Some(until) } = m.run(at(tick * 11), 1_000_000) else { panic!("tick {tick}") };
        let due = 1000 * MS + (tick + 1) * 10 * MS;
        assert!((due..due + MS).contains(&until), "tick {tick}: {until}");
        // Woken too early, it goes on waiting.
        assert!(matches!(m.run(at(tick * 11 + 1), 1_000_000), Exit::Idle { until_ns: Some(u) } if u == until));
    }
    assert_eq!(m.run(at(33), 1_000_000), Exit::PowerOff);
    assert_eq!(m.console_output(), b"TTT");
    assert_eq!(m.run(at(34), 1_000_000), Exit::PowerOff, "it stays off");
    m.reset();
    assert!(matches!(m.run(at(40), 1_000_000), Exit::Idle { .. }), "the reset button works");
}

#[test]
fn after_an_hour_in_the_background_the_clock_is_right_and_there_is_no_storm() {
    let mut m = machine(&ticking(0), "");
    m.run(at(0), 1_000_000);
    let before = m.stats().insns;
    assert!(matches!(m.run(at(3_600_000), 10_000_000), Exit::Idle { .. }));
    let ticks = m.console_output().len();
    assert!((1..5000).contains(&ticks), "{ticks} ticks delivered of 360000");
    assert!(m.stats().insns - before < 100_000);
    let guest_ms = m.stats().guest_ns / MS;
    assert!((3_600_000..=3_600_010).contains(&guest_ms), "{guest_ms}");
}

#[test]
fn what_is_typed_after_a_gap_arrives_after_it() {
    // mov ecx, 5000; loop $
    let mut m = machine(&echo_with(&[0xb9, 0x88, 0x13, 0, 0, 0xe2, 0xfe]), "");
    m.run(at(0), 1000);
    m.console_input(b"a");
    assert_eq!(m.run(at(2000), 1_000_000), Exit::Budget);
    assert_eq!(m.console_output(), b"", "2 s behind: nothing of the present reaches it");
    let arrived = (2000..2300).find(|ms| {
        m.run(at(*ms), 1_000_000);
        !m.console_output().is_empty()
    });
    assert!(arrived.is_some() && m.stats().guest_ns >= 2000 * MS, "{:?}", m.stats());
}

#[test]
fn a_slice_goes_on_while_it_may() {
    let mut m = machine(&echo(), "");
    let mut told = Vec::new();
    let exit = m.run_with(&mut guest_api::NoTier, at(1), 10_000, &mut |insns| {
        told.push(insns);
        [20_000, 30_000, 0][told.len() - 1]
    });
    assert_eq!(exit, Exit::Budget);
    let about = |n: &u64, wanted: u64| (wanted..wanted + 1000).contains(n);
    assert!(told.iter().zip([10_000, 30_000, 60_000]).all(|(n, wanted)| about(n, wanted)), "{told:?}");
    assert_eq!((told.len(), told.last()), (3, Some(&m.stats().insns)));
}

#[test]
fn a_budget_ends_the_slice() {
    let mut m = machine(&echo(), "");
    for slice in 1..10 {
        assert_eq!(m.run(at(slice), 10_000), Exit::Budget);
        let insns = m.stats().insns;
        assert!((slice * 10_000..slice * 10_000 + 300).contains(&insns), "{insns}");
    }
}

#[test]
fn typed_bytes_reach_the_guest_and_none_is_lost() {
    let mut m = machine(&echo(), "");
    let text: Vec<u8> = (0..5000).map(|i| b'a' + (i % 16) as u8).collect();
    let taken = m.console_input(&text);
    assert_eq!(taken, 4096, "as much as it holds");
    let taken = taken + m.console_input(&text[taken..]);
    assert_eq!(m.console_input(&text[taken..]), 0);
    for ms in 0..20 {
        assert_eq!(m.run(at(ms), 100_000), Exit::Budget);
    }
    assert_eq!(m.console_input(&text[taken..]), text.len() - taken);
    m.console_input(b"q");
    assert_eq!(run_until_exit(&mut m, 20, 100_000), Exit::PowerOff);
    assert_eq!(m.console_output()[..5000], text);
}

#[test]
fn a_serial_port_that_is_not_connected() {
    let mut m = machine(&[&print("x"), &echo()[..]].concat(), "-serial none");
    assert_eq!(m.console_input(b"q"), 1, "swallowed");
    assert_eq!(m.run(at(0), 100_000), Exit::Budget);
    assert_eq!(m.console_output(), b"");
}

#[test]
fn the_guest_resets_the_machine() {
    let mut m = machine(&resetting(), "-no-reboot");
    assert_eq!(m.run(at(0), 1000), Exit::Reset);
    assert_eq!(m.console_output(), b"R");
    let mut m = machine(&resetting(), "");
    for resets in 1..=5 {
        // Once a slice at most: a guest that does nothing else does not keep the host.
        assert_eq!(m.run(at(resets), 1000), Exit::Budget);
        assert_eq!(m.stats().resets, resets);
    }
    assert_eq!(m.console_output(), b"RRRRR");
}

#[test]
fn a_triple_fault_leaves_a_report() {
    // lidt [0x90000], where there are zeros; mov eax, 0x12345678; ud2
    let mut m = machine(&[0x0f, 0x01, 0x1d, 0, 0, 9, 0, 0xb8, 0x78, 0x56, 0x34, 0x12, 0x0f, 0x0b], "");
    let Exit::Stopped(report) = m.run(at(0), 1000) else { panic!("no report") };
    let text = report.to_string();
    for part in ["triple fault", "rax 0000000012345678", "rip 000000000010000c", "last blocks", "100000"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(m.run(at(1), 1000), Exit::Stopped(report));
    m.reset();
    assert!(matches!(m.run(at(2), 1000), Exit::Stopped(_)));
}

#[test]
fn tb_size_limits_the_memory_for_code() {
    let bytes = |options| {
        let mut m = machine(&[&print("x"), CLI_HLT].concat(), options);
        assert_eq!(m.run(at(0), 1_000_000), Exit::Idle { until_ns: None });
        m.stats().code_bytes
    };
    let (small, large) = (bytes("-accel tcg,tb-size=2"), bytes("-accel tcg,tb-size=32"));
    assert!(small <= 2 << 20 && large > small && large <= 32 << 20, "{small} {large}");
}

#[test]
fn a_machine_that_cannot_be_made_says_why() {
    let config = options::parse(["-kernel", "index.html", "-m", "64"]).unwrap();
    let e = Machine::new(
        &config,
        Files {
            kernel: b"<!DOCTYPE html>".to_vec(),
            initrd: None,
            disks: Vec::new(),
            nets: Vec::new(),
            shares: Vec::new(),
        },
        at(0),
        [0; 32],
    )
    .err()
    .unwrap();
    let text = e.to_string();
    assert!(text.starts_with("-kernel index.html: not a kernel: it is an HTML page"), "{text}");
}

#[test]
fn a_handler_that_faults_for_ever_does_not_keep_the_host() {
    // A stack of 64 KiB that wraps, and a handler of #UD that is UD2: no instruction is ever executed again, and there is no triple fault.
    let mut code = vec![0x0f, 0x01, 0x15, 0x00, 0x03, 0x10, 0x00]; // lgdt [0x100300]
    code.extend([0x0f, 0x01, 0x1d, 0x08, 0x03, 0x10, 0x00]); // lidt [0x100308]
    code.extend([0x66, 0xb8, 0x18, 0x00, 0x8e, 0xd0]); // mov ax, 0x18; mov ss, ax
    code.extend([0xbc, 0, 0x80, 0, 0]); // mov esp, 0x8000
    let handler = 0x10_0000 + code.len() as u32;
    code.extend([0x0f, 0x0b]); // ud2
    code.resize(0x300, 0);
    for (table, limit) in [(0x10_0400_u32, 0x1f_u16), (0x10_0600, 0x107)] {
        code.extend(limit.to_le_bytes());
        code.extend(table.to_le_bytes());
        code.extend([0; 2]);
    }
    code.resize(0x400, 0);
    for descriptor in [0, 0, 0x00cf_9b00_0000_ffff_u64, 0x0000_9308_0000_ffff] {
        code.extend(descriptor.to_le_bytes());
    }
    code.resize(0x630, 0); // gate 6: a 32-bit interrupt gate, selector 0x10
    let gate = [handler & 0xffff | 0x10 << 16, handler & 0xffff_0000 | 0x8e00];
    code.extend(gate.iter().flat_map(|half| half.to_le_bytes()));
    code.resize(0x700, 0);
    let mut m = machine(&code, "");
    for slice in 0..10 {
        assert_eq!(m.run(at(slice), 10_000), Exit::Budget);
        assert_eq!(m.stats().insns, 5);
    }
    // And there is a reset button.
    let mut asked = Vec::new();
    let mut more = |done| {
        asked.push(done);
        if asked.len() < 3 { 100 } else { 0 }
    };
    m.reset();
    assert_eq!(m.run_with(&mut NoTier, at(10), 50, &mut more), Exit::Budget);
    assert_eq!((m.stats().insns, asked), (10, vec![50, 150, 250]), "faults count where instructions are counted");
}

/// A host with sockets on which nothing ever happens.
struct Silent;

impl Channels for Silent {
    fn supports(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Tcp | Kind::Udp | Kind::Resolve)
    }
    fn open(&mut self, _: ChannelId, _: Kind, _: &str) {}
    fn send(&mut self, _: ChannelId, _: &[u8]) {}
    fn finish(&mut self, _: ChannelId) {}
    fn close(&mut self, _: ChannelId) {}
    fn credit(&mut self, _: ChannelId, _: usize) {}
}

/// A network that has seen a datagram from 10.0.2.15 to 1.1.1.1, which is to be forgotten after a while.
fn used_network(config: &Config) -> Vec<Net> {
    let mut ip = vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 15, 1, 1, 1, 1];
    let sum: u32 = ip.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let udp = [0x03, 0xe8, 0x27, 0x0f, 0, 9, 0, 0, b'x'];
    let frame = [&[0xff; 6][..], &[0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 0], &ip, &udp].concat();
    let mut net = Net::new(&config.nets[0].net, Box::new(Silent), &Ids::new(0), 1).unwrap();
    net.transmit(&frame);
    net.poll(0);
    assert!(net.next_deadline().is_some());
    vec![net]
}

#[test]
fn a_network_whose_card_is_not_driven_does_not_keep_the_host() {
    // sti; l: hlt; jmp l
    let code = [0xfb, 0xf4, 0xeb, 0xfd];
    for reset in [false, true] {
        let mut m = with_nets(&code, "-netdev user,id=n0 -device virtio-net-pci,netdev=n0", used_network);
        if reset {
            // What was due before is not forgotten.
            m.reset();
        }
        let mut last = None;
        for seconds in 0..300 {
            last = Some(m.run(at(1000 * seconds), 10_000));
        }
        assert_eq!(last, Some(Exit::Idle { until_ns: None }), "the datagram is forgotten");
    }
}

const VIRTIO_MMIO: u32 = 0xfeb0_0000;
const DESCRIPTORS: u32 = 0x11_0000;
const AVAILABLE: u32 = 0x12_0000;
const USED: u32 = 0x13_0000;

/// mov dword [address], value
fn put(code: &mut Vec<u8>, address: u32, value: u32) {
    code.extend([0xc7, 0x05]);
    code.extend(address.to_le_bytes());
    code.extend(value.to_le_bytes());
}

/// Sets up the first device on memory-mapped registers with `queue`, makes the chain of descriptor 0 available `n` times, rings, and
/// halts with interrupts enabled.
fn driver(queue: u32, n: u16, descriptors: &[(u64, u32, u16, u16)]) -> Vec<u8> {
    let mut code = Vec::new();
    let (reset, ready, size) = ((0x70, 0), (0x70, 0xb), (0x38, n.next_power_of_two().into()));
    for (reg, v) in [
        reset,
        (0x24, 1),
        (0x20, 1),
        ready,
        (0x30, queue),
        size,
        (0x80, DESCRIPTORS),
        (0x84, 0),
        (0x90, AVAILABLE),
        (0x94, 0),
        (0xa0, USED),
        (0xa4, 0),
        (0x44, 1),
        (0x70, 0xf),
    ] {
        put(&mut code, VIRTIO_MMIO + reg, v);
    }
    put(&mut code, AVAILABLE, u32::from(n) << 16);
    put(&mut code, VIRTIO_MMIO + 0x50, queue);
    code.extend([0xfb, 0xf4, 0xeb, 0xfd]); // sti; l: hlt; jmp l
    code.resize((DESCRIPTORS - 0x10_0000) as usize, 0);
    for (address, len, flags, next) in descriptors {
        code.extend(address.to_le_bytes());
        code.extend(len.to_le_bytes());
        code.extend(flags.to_le_bytes());
        code.extend(next.to_le_bytes());
    }
    code.resize((USED - 0x10_0000) as usize + 4, 0);
    code
}

/// Runs slices when the guest wants them until it waits for nothing more; what each made of it.
fn slices<R>(m: &mut Machine, mut look: impl FnMut(&mut Machine) -> R) -> Vec<R> {
    let (mut now, mut made) = (at(0), Vec::new());
    for _ in 0..1000 {
        let exit = m.run(now, 10_000);
        made.push(look(m));
        match exit {
            Exit::Idle { until_ns: None } => return made,
            Exit::Idle { until_ns: Some(ns) } => now.monotonic_ns = now.monotonic_ns.max(ns),
            exit => assert_eq!(exit, Exit::Budget),
        }
    }
    panic!("{} slices", made.len());
}

/// One notification for 64 MiB, by a guest that halts before they are written.
#[test]
fn a_console_takes_so_much_in_a_slice_and_the_rest_in_the_next() {
    let code = driver(1, 64, &[(0x100_0000, 1 << 20, 0, 0)]);
    let options = "-serial none -chardev stdio,id=c -device virtio-serial-device -device virtconsole,chardev=c";
    let mut m = machine(&code, options);
    let written = slices(&mut m, |m| std::mem::take(m.console_output()).len() >> 20);
    assert_eq!(written.iter().sum::<usize>(), 64);
    assert!(written.iter().all(|mib| *mib <= 2), "{written:?}");
}

/// A disk of zeros that answers at once, and counts what it reads.
#[derive(Clone, Default)]
struct Zeros(Rc<RefCell<(u64, Vec<Completion>)>>);

impl BlockBackend for Zeros {
    fn capacity(&self) -> u64 {
        1 << 30
    }

    fn read_only(&self) -> bool {
        false
    }

    fn submit(&mut self, tag: Tag, request: Request) {
        let Request::Read { len, .. } = request else { panic!("{request:?}") };
        let mut state = self.0.borrow_mut();
        state.0 += len as u64;
        state.1.push(Completion { tag, result: Ok(vec![0; len]) });
    }

    fn poll(&mut self) -> Option<Completion> {
        self.0.borrow_mut().1.pop()
    }
}

/// Header, 8 MiB to be written by the device, status.
const READ: &[(u64, u32, u16, u16)] = &[(0x14_0000, 16, 1, 1), (0x100_0000, 8 << 20, 3, 2), (0x14_1000, 1, 2, 0)];
/// What devices move in a slice at most: they stop behind the request with which it is too much.
const SLICE_MIB: u64 = 32 + 16;

#[test]
fn a_disk_reads_so_much_in_a_slice_and_the_rest_in_the_next() {
    let disk = Zeros::default();
    let mut m = with_disk(&driver(0, 32, READ), disk.clone());
    let read = slices(&mut m, |_| std::mem::take(&mut disk.0.borrow_mut().0) >> 20);
    assert_eq!(read.iter().sum::<u64>(), 32 * 8);
    assert!(read.iter().all(|mib| *mib <= SLICE_MIB), "{read:?}");
}

#[test]
fn notifications_again_and_again_move_no_more_in_a_slice() {
    let mut code = driver(0, 32, READ);
    let halt = code.windows(4).position(|c| c == [0xfb, 0xf4, 0xeb, 0xfd]).unwrap();
    let mut again = vec![0x66, 0x81, 0x05]; // add word [available.idx], 4
    again.extend((AVAILABLE + 2).to_le_bytes());
    again.extend([4, 0]);
    put(&mut again, VIRTIO_MMIO + 0x50, 0);
    again.extend([0xeb, (-(again.len() as i8) - 2) as u8]); // jmp again
    code[halt..halt + again.len()].copy_from_slice(&again);
    let setup = 15;
    code[halt - 20..halt].fill(0x90); // the first request is one of those
    let disk = Zeros::default();
    let mut m = with_disk(&code, disk.clone());
    assert_eq!(m.run(at(0), setup + 100), Exit::Budget);
    let mib = disk.0.borrow().0 >> 20;
    assert!((32..=SLICE_MIB).contains(&mib), "{mib} MiB");
    assert!(m.stats().insns >= 100, "the guest goes on meanwhile");
}
