use super::*;

fn words(line: &str) -> Result<Config, OptionError> {
    parse(line.split_whitespace())
}

fn message(line: &str) -> String {
    words(line).expect_err(line).to_string()
}

fn ram_of(m: &str) -> Result<u64, OptionError> {
    parse(["-kernel", "k", "-m", m]).map(|c| c.ram_bytes)
}

#[test]
fn the_defaults_are_qemus() {
    let c = words("-kernel vmlinuz").unwrap();
    let want = Config {
        ram_bytes: 128 << 20,
        kernel: "vmlinuz".into(),
        initrd: None,
        append: String::new(),
        cpu: CpuModel::Max,
        serial: Serial::MonStdio,
        no_reboot: false,
        tb_size_mib: None,
        drives: Vec::new(),
        shares: Vec::new(),
        devices: Vec::new(),
        nets: Vec::new(),
    };
    assert_eq!(c, want);
}

#[test]
fn everything_at_once() {
    let args = [
        "-M",
        "pc,accel=tcg",
        "-cpu",
        "max",
        "-smp",
        "cpus=1,cores=1",
        "-m",
        "size=1G",
        "-accel",
        "tcg,thread=single,tb-size=64",
        "-kernel",
        "a/vmlinuz",
        "-initrd",
        "b.cpio.gz",
        "-append",
        "console=ttyS0 root=/dev/ram,x",
        "-nographic",
        "-display",
        "none",
        "-serial",
        "stdio",
        "--no-reboot",
    ];
    let want = Config {
        ram_bytes: 1 << 30,
        kernel: "a/vmlinuz".into(),
        initrd: Some("b.cpio.gz".into()),
        append: "console=ttyS0 root=/dev/ram,x".into(),
        cpu: CpuModel::Max,
        serial: Serial::Stdio,
        no_reboot: true,
        tb_size_mib: Some(64),
        drives: Vec::new(),
        shares: Vec::new(),
        devices: Vec::new(),
        nets: Vec::new(),
    };
    assert_eq!(parse(args).unwrap(), want);
}

#[test]
fn sizes_as_qemu_reads_them() {
    for (text, want) in [
        ("512", 512 * MIB),
        ("512M", 512 * MIB),
        ("512m", 512 * MIB),
        ("1G", 1 << 30),
        ("1.5G", 1536 * MIB),
        ("size=65536K", 64 * MIB),
        ("67108864B", 64 * MIB),
        ("67108865b", 64 * MIB + 8192),
        ("3G", 3 << 30),
    ] {
        assert_eq!(ram_of(text), Ok(want), "{text}");
    }
}

#[test]
fn sizes_that_are_none() {
    for text in ["", "M", ".5G", "1.", "1.2.3", "-1", "0x200", "1GiB", "1e3", "18446744073709551616", "16777216T"] {
        let e = ram_of(text).expect_err(text).to_string();
        assert!(e.contains("not a size"), "{text}: {e}");
    }
    assert!(message("-kernel k -m 63").contains("the least is 64M"));
    assert!(message("-kernel k -m 3073M").contains("the most is 3G"));
    assert!(message("-kernel k -m 16777215T").contains("the most is 3G"));
    assert!(message("-kernel k -m 1G,slots=2").contains("`slots` is not supported"));
}

#[test]
fn unknown_options_name_the_nearest() {
    for (given, nearest) in [
        ("-kernal", "-kernel"),
        ("-noreboot", "-no-reboot"),
        ("--nographics", "-nographic"),
        ("-serials", "-serial"),
        ("-initramfs", "-initrd"),
    ] {
        let e = message(&format!("{given} x"));
        assert!(e.contains(&format!("`{given}`")), "{e}");
        assert!(e.contains(&format!("nearest supported option is `{nearest}`")), "{e}");
    }
    assert!(matches!(words("-driv file=x"), Err(OptionError::Unknown { .. })));
    assert!(matches!(words("disk.img"), Err(OptionError::Positional { .. })));
    assert!(matches!(words("-"), Err(OptionError::Unknown { .. })));
    assert!(matches!(words("---kernel k"), Err(OptionError::Unknown { .. })));
}

#[test]
fn unsupported_values_name_the_nearest() {
    for (line, part, nearest) in [
        ("-M q35", "q35", "pc"),
        ("-machine type=microvm", "microvm", "pc"),
        ("-M pc,accel=kvm", "kvm", "tcg"),
        ("-M pc,acel=tcg", "acel", "accel"),
        ("-cpu host", "host", "max"),
        ("-accel kvm", "kvm", "tcg"),
        ("-accel tcg,thread=multi", "thread=multi", "thread=single"),
        ("-accel tcg,tbsize=5", "tbsize", "tb-size"),
        ("-serial studio", "studio", "stdio"),
        ("-serial mon:stdo", "mon:stdo", "mon:stdio"),
        ("-display gtk", "gtk", "none"),
        ("-smp 1,core=1", "core", "cores"),
    ] {
        match words(line) {
            Err(OptionError::UnsupportedValue { part: p, nearest: n, .. }) => {
                assert_eq!((&*p, n), (part, nearest), "{line}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn bad_values_say_why() {
    for (line, why) in [
        ("-smp 2", "one CPU"),
        ("-smp 1,threads=2", "one CPU"),
        ("-smp many", "not a number"),
        ("-cpu max,-sse4.2", "features cannot be switched"),
        ("-accel tcg,tb-size=1", "2 to 1024"),
        ("-accel tcg,tb-size=big", "2 to 1024"),
        ("-serial none -serial stdio", "once"),
    ] {
        let e = message(line);
        assert!(e.contains(why), "{line}: {e}");
    }
    assert!(parse(["-kernel", ""]).unwrap_err().to_string().contains("empty"));
}

#[test]
fn what_is_missing() {
    assert_eq!(words(""), Err(OptionError::NoKernel));
    assert_eq!(words("-append x"), Err(OptionError::NeedsKernel { option: "-append" }));
    assert_eq!(words("-initrd x"), Err(OptionError::NeedsKernel { option: "-initrd" }));
    assert_eq!(words("-kernel"), Err(OptionError::MissingValue { option: "-kernel", usage: "FILE" }));
    assert_eq!(words("-kernel k -M"), Err(OptionError::MissingValue { option: "-M", usage: "pc[,accel=tcg]" }));
}

#[test]
fn the_last_of_a_repeated_option_counts() {
    assert_eq!(words("-kernel a -kernel b -m 64 -m 65").unwrap().kernel, "b");
    assert_eq!(words("-kernel a -m 64 -m 65").unwrap().ram_bytes, 65 * MIB);
}

#[test]
fn shares() {
    let short = words("-kernel k -virtfs local,path=/srv,mount_tag=t,security_model=none,readonly=on").unwrap();
    let local = |security| ShareSource::Local { path: "/srv".into(), security };
    assert_eq!(short.shares, [Share { id: "t".into(), source: local(SecurityModel::None), read_only: true }]);
    let place = Place::Pci { slot: 2 };
    let model = Model::P9 { share: 0, mount_tag: "t".into() };
    assert_eq!(short.devices, [DeviceOptions { id: None, place, model }]);
    let long = words(
        "-kernel k -fsdev memory,id=m -fsdev local,id=f,path=/srv,security_model=passthrough \
         -device virtio-9p-pci,fsdev=f,mount_tag=t",
    );
    let long = long.unwrap();
    assert_eq!(long.shares[1].source, local(SecurityModel::Passthrough));
    assert_eq!(long.devices[0].model, Model::P9 { share: 1, mount_tag: "t".into() });
    let mapped = |line: &str| words(&format!("-kernel k -virtfs local,path=/srv,mount_tag=t,{line}")).unwrap().shares;
    let modes = |file_mode, directory_mode| local(SecurityModel::MappedFile { file_mode, directory_mode });
    assert_eq!(mapped("security_model=mapped-file")[0].source, modes(0o600, 0o700));
    assert_eq!(mapped("security_model=mapped-file,fmode=0644,dmode=755")[0].source, modes(0o644, 0o755));
    for (line, why) in [
        ("-virtfs local,path=/srv,mount_tag=t", "give `security_model=none`"),
        ("-virtfs local,path=/srv,mount_tag=t,security_model=mapped", "give security_model=mapped-file"),
        ("-virtfs local,path=/srv,mount_tag=t,security_model=mapped-xattr", "have extended attributes; give"),
        ("-virtfs local,path=/srv,mount_tag=t,security_model=mapped-file,fmode=8", "`fmode=8`: give permission bits"),
        ("-virtfs local,path=/srv,mount_tag=t,security_model=mapped-file,dmode=4755", "in octal, such as 0644"),
        ("-virtfs local,path=/srv,mount_tag=t,security_model=none,fmode=644", "are for security_model=mapped-file"),
        ("-virtfs local,mount_tag=t,security_model=none", "give `path=`"),
        ("-virtfs proxy,mount_tag=t", "`proxy` is not supported"),
        ("-device virtio-9p-pci,fsdev=x,mount_tag=t", "there is no fsdev `x`"),
        ("-fsdev memory,id=a -fsdev memory,id=a", "two fsdevs"),
        ("-virtfs memory,mount_tag=t,path=/srv", "`path` is not supported"),
    ] {
        let e = message(&format!("-kernel k {line}"));
        assert!(e.contains(why), "{line}: {e}");
    }
}

#[test]
fn help_has_a_line_for_each_option() {
    let help = help();
    assert_eq!(help.lines().count(), OPTIONS.len());
    assert!(OPTIONS.iter().all(|row| help.contains(row.names[0])));
}
