//! Networks for a guest's Ethernet card, with no server: Ethernet frames on one side, on the other what a host can do.
//!
//! [`UserStack`] is QEMU's `-netdev user`: a network of the guest's own with a gateway, DHCP and a name server. TCP and UDP
//! end in it and go on as streams and datagrams of an [`Outside`]: the host's sockets, HTTP by a page's `fetch`, or a
//! relay. [`Lan`] is `-netdev socket,mcast=`: frames shared with other machines.
//!
//! ```text
//! frames ─> stack ─┬─ ARP: link   DHCP: dhcp   ICMP: icmp                ┌─ sockets  tcp, udp, resolve
//!    <─ link       ├─ DNS: dns ─────────────┐                            │
//!                  ├─ UDP: udp ─────────────┼─> Outside (streams, names)─┼─ http     fetch
//!                  └─ TCP: tcp (smoltcp) ───┘                            └─ wisp     websocket  ─> Channels: the host
//! ```
//!
//! **Invariants.** Nothing here blocks or knows wall time: what must wait is an [`Event`] of a channel, or guest time that
//! passes ([`UserStack::poll`]). Nothing is unbounded: flows, buffers and queues have limits, and where one is full the other
//! side waits (streams) or loses (datagrams). No input, of guest or host, can panic.

pub mod channel;
mod dhcp;
mod dns;
mod icmp;
mod lan;
mod link;
mod net;
pub mod outside;
mod reassembly;
mod stack;
mod tcp;
mod udp;
mod wire;

pub use channel::{ChannelId, Channels, Event, Ids, Kind};
pub use dns::Family;
pub use lan::{Lan, NoLan};
pub use link::{Frame, Offload};
pub use net::{Net, NetError};
pub use outside::{Outside, OutsideError};
pub use stack::{Flows, UserStack};
