//! The network against a second TCP/IP stack: a guest that is smoltcp with an Ethernet card, and a host that is a table of
//! services.

mod addresses;
mod forward;
mod fuzz;
mod guest;
mod host;
mod http;
mod tcp;
mod udp;
mod wisp;
mod world;
