//! What is loaded before anybody asks for it. A reader that goes on where it was gets more and more; of what lies close together, where
//! half was read, the other half is loaded, too: a program's files lie together, and are read in no order. One that reads here and there
//! gets nothing.

use std::ops::Range;

/// Chunks that are loaded ahead of a reader at most, however long they are.
const AHEAD: u64 = 16;
/// Readers that are told apart: files that the guest reads at the same time.
const STREAMS: usize = 8;
/// Log2 of the chunks that lie close together.
const CLUSTERS: [u32; 2] = [2, 3];

/// Where readers are expected next; the last to read last.
#[derive(Default)]
pub struct Ahead {
    streams: Vec<Stream>,
}

#[derive(Clone, Copy)]
struct Stream {
    next: u64,
    /// How far was loaded ahead.
    window: u64,
}

impl Ahead {
    /// Notes a read of the chunks `wanted`; what to load now of the `chunks` there are. At most `room` of them are loaded ahead of a reader.
    pub fn of_reader(
        &mut self,
        wanted: &Range<u64>,
        chunks: u64,
        room: u64,
        known: impl Fn(u64) -> bool,
    ) -> Range<u64> {
        let at = self.streams.iter().position(|s| s.next == wanted.start || s.next == wanted.start + 1);
        let mut stream = match at {
            Some(at) => self.streams.remove(at),
            None => Stream { next: wanted.end, window: 0 },
        };
        if at.is_some() && wanted.end > stream.next {
            stream.window = (stream.window * 2).clamp(1, AHEAD);
        }
        stream.next = wanted.end;
        if self.streams.len() >= STREAMS {
            self.streams.remove(0);
        }
        self.streams.push(stream);
        let ahead = wanted.end..(wanted.end + stream.window.min(room)).min(chunks);
        // not one by one: when half of the window is used up
        let missing = ahead.clone().filter(|chunk| !known(*chunk)).count() as u64;
        if missing * 2 > ahead.end.saturating_sub(ahead.start) { ahead } else { 0..0 }
    }
}

/// The neighbourhood of a chunk that has to be loaded, if half of it was read by now, and it is at most `room` chunks; else nothing.
pub fn cluster(chunk: u64, chunks: u64, room: u64, read: impl Fn(u64) -> bool) -> Range<u64> {
    let mut most = 0..0;
    for bits in CLUSTERS.into_iter().filter(|bits| 1 << bits <= room) {
        let start = chunk >> bits << bits;
        let cluster = start..(start + (1 << bits)).min(chunks);
        let there = cluster.clone().filter(|chunk| read(*chunk)).count();
        if there * 2 >= 1 << bits {
            most = cluster;
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ahead: &mut Ahead, chunks: Range<u64>) -> Range<u64> {
        ahead.of_reader(&chunks, 1000, 100, |_| false)
    }

    #[test]
    fn who_goes_on_gets_more_and_more() {
        let mut ahead = Ahead::default();
        assert_eq!(read(&mut ahead, 10..11), 0..0);
        let lengths: Vec<_> =
            (11..18).map(|chunk| read(&mut ahead, chunk..chunk + 1)).map(|r| r.end - r.start).collect();
        assert_eq!(lengths, [1, 2, 4, 8, 16, 16, 16]);
        assert_eq!(read(&mut ahead, 18..20), 20..36);
        // in the same chunk once more is not further
        assert_eq!(read(&mut ahead, 19..20), 20..36);
        // half of the window is still there
        assert_eq!(ahead.of_reader(&(20..21), 1000, 100, |chunk| chunk < 29), 0..0);
        assert_eq!(ahead.of_reader(&(21..22), 30, 100, |_| false), 22..30, "not past the end");
        assert_eq!(ahead.of_reader(&(22..23), 1000, 3, |_| false), 23..26, "not more than there is room for");
    }

    #[test]
    fn readers_are_told_apart_and_who_jumps_gets_nothing() {
        let mut ahead = Ahead::default();
        for step in 0..4 {
            for reader in 0..8 {
                let at = reader * 100 + step;
                let expected = [0, 1, 2, 4][step as usize];
                let got = read(&mut ahead, at..at + 1);
                assert_eq!(got.end - got.start, expected, "reader {reader}");
            }
        }
        for jump in 0..20 {
            assert_eq!(read(&mut ahead, jump * 37 + 5..jump * 37 + 6), 0..0);
        }
    }

    #[test]
    fn of_what_lies_together_the_other_half_is_loaded() {
        let of = |chunk, there: &[u64]| cluster(chunk, 1000, 100, |chunk| there.contains(&chunk));
        assert_eq!(of(17, &[]), 0..0);
        assert_eq!(of(17, &[16]), 0..0);
        assert_eq!(of(17, &[16, 19]), 16..20);
        assert_eq!(of(17, &[15, 14, 13, 12, 20]), 0..0, "of another neighbourhood");
        assert_eq!(of(17, &[16, 19, 20, 21]), 16..24);
        assert_eq!(of(17, &[20, 21, 22, 23]), 16..24);
        assert_eq!(cluster(17, 18, 100, |chunk| chunk == 16), 0..0);
        assert_eq!(cluster(18, 19, 100, |chunk| chunk < 18), 16..19, "not past the end");
        assert_eq!(cluster(17, 1000, 7, |_| true), 16..20, "not more than there is room for");
        assert_eq!(cluster(17, 1000, 3, |_| true), 0..0);
    }
}
