use super::*;
use crate::{Config, Serial, parse};

fn words(line: &str) -> Result<Config, OptionError> {
    parse(format!("-kernel k {line}").split_whitespace())
}

fn message(line: &str) -> String {
    words(line).expect_err(line).to_string()
}

fn devices(line: &str) -> Vec<(Place, Model)> {
    words(line).unwrap().devices.into_iter().map(|d| (d.place, d.model)).collect()
}

fn blk(drive: usize) -> Model {
    Model::Blk { drive, serial: String::new(), logical_block: 512, physical_block: 512 }
}

#[test]
fn a_drive_with_its_disk_and_one_without() {
    let c = words("-drive file=a.img,if=virtio,format=raw -drive if=none,id=d1,file=b,,c.qcow2,readonly=on").unwrap();
    let a = Drive {
        file: "a.img".into(),
        id: None,
        format: Some(DriveFormat::Raw),
        read_only: false,
        snapshot: false,
        overlay: None,
        forget: false,
    };
    let b = Drive {
        file: "b,c.qcow2".into(),
        id: Some("d1".into()),
        format: None,
        read_only: true,
        snapshot: false,
        overlay: None,
        forget: false,
    };
    assert_eq!(c.drives, [a, b]);
    assert_eq!(c.devices, [DeviceOptions { id: None, place: Place::Pci { slot: 2 }, model: blk(0) }]);
    let forget = |cache: &str| words(&format!("-drive file=a,if=virtio{cache}")).unwrap().drives[0].forget;
    assert_eq!([",cache=none", ",cache=writeback", ""].map(forget), [true, false, false]);
    assert!(words("-snapshot -drive file=a,if=virtio").unwrap().drives[0].snapshot);
    let drive = "-drive file=x,if=none,id=d,snapshot";
    let device = "-device virtio-blk,drive=d,serial=ABC,logical_block_size=0x1000";
    let c = words(&format!("{drive} {device}")).unwrap();
    assert!(c.drives[0].snapshot);
    let want = Model::Blk { drive: 0, serial: "ABC".into(), logical_block: 4096, physical_block: 4096 };
    assert_eq!(c.devices[0].model, want);
}

#[test]
fn devices_have_the_places_that_are_asked_for() {
    let found = devices(
        "-device virtio-rng-pci -device virtio-balloon-pci,addr=0x2,bus=pci.0 -device virtio-rng-device \
         -device virtio-tablet,addr=1f.0 -device virtio-keyboard-pci-non-transitional,disable-legacy=on",
    );
    let pci = |slot| Place::Pci { slot };
    assert_eq!(
        found,
        [
            (pci(3), Model::Rng),
            (pci(2), Model::Balloon),
            (Place::Mmio, Model::Rng),
            (pci(31), Model::Tablet),
            (pci(4), Model::Keyboard)
        ]
    );
    let many = "-device virtio-rng-pci ".repeat(30);
    assert_eq!(devices(&many).last(), Some(&(pci(31), Model::Rng)));
    assert!(message(&format!("{many} -device virtio-rng-pci")).contains("full"));
}

#[test]
fn ports_go_into_their_device_and_the_terminal_to_one_of_them() {
    let c = words(
        "-chardev stdio,id=c -device virtio-serial-pci,id=s -device virtio-serial-pci \
         -device virtconsole,chardev=c,bus=s.0 -device virtserialport,name=org.x,bus=s.0 -device virtserialport,nr=5",
    )
    .unwrap();
    let port = |console, name: &str, chardev| Some(PortOptions { console, name: name.into(), chardev });
    let first = vec![port(true, "", Chardev::Stdio), port(false, "org.x", Chardev::Null)];
    let second = vec![None, None, None, None, None, port(false, "", Chardev::Null)];
    assert_eq!(c.devices[0].model, Model::Serial { ports: first, max_ports: 31 });
    assert_eq!(c.devices[1].model, Model::Serial { ports: second, max_ports: 31 });
    assert_eq!((c.serial, c.terminal()), (Serial::None, Serial::Stdio));
}

#[test]
fn max_ports_is_what_the_guest_is_told_and_bounds_numbers() {
    let device = "-device virtio-serial-pci,max_ports=3";
    let c = words(&format!("{device} -device virtserialport,nr=2")).unwrap();
    let Model::Serial { ports, .. } = &c.devices[0].model else { panic!("{:?}", c.devices) };
    assert_eq!(ports.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, true]);
    let Model::Serial { ports, .. } = &words(device).unwrap().devices[0].model else { panic!() };
    assert_eq!(ports.len(), 3);
    let refused = |ports: &str| message(&format!("{device} {ports}"));
    assert!(refused("-device virtserialport,nr=3").contains("nr is 1 to 2, as its device has max_ports=3"));
    assert!(refused(&"-device virtserialport ".repeat(3)).contains("nr is 1 to 2"));
    let one = message("-device virtio-serial-pci,max_ports=1 -device virtserialport");
    assert!(one.contains("number 0 is for consoles"), "{one}");
    words("-device virtio-serial-pci,max_ports=1 -device virtconsole").unwrap();
    for bad in ["0", "32"] {
        assert!(message(&format!("-device virtio-serial-pci,max_ports={bad}")).contains("max_ports is 1 to 31"));
    }
}

#[test]
fn what_cannot_be_says_why() {
    for (line, why) in [
        ("-drive file=a", "no IDE"),
        ("-drive if=virtio", "`file=`"),
        ("-drive file=a,if=scsi", "nearest supported is"),
        ("-drive file=a,if=virtio,format=vmdk", "vmdk"),
        ("-drive file=a,if=virtio,cache=unsafe", "unsafe"),
        ("-drive file=a,if=virtio,aio=native", "`aio` is not supported"),
        ("-drive file=a,if=virtio,readonly=maybe", "on or off"),
        ("-drive file=a,if=none,id=x -drive file=b,if=none,id=x", "two drives"),
        ("-hda a.img", "if=virtio"),
        ("-cdrom a.iso", "`-cdrom`"),
        ("-device virtio-blk-pci", "`drive=`"),
        ("-device virtio-blk-pci,drive=x", "no drive `x`"),
        ("-drive file=a,if=none,id=x -device virtio-blk,drive=x -device virtio-blk,drive=x", "in use"),
        ("-drive file=a,if=none,id=x -device virtio-blk,drive=x,logical_block_size=1000", "power of two"),
        ("-device virtio-rng-pci,addr=2 -device virtio-rng-pci,addr=2", "in use"),
        ("-device virtio-rng-pci,addr=20", "1 to 1f"),
        ("-device virtio-rng-pci,addr=0", "1 to 1f"),
        ("-device virtio-rng-pci,addr=2.1", "function 0"),
        ("-device virtio-rng-pci,bus=pci.1", "pci.0"),
        ("-device virtio-rng-pci,max-bytes=1", "max-bytes"),
        ("-device virtio-rng-pci-transitional", "transitional"),
        ("-device virtio-rgn-pci", "virtio-rng-pci"),
        ("-device e1000", "e1000"),
        ("-device virtio-rng,id=a -device virtio-rng,id=a", "two devices"),
        ("-device virtconsole", "virtio-serial-pci before"),
        ("-device virtio-serial -device virtconsole,chardev=c", "no character device `c`"),
        ("-device virtio-serial -device virtserialport,nr=0", "1 to 30"),
        ("-device virtio-serial -device virtconsole,nr=1 -device virtconsole,nr=1", "in use"),
        ("-device virtio-serial,id=a -device virtconsole,bus=b.0", "virtio-serial-pci before"),
        (
            "-chardev null,id=c -device virtio-serial -device virtconsole,chardev=c -device virtconsole,chardev=c",
            "`c` is in use",
        ),
        ("-chardev stdio", "`id=`"),
        ("-chardev id=c", "`backend=`"),
        ("-chardev stdio,id=c", "`-chardev c`: no port uses it"),
        ("-chardev socket,id=c", "socket"),
        ("-chardev stdio,id=a -chardev stdio,id=b", "one character device only"),
        ("-serial stdio -chardev stdio,id=a", "used twice"),
        (&"-device virtio-rng-device ".repeat(5), "at most 4"),
    ] {
        let e = message(line);
        assert!(e.contains(why), "{line}: {e}");
    }
}
