//! The name server (RFC 1035): questions for addresses are answered by the outside, others not at all.

use crate::channel::ChannelId;
use crate::link::Link;
use crate::outside::{Outside, Resolution};
use crate::udp;
use rustc_hash::FxHashMap;
use std::net::{IpAddr, SocketAddrV4};

pub const PORT: u16 = 53;
/// Questions that the host has not answered yet; more are dropped. A guest asks again if it gets no answer.
const WAITING: usize = 64;
/// Seconds for which an answer may be kept. The host does not say how long; name servers change their minds in minutes.
const TTL: u32 = 60;
/// Answers that fit a packet of 512 bytes beside the longest name.
const ANSWERS: usize = 7;
const HEADER: usize = 12;
const CLASS_IN: u16 = 1;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// The number of the record's type: A, AAAA (RFC 3596).
    fn record(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }

    fn has(self, addr: &IpAddr) -> bool {
        (self == Self::V4) == addr.is_ipv4()
    }
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Rcode {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NameError = 3,
    NotImplemented = 4,
    Refused = 5,
}

/// A question, as far as the answer repeats it.
struct Query {
    from: SocketAddrV4,
    to: SocketAddrV4,
    id: u16,
    recursion_desired: bool,
    opcode: u8,
    /// Name, type and class.
    question: Vec<u8>,
}

/// The questions that wait for an answer from outside.
#[derive(Default)]
pub struct Dns {
    /// `None`: the guest does not wait any more. A host cannot take a question back, so that it counts until it is answered.
    waiting: FxHashMap<ChannelId, Option<(Query, Family)>>,
}

impl Dns {
    /// A datagram to the name server at `to`.
    pub fn receive(
        &mut self,
        link: &mut Link,
        outside: &mut dyn Outside,
        from: SocketAddrV4,
        to: SocketAddrV4,
        payload: &[u8],
    ) {
        let Some((query, asked)) = parse(from, to, payload) else { return };
        let (name, record) = match asked {
            Ok(asked) => asked,
            Err(rcode) => return answer(link, &query, rcode, &[]),
        };
        let Some(family) = [Family::V4, Family::V6].into_iter().find(|family| family.record() == record) else {
            return answer(link, &query, Rcode::NotImplemented, &[]);
        };
        // RFC 6761, 6.3; some hosts know no `localhost`.
        if name == "localhost" {
            let addr =
                if family == Family::V4 { IpAddr::from([127, 0, 0, 1]) } else { std::net::Ipv6Addr::LOCALHOST.into() };
            return answer(link, &query, Rcode::NoError, &[addr]);
        }
        if self.waiting.len() >= WAITING {
            return;
        }
        match outside.resolve(&name, family) {
            Resolution::Known(addrs) => answer(link, &query, Rcode::NoError, &addrs),
            Resolution::Refused => answer(link, &query, Rcode::Refused, &[]),
            Resolution::Asked(id) => _ = self.waiting.insert(id, Some((query, family))),
        }
    }

    /// The outside's answer; whether it was to a question of ours.
    pub fn resolved(&mut self, link: &mut Link, id: ChannelId, addrs: Option<&[IpAddr]>) -> bool {
        let Some(asked) = self.waiting.remove(&id) else { return false };
        let Some((query, family)) = asked else { return true };
        match addrs {
            None => answer(link, &query, Rcode::ServerFailure, &[]),
            Some([]) => answer(link, &query, Rcode::NameError, &[]),
            Some(addrs) => {
                let addrs: Vec<_> = addrs.iter().copied().filter(|addr| family.has(addr)).collect();
                answer(link, &query, Rcode::NoError, &addrs);
            }
        }
        true
    }

    /// The guest does not wait any more.
    pub fn clear(&mut self) {
        self.waiting.values_mut().for_each(|asked| *asked = None);
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The query, and the name and type that it asks for; or what is wrong with it. `None`: not a query at all.
#[allow(clippy::type_complexity)]
fn parse(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Option<(Query, Result<(String, u16), Rcode>)> {
    let flags = word(payload, 2)?;
    let opcode = (flags >> 11 & 15) as u8;
    let id = word(payload, 0)?;
    let mut query = Query { from, to, id, recursion_desired: flags & 0x100 != 0, opcode, question: Vec::new() };
    if flags & 0x8000 != 0 || payload.len() < HEADER {
        return None;
    }
    if opcode != 0 {
        return Some((query, Err(Rcode::NotImplemented)));
    }
    let asked = (|| {
        let (name, end) = name(payload, HEADER)?;
        let (record, class) = (word(payload, end)?, word(payload, end + 2)?);
        (word(payload, 4)? == 1 && class == CLASS_IN).then_some((name, record, end + 4))
    })();
    let Some((name, record, end)) = asked else { return Some((query, Err(Rcode::FormatError))) };
    query.question.extend(&payload[HEADER..end]);
    Some((query, Ok((name, record))))
}

/// The name at `at` as text, in lower case, and where it ends. Labels that are no part of host names are refused.
fn name(payload: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    loop {
        let len = usize::from(*payload.get(at)?);
        at += 1;
        if len == 0 {
            return (!name.is_empty() && name.len() <= 253).then_some((name, at));
        }
        let label = payload.get(at..at + len).filter(|_| len < 64)?;
        if !label.iter().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(c)) {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|c| char::from(c.to_ascii_lowercase())));
        at += len;
    }
}

fn answer(link: &mut Link, query: &Query, rcode: Rcode, addrs: &[IpAddr]) {
    const RESPONSE: u16 = 0x8000;
    const RECURSION_AVAILABLE: u16 = 0x80;
    /// The question's name (4.1.4).
    const NAME: u16 = 0xc000 | HEADER as u16;
    let addrs = &addrs[..addrs.len().min(ANSWERS)];
    let flags = RESPONSE
        | u16::from(query.opcode) << 11
        | u16::from(query.recursion_desired) << 8
        | RECURSION_AVAILABLE
        | rcode as u16;
    let questions = u16::from(!query.question.is_empty());
    let mut bytes = Vec::new();
    for word in [query.id, flags, questions, addrs.len() as u16, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(&query.question);
    for addr in addrs {
        let (family, data) = match addr {
            IpAddr::V4(v4) => (Family::V4, v4.octets().to_vec()),
            IpAddr::V6(v6) => (Family::V6, v6.octets().to_vec()),
        };
        for word in [NAME, family.record(), CLASS_IN] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(TTL.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    udp::send(link, query.to, query.from, &bytes);
}
