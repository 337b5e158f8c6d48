//! Any network as one type, for boards.

use crate::channel::{ChannelId, Channels, Event, Ids};
use crate::lan::{Lan, NoLan};
use crate::link::{Frame, Offload};
use crate::outside::OutsideError;
use crate::stack::UserStack;
use options::Netdev;
use thiserror::Error;

/// Why there can be no such network on this host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NetError {
    #[error(transparent)]
    Outside(#[from] OutsideError),
    #[error(transparent)]
    Lan(#[from] NoLan),
}

/// What a card is plugged into.
pub enum Net {
    User(Box<UserStack>),
    Lan(Lan),
}

impl Net {
    /// The network that `netdev` describes. `ids` are those of no other network; `seed` makes sequence numbers hard to guess.
    ///
    /// # Errors
    /// The host cannot do what the options ask for.
    pub fn new(netdev: &Netdev, channels: Box<dyn Channels>, ids: &Ids, seed: u64) -> Result<Self, NetError> {
        Ok(match netdev {
            Netdev::User(net) => Self::User(Box::new(UserStack::new(net, channels, ids, seed)?)),
            Netdev::Lan(net) => Self::Lan(Lan::new(*net, channels, ids)?),
        })
    }

    /// Whether the network takes frames that are to be segmented, or whose checksum is to be made.
    pub fn offloads(&self) -> bool {
        matches!(self, Self::User(_))
    }

    /// Whether the guest's card takes such frames.
    pub fn set_offload(&mut self, on: bool) {
        if let Self::User(stack) = self {
            stack.set_offload(on);
        }
    }

    /// A frame from the guest. Call [`Net::poll`] after the last one.
    pub fn transmit(&mut self, frame: &[u8]) {
        match self {
            Self::User(stack) => stack.transmit(frame),
            Self::Lan(lan) => lan.transmit(frame),
        }
    }

    /// The next frame for the guest.
    pub fn receive(&mut self) -> Option<Frame> {
        match self {
            Self::User(stack) => stack.receive(),
            Self::Lan(lan) => lan.receive().map(|bytes| Frame { bytes, offload: Offload::None }),
        }
    }

    /// It is guest time `now_ns`.
    pub fn poll(&mut self, now_ns: u64) {
        if let Self::User(stack) = self {
            stack.poll(now_ns);
        }
    }

    /// Guest time at which [`Net::poll`] is to be called if nothing else happens.
    pub fn next_deadline(&self) -> Option<u64> {
        match self {
            Self::User(stack) => stack.next_deadline(),
            Self::Lan(_) => None,
        }
    }

    /// Something that the host says of a channel. Call [`Net::poll`] after the last one.
    pub fn event(&mut self, id: ChannelId, event: Event) {
        match self {
            Self::User(stack) => stack.event(id, event),
            Self::Lan(lan) => lan.event(id, event),
        }
    }

    /// The guest was reset.
    pub fn reset(&mut self) {
        match self {
            Self::User(stack) => stack.reset(),
            Self::Lan(lan) => lan.reset(),
        }
    }
}
