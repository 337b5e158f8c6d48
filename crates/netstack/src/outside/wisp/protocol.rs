//! The protocol's numbers.

/// Kind and stream, before the payload.
pub const HEADER: usize = 5;

pub const CONNECT: u8 = 1;
pub const DATA: u8 = 2;
pub const CONTINUE: u8 = 3;
pub const CLOSE: u8 = 4;

pub const STREAM_TCP: u8 = 1;
pub const STREAM_UDP: u8 = 2;

pub const REASON_VOLUNTARY: u8 = 2;
pub const REASON_CLIENT_ERROR: u8 = 0x81;

/// The protocol's table of reasons.
pub fn reason_text(reason: u8) -> &'static str {
    match reason {
        0x02 => "the other end has closed it",
        0x03 => "a network error",
        0x41 => "the relay does not accept this address or port",
        0x42 => "the host is unreachable, or there is no such name",
        0x43 => "the host does not answer",
        0x44 => "the host refuses connections to this port",
        0x47 => "the transfer took too long",
        0x48 => "the relay blocks this address",
        0x49 => "the relay allows no more traffic now",
        _ => "no reason given",
    }
}
