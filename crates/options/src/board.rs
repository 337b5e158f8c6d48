//! What the machine itself is: its RAM, CPUs, serial port, and how code is translated.

use super::*;

/// `-m`: QEMU's size grammar, where a number without a suffix is MiB.
pub fn ram(v: Value<'_>) -> Result<u64, OptionError> {
    let mut bytes = None;
    for (key, value) in v.parts("size") {
        match key {
            "size" => bytes = Some(size(value, MIB).ok_or_else(|| v.bad("not a size; give one like 512, 512M or 1G"))?),
            _ => return Err(v.unsupported(key, &["size"])),
        }
    }
    let bytes = bytes.unwrap_or(0).checked_next_multiple_of(8192).unwrap_or(u64::MAX);
    match bytes {
        ..RAM_MIN => Err(v.bad("too little RAM: the least is 64M")),
        RAM_MIN..=RAM_MAX => Ok(bytes),
        _ => Err(v.bad("too much RAM: the most is 3G")),
    }
}

/// A number with an optional fraction and one of QEMU's suffixes (B, K, M, G, T; powers of 1024), in bytes.
fn size(text: &str, default_unit: u64) -> Option<u64> {
    let (number, unit) = match text.as_bytes().last()? {
        b'b' | b'B' => (&text[..text.len() - 1], 1),
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        b'g' | b'G' => (&text[..text.len() - 1], 1 << 30),
        b't' | b'T' => (&text[..text.len() - 1], 1 << 40),
        _ => (text, default_unit),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.len() <= 18 && s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let fraction = match fraction {
        "" => 0,
        f => u128::from(f.parse::<u64>().ok()?) * u128::from(unit) / 10u128.pow(f.len() as u32),
    };
    whole.checked_add(fraction as u64)
}

/// `-M`, `-machine`: the board, and what `-accel` says.
pub fn machine(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    for (key, value) in v.parts("type") {
        match (key, value) {
            ("type", "pc") => {}
            ("type", _) => return Err(v.unsupported(value, &["pc"])),
            ("accel", _) => accel(p, Value { option: v.option, text: value })?,
            _ => return Err(v.unsupported(key, &["type", "accel"])),
        }
    }
    Ok(())
}

/// `-cpu`.
pub fn cpu(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    let (model, features) = v.text.split_once(',').map_or((v.text, None), |(m, f)| (m, Some(f)));
    if model != "max" {
        return Err(v.unsupported(model, &["max"]));
    }
    match features {
        Some(f) => Err(v.bad(format!("`{f}`: features cannot be switched one by one; give `-cpu max`"))),
        None => set(&mut p.config.cpu, Ok(CpuModel::Max)),
    }
}

/// `-smp`.
pub fn smp(v: Value<'_>) -> Result<(), OptionError> {
    const KEYS: &[&str] = &["cpus", "maxcpus", "sockets", "dies", "cores", "threads"];
    for (key, value) in v.parts("cpus") {
        if !KEYS.contains(&key) {
            return Err(v.unsupported(key, KEYS));
        }
        match value.parse::<u32>() {
            Ok(1) => {}
            Ok(_) => return Err(v.bad("the machine has one CPU; give `-smp 1`")),
            Err(_) => return Err(v.bad(format!("`{value}` is not a number; give `-smp 1`"))),
        }
    }
    Ok(())
}

/// `-accel`.
pub fn accel(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    for (key, value) in v.parts("accel") {
        match (key, value) {
            ("accel", "tcg") | ("thread", "single") => {}
            ("accel", _) => return Err(v.unsupported(value, &["tcg"])),
            ("thread", _) => return Err(v.unsupported(&format!("thread={value}"), &["thread=single"])),
            ("tb-size", _) => match value.parse::<u32>() {
                Ok(mib @ 2..=1024) => p.config.tb_size_mib = Some(mib),
                _ => return Err(v.bad("tb-size is a number of MiB from 2 to 1024")),
            },
            _ => return Err(v.unsupported(key, &["accel", "thread", "tb-size"])),
        }
    }
    Ok(())
}

/// `-serial`.
pub fn serial(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    if std::mem::replace(&mut p.serial_given, true) {
        return Err(v.bad("there is one serial port; give `-serial` once"));
    }
    let serial = match v.one_of(&["stdio", "mon:stdio", "none"])? {
        "stdio" => Serial::Stdio,
        "none" => Serial::None,
        _ => Serial::MonStdio,
    };
    set(&mut p.config.serial, Ok(serial))
}
