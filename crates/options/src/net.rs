//! `-netdev`, `-nic` and `-device virtio-net-pci`: the network's options, as in QEMU's "Network options".

use crate::devices::{self, DeviceOptions, Model};
use crate::properties::Properties;
use crate::{Config, OptionError, Parser, Value};
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

const MODELS: &[&str] = &["virtio-net-pci", "virtio"];

/// `-netdev TYPE,id=ID,..`.
pub fn netdev(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    let mut keys = Properties::new(v, "type");
    let id = keys.need("id")?;
    add(p, v, keys, id)
}

/// `-nic TYPE,model=virtio-net-pci,mac=..,..`: a network and its card in one.
pub fn nic(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    if v.text == "none" {
        return Ok(());
    }
    let mut keys = Properties::new(v, "type");
    let netdev = keys.take("id").unwrap_or_else(|| format!("nic{}", p.config.nets.len()));
    keys.choice("model", MODELS)?;
    let mac = address(p, &mut keys)?;
    add(p, v, keys, netdev.clone())?;
    devices::plug(p, v, Model::Net { netdev, mac });
    Ok(())
}

/// `-device virtio-net-pci,netdev=ID,mac=..`: what is left after the driver's name.
pub fn card(p: &mut Parser, keys: &mut Properties<'_>) -> Result<Model, OptionError> {
    Ok(Model::Net { netdev: keys.need("netdev")?, mac: address(p, keys)? })
}

/// Every card has its network, and every network its card.
pub fn check(config: &Config) -> Result<(), OptionError> {
    let bad =
        |option, given: String, reason| Err(OptionError::BadValue { option, given, reason: String::from(reason) });
    let netdev = |device: &DeviceOptions| match &device.model {
        Model::Net { netdev, .. } => Some(netdev.clone()),
        _ => None,
    };
    let used: Vec<_> = config.devices.iter().filter_map(netdev).collect();
    if let Some(netdev) = used.iter().find(|id| config.nets.iter().all(|net| net.id != **id)) {
        return bad("-device", format!("virtio-net-pci,netdev={netdev}"), "there is no `-netdev` with this id");
    }
    for net in &config.nets {
        match used.iter().filter(|id| **id == net.id).count() {
            0 => return bad("-netdev", net.id.clone(), "no card uses it: add `-device virtio-net-pci,netdev=ID`"),
            1 => {}
            _ => return bad("-netdev", net.id.clone(), "several cards use it; each needs a network of its own"),
        }
    }
    Ok(())
}

fn add(p: &mut Parser, v: Value<'_>, mut keys: Properties<'_>, id: String) -> Result<(), OptionError> {
    if p.config.nets.iter().any(|net| net.id == id) {
        return Err(v.bad(format!("there are two networks with id={id}")));
    }
    if p.config.nets.len() == NETS_MAX {
        return Err(v.bad(format!("there can be {NETS_MAX} networks")));
    }
    let net = match keys.choice("type", &["user", "socket"])? {
        Some("user") => Netdev::User(user(v, &mut keys)?),
        Some(_) => Netdev::Lan(lan(v, &mut keys)?),
        None => return Err(v.bad("the first element is the network's type: user or socket")),
    };
    keys.finish()?;
    p.config.nets.push(NamedNet { id, net });
    Ok(())
}

/// `mac=`, or the address that QEMU would give.
fn address(p: &Parser, keys: &mut Properties<'_>) -> Result<[u8; 6], OptionError> {
    let mac_of = |device: &devices::Plugged| match device.model() {
        Model::Net { mac, .. } => Some(*mac),
        _ => None,
    };
    let used: Vec<_> = p.plugged.iter().filter_map(mac_of).collect();
    let mac = match keys.take("mac") {
        None => (0x56..=0xff)
            .map(|last| [0x52, 0x54, 0, 0x12, 0x34, last])
            .find(|mac| !used.contains(mac))
            .ok_or_else(|| keys.bad("no address is left; give `mac=`"))?,
        Some(text) => mac(&text).ok_or_else(|| {
            keys.bad(format!("mac={text}: give a card's own address, six bytes like 52:54:00:12:34:56"))
        })?,
    };
    match used.contains(&mac) {
        true => Err(keys.bad("another card has this address already")),
        false => Ok(mac),
    }
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

fn user(v: Value<'_>, keys: &mut Properties<'_>) -> Result<UserNet, OptionError> {
    let mut user = UserNet::default();
    if let Some(text) = keys.take("net") {
        (user.net, user.prefix) = network(v, &text)?;
        let host = |n: u32| Ipv4Addr::from_bits(user.net.to_bits() | n);
        (user.host, user.dns, user.dhcp_start) = (host(2), host(3), host(15));
    }
    let addrs = [("host", &mut user.host), ("dns", &mut user.dns), ("dhcpstart", &mut user.dhcp_start)];
    for (key, place) in addrs {
        if let Some(text) = keys.take(key) {
            *place = addr(v, key, &text)?;
        }
    }
    user.restrict = keys.switch("restrict")?.unwrap_or(false);
    if keys.switch("ipv4")? == Some(false) || keys.switch("ipv6")? == Some(true) {
        return Err(v.bad("the network has IPv4 and no IPv6 yet"));
    }
    user.hostname = keys.take("hostname").map(|text| hostname(v, &text)).transpose()?;
    user.forwards = keys.take_all("hostfwd").iter().map(|text| forward(v, text)).collect::<Result<_, _>>()?;
    user.relay = keys.take("relay").map(|text| relay(v, &text)).transpose()?;
    user.proxy = match keys.choice("proxy", &["https", "http", "off"])? {
        Some("off") => Proxy::Off,
        Some("http") => Proxy::Http,
        _ => Proxy::Https,
    };
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

fn lan(v: Value<'_>, keys: &mut Properties<'_>) -> Result<LanNet, OptionError> {
    let text = keys.need("mcast")?;
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

    fn config(args: &str) -> Result<Config, String> {
        let args = format!("-kernel k {args}");
        parse(args.split_whitespace()).map_err(|e| e.to_string())
    }

    /// The networks, and the cards.
    fn network(args: &str) -> (Vec<NamedNet>, Vec<Model>) {
        let config = config(args).expect(args);
        (config.nets, config.devices.into_iter().map(|device| device.model).collect())
    }

    fn user(options: &str) -> UserNet {
        match network(&format!("-nic user{options}")).0.remove(0).net {
            Netdev::User(user) => user,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn there_is_no_network_unless_asked_for() {
        assert_eq!(network(""), (vec![], vec![]));
        assert_eq!(network("-nic none"), (vec![], vec![]));
    }

    #[test]
    fn a_network_and_its_card() {
        let nets = vec![NamedNet { id: "n".into(), net: Netdev::User(UserNet::default()) }];
        let want = (nets, vec![Model::Net { netdev: "n".into(), mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56] }]);
        assert_eq!(network("-netdev user,id=n -device virtio-net-pci,netdev=n"), want);
        assert_eq!(network("-device virtio-net-pci,netdev=n -netdev user,id=n"), want);
        assert_eq!(network("-nic user,id=n,model=virtio-net-pci"), want);
        let (nets, cards) = network("-nic user -nic socket,mcast=230.0.0.1:1234,mac=02:00:00:00:00:01");
        assert_eq!(nets[1].net, Netdev::Lan(LanNet { group: Ipv4Addr::new(230, 0, 0, 1), port: 1234 }));
        assert_eq!(cards[1], Model::Net { netdev: "nic1".into(), mac: [2, 0, 0, 0, 0, 1] });
    }

    /// As QEMU 7.2 gives them (`info network`).
    #[test]
    fn an_address_that_is_not_given_is_the_first_free_one() {
        let macs = |a: &str, b: &str| {
            let cards = network(&format!("-nic user{a} -nic user{b}")).1;
            [0, 1].map(|n| match cards[n] {
                Model::Net { mac, .. } => mac[5],
                _ => panic!("{cards:?}"),
            })
        };
        assert_eq!(macs("", ""), [0x56, 0x57]);
        assert_eq!(macs(",mac=52:54:00:12:34:57", ""), [0x57, 0x56]);
        assert_eq!(macs(",mac=52:54:00:12:34:56", ""), [0x56, 0x57]);
        assert_eq!(macs(",mac=02:00:00:00:00:01", ""), [0x01, 0x56]);
        let many = "-device virtio-net-pci,netdev=n ".repeat(200);
        assert!(config(&many).unwrap_err().contains("virtio-net-pci,netdev=n"));
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
            ("-netdev user", "give `id=`"),
            ("-netdev tap,id=n", "`tap` is not supported"),
            ("-netdev user,id=n", "no card uses it"),
            ("-device virtio-net-pci,netdev=x", "no `-netdev` with this id"),
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
            ("-nic user,id=a -nic user,id=a", "two networks with id=a"),
        ] {
            let message = config(args).expect_err(args);
            assert!(message.contains(part), "{args}: {message}");
        }
    }
}
