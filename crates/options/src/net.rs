//! `-netdev`, `-nic` and `-device virtio-net-pci`: the network's options, as in QEMU's "Network options".

use crate::{OptionError, Value, set};
use std::net::Ipv4Addr;

/// Networks and cards of one machine at most.
pub const NETS_MAX: usize = 8;

/// What is at the other end of a card's cable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Netdev {
    /// `user`: a network of its own, whose gateway passes connections on to the host.
    User(UserNet),
    /// `socket,mcast=`: raw frames, shared with every machine that names the same group.
    Lan(LanNet),
}

/// A [`Netdev`] and the name by which a card finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedNet {
    pub id: String,
    pub net: Netdev,
}

/// A card, plugged into the `Netdev` of name `netdev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetCard {
    pub netdev: String,
    pub mac: [u8; 6],
}

/// `-netdev user`; the addresses are QEMU's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserNet {
    /// The network's number, and how many leading bits of an address are that.
    pub net: Ipv4Addr,
    pub prefix: u8,
    /// The gateway, which also stands for the host itself.
    pub host: Ipv4Addr,
    pub dns: Ipv4Addr,
    /// The first address that DHCP gives away.
    pub dhcp_start: Ipv4Addr,
    /// Nothing goes out, and only what `forwards` names comes in.
    pub restrict: bool,
    /// The name that DHCP gives the guest.
    pub hostname: Option<String>,
    pub forwards: Vec<Forward>,
    /// The WebSocket address of a wisp relay, through which everything goes.
    pub relay: Option<String>,
    pub proxy: Proxy,
}

/// What becomes of HTTP in a page that has no relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// It is refused, as every other connection is.
    Off,
    /// The page fetches it from an `http:` address.
    Http,
    /// The page fetches it from the `https:` address of the same name: a page that came by https may fetch no other.
    #[default]
    Https,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// `hostfwd=`: what arrives at the host's address goes to the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    pub protocol: Protocol,
    pub host: (Ipv4Addr, u16),
    /// `None`: the first address that DHCP gives away.
    pub guest: (Option<Ipv4Addr>, u16),
}

/// `-netdev socket,mcast=GROUP:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanNet {
    pub group: Ipv4Addr,
    pub port: u16,
}

impl Default for UserNet {
    fn default() -> Self {
        Self {
            net: Ipv4Addr::new(10, 0, 2, 0),
            prefix: 24,
            host: Ipv4Addr::new(10, 0, 2, 2),
            dns: Ipv4Addr::new(10, 0, 2, 3),
            dhcp_start: Ipv4Addr::new(10, 0, 2, 15),
            restrict: false,
            hostname: None,
            forwards: Vec::new(),
            relay: None,
            proxy: Proxy::default(),
        }
    }
}

impl UserNet {
    /// The network's mask.
    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask_bits(self.prefix))
    }

    /// Whether `addr` is a host's of this network: neither its number nor its broadcast address.
    pub fn contains(&self, addr: Ipv4Addr) -> bool {
        let host = addr.to_bits() & !mask_bits(self.prefix);
        addr.to_bits() ^ host == self.net.to_bits() && host != 0 && host != !mask_bits(self.prefix)
    }

    /// The address of the whole network.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.net.to_bits() | !mask_bits(self.prefix))
    }
}

fn mask_bits(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

/// The networks and cards that the options have named so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub nets: Vec<NamedNet>,
    pub cards: Vec<NetCard>,
}

const USER_KEYS: &[&str] =
    &["id", "net", "host", "dns", "dhcpstart", "restrict", "hostname", "hostfwd", "relay", "proxy", "ipv4", "ipv6"];
const LAN_KEYS: &[&str] = &["id", "mcast"];
const MODELS: &[&str] = &["virtio-net-pci"];

impl Network {
    /// `-netdev TYPE,id=ID,..`.
    pub(crate) fn netdev(&mut self, v: Value<'_>) -> Result<(), OptionError> {
        let pairs: Vec<_> = v.parts("type").collect();
        let id =
            find(&pairs, "id").ok_or_else(|| v.bad("it needs a name: `id=NAME`, which a card's `netdev=` gives"))?;
        self.add_net(v, id, &pairs)
    }

    /// `-nic TYPE,model=virtio-net-pci,mac=..,..`: a network and its card in one.
    pub(crate) fn nic(&mut self, v: Value<'_>) -> Result<(), OptionError> {
        let mut pairs: Vec<_> = v.parts("type").collect();
        if pairs == [("type", "none")] {
            return Ok(());
        }
        let id = find(&pairs, "id").map_or_else(|| format!("nic{}", self.nets.len()), str::to_owned);
        let model = find(&pairs, "model").unwrap_or(MODELS[0]);
        if !MODELS.contains(&model) && model != "virtio" {
            return Err(v.unsupported(model, MODELS));
        }
        let mac = find(&pairs, "mac").map(str::to_owned);
        pairs.retain(|(key, _)| !["model", "mac"].contains(key));
        self.add_net(v, &id, &pairs)?;
        self.add_card(v, &id, mac.as_deref())
    }

    /// `-device virtio-net-pci,netdev=ID,mac=..`: the properties after the driver's name.
    pub(crate) fn device(&mut self, v: Value<'_>, properties: &[(&str, &str)]) -> Result<(), OptionError> {
        const KEYS: &[&str] = &["netdev", "mac", "id"];
        if let Some((key, _)) = properties.iter().find(|(key, _)| !KEYS.contains(key)) {
            return Err(v.unsupported(key, KEYS));
        }
        let netdev = find(properties, "netdev").ok_or_else(|| v.bad("it needs `netdev=ID` of a `-netdev`"))?;
        self.add_card(v, netdev, find(properties, "mac"))
    }

    /// Every card has its network, and every network its card.
    pub(crate) fn check(&self) -> Result<(), OptionError> {
        let bad = |option, given: &str, reason| {
            Err(OptionError::BadValue { option, given: given.to_owned(), reason: String::from(reason) })
        };
        for card in &self.cards {
            if !self.nets.iter().any(|net| net.id == card.netdev) {
                return bad(
                    "-device",
                    &format!("virtio-net-pci,netdev={}", card.netdev),
                    "there is no `-netdev` of this id",
                );
            }
        }
        for net in &self.nets {
            match self.cards.iter().filter(|card| card.netdev == net.id).count() {
                0 => return bad("-netdev", &net.id, "no card uses it: add `-device virtio-net-pci,netdev=ID`"),
                1 => {}
                _ => return bad("-netdev", &net.id, "one card can use it; this is the network of several"),
            }
        }
        Ok(())
    }

    fn add_net(&mut self, v: Value<'_>, id: &str, pairs: &[(&str, &str)]) -> Result<(), OptionError> {
        if self.nets.iter().any(|net| net.id == id) {
            return Err(v.bad(format!("there is a network `{id}` already")));
        }
        if self.nets.len() == NETS_MAX {
            return Err(v.bad(format!("there can be {NETS_MAX} networks")));
        }
        let net = match pairs.first() {
            Some(("type", "user")) => Netdev::User(user(v, &pairs[1..])?),
            Some(("type", "socket")) => Netdev::Lan(lan(v, &pairs[1..])?),
            other => return Err(v.unsupported(other.map_or("", |(_, kind)| kind), &["user", "socket"])),
        };
        self.nets.push(NamedNet { id: id.to_owned(), net });
        Ok(())
    }

    fn add_card(&mut self, v: Value<'_>, netdev: &str, given: Option<&str>) -> Result<(), OptionError> {
        let mac = match given {
            // QEMU numbers its cards from here.
            None => [0x52, 0x54, 0, 0x12, 0x34, 0x56 + self.cards.len() as u8],
            Some(text) => mac(text).ok_or_else(|| {
                v.bad(format!("mac={text}: give a card's own address, six bytes like 52:54:00:12:34:56"))
            })?,
        };
        if self.cards.iter().any(|card| card.mac == mac) {
            return Err(v.bad("another card has this address already"));
        }
        self.cards.push(NetCard { netdev: netdev.to_owned(), mac });
        Ok(())
    }
}

fn find<'a>(pairs: &[(&str, &'a str)], key: &str) -> Option<&'a str> {
    pairs.iter().rev().find(|(k, _)| *k == key).map(|(_, value)| *value)
}

/// A unicast address of six bytes in hexadecimal.
fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|p| p.len() <= 2 && !p.starts_with('+'))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    (parts.next().is_none() && bytes[0] & 1 == 0 && bytes != [0; 6]).then_some(bytes)
}

fn user(v: Value<'_>, pairs: &[(&str, &str)]) -> Result<UserNet, OptionError> {
    let mut user = UserNet::default();
    let net = find(pairs, "net").map(|text| network(v, text)).transpose()?;
    if let Some((net, prefix)) = net {
        let host = |n: u32| Ipv4Addr::from_bits(net.to_bits() | n);
        (user.net, user.prefix) = (net, prefix);
        (user.host, user.dns, user.dhcp_start) = (host(2), host(3), host(15));
    }
    for (key, value) in pairs {
        match *key {
            "id" | "net" => {}
            "host" => user.host = addr(v, key, value)?,
            "dns" => user.dns = addr(v, key, value)?,
            "dhcpstart" => user.dhcp_start = addr(v, key, value)?,
            "restrict" => user.restrict = on_off(v, key, value)?,
            "ipv4" if on_off(v, key, value)? => {}
            "ipv6" if !on_off(v, key, value)? => {}
            "ipv4" | "ipv6" => return Err(v.bad(format!("{key}={value}: the network has IPv4 and no IPv6 yet"))),
            "hostname" => user.hostname = Some(hostname(v, value)?),
            "hostfwd" => user.forwards.push(forward(v, value)?),
            "relay" => user.relay = Some(relay(v, value)?),
            "proxy" => set(&mut user.proxy, proxy(v, value))?,
            _ => return Err(v.unsupported(key, USER_KEYS)),
        }
    }
    for (key, addr) in [("host", user.host), ("dns", user.dns), ("dhcpstart", user.dhcp_start)] {
        if !user.contains(addr) {
            return Err(v.bad(format!("{key}={addr} is no address of the network {}/{}", user.net, user.prefix)));
        }
    }
    if user.host == user.dns || user.dhcp_start == user.host || user.dhcp_start == user.dns {
        return Err(v.bad("host, dns and dhcpstart must be three different addresses"));
    }
    Ok(user)
}

/// `ADDR[/MASK]`, where the mask is a number of bits or an address; without one, that of the address's old class as in QEMU.
fn network(v: Value<'_>, text: &str) -> Result<(Ipv4Addr, u8), OptionError> {
    let (net, mask) = text.split_once('/').map_or((text, None), |(net, mask)| (net, Some(mask)));
    let net = addr(v, "net", net)?;
    let class = match net.octets()[0] {
        10 => Some(24), // not 8: QEMU's network is 10.0.2.0/24
        0..=127 => Some(8),
        128..=191 => Some(16),
        _ => Some(24),
    };
    let dotted = |mask: &str| {
        let bits = mask.parse::<Ipv4Addr>().ok()?.to_bits();
        (bits.count_zeros() == bits.trailing_zeros()).then(|| bits.leading_ones() as u8)
    };
    let prefix = mask.map_or(class, |mask| mask.parse::<u8>().ok().or_else(|| dotted(mask)));
    match prefix {
        // Room for gateway, name server and QEMU's first guest.
        Some(prefix @ 8..=27) => Ok((Ipv4Addr::from_bits(net.to_bits() & mask_bits(prefix)), prefix)),
        _ => Err(v.bad(format!("net={text}: give a network of 8 to 27 bits, like 192.168.76.0/24"))),
    }
}

fn addr(v: Value<'_>, key: &str, text: &str) -> Result<Ipv4Addr, OptionError> {
    text.parse().map_err(|_| v.bad(format!("{key}={text}: give an IPv4 address like 10.0.2.2")))
}

fn on_off(v: Value<'_>, key: &str, text: &str) -> Result<bool, OptionError> {
    match text {
        "on" | "yes" | "y" | "true" | "" => Ok(true),
        "off" | "no" | "n" | "false" => Ok(false),
        _ => Err(v.bad(format!("{key}={text}: give on or off"))),
    }
}

fn hostname(v: Value<'_>, text: &str) -> Result<String, OptionError> {
    let label = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.';
    match text.len() {
        1..=63 if text.bytes().all(label) => Ok(text.to_owned()),
        _ => Err(v.bad(format!("hostname={text}: give 1 to 63 letters, digits, dots and hyphens"))),
    }
}

fn relay(v: Value<'_>, text: &str) -> Result<String, OptionError> {
    match text.starts_with("wss://") || text.starts_with("ws://") {
        true => Ok(text.to_owned()),
        false => Err(v.bad(format!("relay={text}: give the address of a wisp relay, like wss://relay.example/wisp/"))),
    }
}

fn proxy(v: Value<'_>, text: &str) -> Result<Proxy, OptionError> {
    match text {
        "off" => Ok(Proxy::Off),
        "http" => Ok(Proxy::Http),
        "https" => Ok(Proxy::Https),
        _ => Err(v.bad(format!("proxy={text}: give http, https or off"))),
    }
}

/// `[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT`.
fn forward(v: Value<'_>, text: &str) -> Result<Forward, OptionError> {
    let parsed = || {
        let (host, guest) = text.split_once('-')?;
        let (protocol, host) = host.split_once(':')?;
        let protocol = match protocol {
            "" | "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        let end = |text: &str| {
            let (addr, port) = text.split_once(':')?;
            let addr = if addr.is_empty() { None } else { Some(addr.parse::<Ipv4Addr>().ok()?) };
            Some((addr, port.parse::<u16>().ok()?))
        };
        let (host, guest) = (end(host)?, end(guest)?);
        let host = (host.0.unwrap_or(Ipv4Addr::UNSPECIFIED), host.1);
        (guest.1 != 0).then_some(Forward { protocol, host, guest })
    };
    parsed().ok_or_else(|| {
        v.bad(format!("hostfwd={text}: give tcp:HOSTADDR:HOSTPORT-GUESTADDR:GUESTPORT, like tcp:127.0.0.1:2222-:22"))
    })
}

fn lan(v: Value<'_>, pairs: &[(&str, &str)]) -> Result<LanNet, OptionError> {
    if let Some((key, _)) = pairs.iter().find(|(key, _)| !LAN_KEYS.contains(key)) {
        return Err(v.unsupported(key, LAN_KEYS));
    }
    let text = find(pairs, "mcast").ok_or_else(|| v.bad("give the group that is shared: `mcast=230.0.0.1:1234`"))?;
    let parsed = text.split_once(':').and_then(|(group, port)| {
        let group = group.parse::<Ipv4Addr>().ok().filter(Ipv4Addr::is_multicast)?;
        Some(LanNet { group, port: port.parse().ok().filter(|port| *port != 0)? })
    });
    parsed.ok_or_else(|| v.bad(format!("mcast={text}: give a multicast address and a port, like 230.0.0.1:1234")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn network(args: &str) -> Result<Network, String> {
        let args = format!("-kernel k {args}");
        parse(args.split_whitespace()).map(|config| config.network).map_err(|e| e.to_string())
    }

    fn user(options: &str) -> UserNet {
        match network(&format!("-nic user{options}")).expect(options).nets.remove(0).net {
            Netdev::User(user) => user,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn there_is_no_network_unless_asked_for() {
        assert_eq!(network(""), Ok(Network::default()));
        assert_eq!(network("-nic none"), Ok(Network::default()));
    }

    #[test]
    fn a_network_and_its_card() {
        let want = Network {
            nets: vec![NamedNet { id: "n".into(), net: Netdev::User(UserNet::default()) }],
            cards: vec![NetCard { netdev: "n".into(), mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56] }],
        };
        assert_eq!(network("-netdev user,id=n -device virtio-net-pci,netdev=n"), Ok(want.clone()));
        assert_eq!(network("-device virtio-net-pci,netdev=n -netdev user,id=n"), Ok(want.clone()));
        assert_eq!(network("-nic user,id=n,model=virtio-net-pci"), Ok(want));
        let two = network("-nic user -nic socket,mcast=230.0.0.1:1234,mac=02:00:00:00:00:01").unwrap();
        assert_eq!(two.nets[1].net, Netdev::Lan(LanNet { group: Ipv4Addr::new(230, 0, 0, 1), port: 1234 }));
        assert_eq!(two.cards[1].mac, [2, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn addresses_follow_the_network() {
        let net = user(",net=192.168.76.0/24,dns=192.168.76.9");
        assert_eq!((net.net, net.prefix), (Ipv4Addr::new(192, 168, 76, 0), 24));
        assert_eq!((net.host, net.dns), (Ipv4Addr::new(192, 168, 76, 2), Ipv4Addr::new(192, 168, 76, 9)));
        assert_eq!(net.dhcp_start, Ipv4Addr::new(192, 168, 76, 15));
        assert_eq!(net.broadcast(), Ipv4Addr::new(192, 168, 76, 255));
        assert_eq!(user(",net=10.1.0.0/255.255.0.0").mask(), Ipv4Addr::new(255, 255, 0, 0));
        assert!(net.contains(net.host) && !net.contains(net.net) && !net.contains(net.broadcast()));
    }

    #[test]
    fn forwards() {
        let net = user(",hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp::53-10.0.2.20:5353,restrict=on,hostname=a-b");
        let want = [
            Forward { protocol: Protocol::Tcp, host: (Ipv4Addr::LOCALHOST, 2222), guest: (None, 22) },
            Forward {
                protocol: Protocol::Udp,
                host: (Ipv4Addr::UNSPECIFIED, 53),
                guest: (Some(Ipv4Addr::new(10, 0, 2, 20)), 5353),
            },
        ];
        assert_eq!(net.forwards, want);
        assert!(net.restrict && net.hostname.as_deref() == Some("a-b"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (args, part) in [
            ("-netdev user", "`id=NAME`"),
            ("-netdev tap,id=n", "`tap` is not supported"),
            ("-netdev user,id=n", "no card uses it"),
            ("-device virtio-net-pci,netdev=x", "no `-netdev` of this id"),
            ("-nic user,guestfwd=tcp:10.0.2.100:1-cmd:cat", "`guestfwd` is not supported"),
            ("-nic user,smb=/x", "`smb` is not supported"),
            ("-nic user,model=e1000", "`e1000` is not supported"),
            ("-nic user,mac=53:00:00:00:00:01", "mac=53:00:00:00:00:01"),
            ("-nic user,net=10.0.2.0/30", "net=10.0.2.0/30"),
            ("-nic user,dns=10.0.3.1", "dns=10.0.3.1 is no address of the network"),
            ("-nic user,dns=10.0.2.2", "three different"),
            ("-nic user,hostfwd=tcp::80-:99999", "hostfwd=tcp::80-:99999"),
            ("-nic user,ipv6=on", "no IPv6"),
            ("-nic user,relay=http://x", "wss://"),
            ("-nic user,restrict=maybe", "give on or off"),
            ("-nic socket,mcast=10.0.0.1:5", "multicast address"),
            ("-nic user,id=a -nic user,id=a", "`a` already"),
        ] {
            let message = network(args).expect_err(args);
            assert!(message.contains(part), "{args}: {message}");
        }
    }
}
