//! Addresses for names, where nothing here can ask a name server and what is outside takes names.

use rustc_hash::FxHashMap;
use std::net::Ipv4Addr;

/// 198.18.0.0/15: for benchmarks of networks (RFC 2544), so that no host on the Internet has one of these.
const FIRST: u32 = u32::from_be_bytes([198, 18, 0, 1]);
/// Names that are remembered; the oldest makes room. A guest may keep an answer for a minute.
const NAMES: usize = 4096;

/// Which name was told which address.
#[derive(Default)]
pub struct Names {
    names: Vec<String>,
    at: FxHashMap<String, usize>,
    next: usize,
}

impl Names {
    /// The name's address, from now on.
    pub fn address(&mut self, name: &str) -> Ipv4Addr {
        let at = match self.at.get(name) {
            Some(at) => *at,
            None => {
                let at = self.next;
                self.next = (at + 1) % NAMES;
                match self.names.get_mut(at) {
                    Some(old) => {
                        self.at.remove(old);
                        name.clone_into(old);
                    }
                    None => self.names.push(name.to_owned()),
                }
                self.at.insert(name.to_owned(), at);
                at
            }
        };
        Ipv4Addr::from_bits(FIRST + at as u32)
    }

    /// The name that has this address.
    pub fn name(&self, addr: Ipv4Addr) -> Option<&str> {
        let at = addr.to_bits().checked_sub(FIRST)?;
        self.names.get(at as usize).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_address_until_many_others_came() {
        let mut names = Names::default();
        let first = names.address("a.example");
        assert_eq!(first, Ipv4Addr::new(198, 18, 0, 1));
        assert_ne!(names.address("b.example"), first);
        assert_eq!(names.address("a.example"), first);
        assert_eq!(names.name(first), Some("a.example"));
        assert_eq!(names.name(Ipv4Addr::new(198, 18, 9, 9)), None);
        assert_eq!(names.name(Ipv4Addr::new(1, 1, 1, 1)), None);
        (0..NAMES).for_each(|i| _ = names.address(&format!("{i}.example")));
        assert_ne!(names.name(first), Some("a.example"));
        assert_eq!(names.at.len(), NAMES);
    }
}
