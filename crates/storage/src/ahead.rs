//! What is loaded before anybody asks for it.
//!
//! A reader that goes on where it was gets more and more. And a load goes on behind what is wanted: there, where a program's files lie
//! together and are read in no order, it is the likelier that a chunk will be read the closer it is to those that were. If `p` is how likely
//! it is, loading it now costs the time in which its bytes come, and saves that and a wait with `p`: it pays where the odds, `p / (1 - p)`,
//! are more than one to as many chunks as come in a wait. So the link decides: the farther the host is away, and the faster, the more is
//! loaded, on a slow line next to nothing.

use rustc_hash::FxHashSet;
use std::ops::Range;

/// Chunks that are loaded ahead of a reader at most, however long they are.
const AHEAD: u64 = 16;
/// Readers that are told apart: files that the guest reads at the same time.
const STREAMS: usize = 8;
/// Chunks that lie close together, and that a load goes on for at most.
const REACH: u64 = 8;
/// The odds that a chunk will be read for each one that was, at the distance of one, before it and behind it; farther away they are so
/// much less. Of what Debian reads while it boots, starts Python and compiles, 60 to 80 in 100 chunks behind one that was read are read
/// in their turn, 40 to 65 of those one farther on, and 35 to 60 of those before it.
const BEFORE: f64 = 1.0;
const BEHIND: f64 = 0.3;

#[derive(Default)]
pub struct Ahead {
    /// Where readers are expected next; the last to read last.
    streams: Vec<Stream>,
    /// Chunks that were asked for.
    read: FxHashSet<u64>,
}

#[derive(Clone, Copy)]
struct Stream {
    next: u64,
    /// How far was loaded ahead.
    window: u64,
}

impl Ahead {
    /// These chunks are asked for.
    pub fn note(&mut self, wanted: &Range<u64>) {
        self.read.extend(wanted.clone());
    }

    /// How many chunks behind a load that ends at `end` are worth loading with it, at most `room`, where `in_a_wait` chunks come in the
    /// time for which one waits for the first.
    pub fn behind(&self, end: u64, room: u64, in_a_wait: f64, missing: impl Fn(u64) -> bool) -> u64 {
        let worth = |chunk: &u64| missing(*chunk) && self.odds(*chunk) * in_a_wait > 1.0;
        (end..end.saturating_add(room.min(REACH))).take_while(worth).count() as u64
    }

    /// That a chunk will be read, by those close to it that were.
    fn odds(&self, chunk: u64) -> f64 {
        let of = |at: Option<u64>, odds: f64| if at.is_some_and(|at| self.read.contains(&at)) { odds } else { 0.0 };
        let both = |far: u64| of(chunk.checked_sub(far), BEFORE) + of(chunk.checked_add(far), BEHIND);
        (1..=REACH).map(|far| both(far) / far as f64).sum()
    }

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
    fn a_load_goes_on_as_far_as_as_much_comes_in_a_wait() {
        let mut ahead = Ahead::default();
        ahead.note(&(10..11));
        let behind = |ahead: &Ahead, worth| ahead.behind(11, 100, worth, |_| true);
        // 100 Mbit/s and 30 ms, 20 and 50, 5 and 100, in chunks of 128 KiB
        assert_eq!([2.86, 0.95, 0.48].map(|worth| behind(&ahead, worth)), [2, 0, 0]);
        assert_eq!(behind(&ahead, f64::INFINITY), REACH);
        assert_eq!(behind(&ahead, 0.0), 0);
        assert_eq!(ahead.behind(11, 1, 2.86, |_| true), 1, "not more than there is room for");
        assert_eq!(ahead.behind(11, 100, 5.5, |chunk| chunk != 13), 2, "not past what is there");
    }

    #[test]
    fn what_was_read_around_a_chunk_speaks_for_it() {
        let mut ahead = Ahead::default();
        [7, 8, 10].into_iter().for_each(|chunk| ahead.note(&(chunk..chunk + 1)));
        let behind = |ahead: &Ahead, worth| ahead.behind(11, 100, worth, |_| true);
        assert_eq!(behind(&ahead, 0.95), 1);
        assert_eq!(behind(&ahead, 0.48), 0);
        // those behind it less
        ahead.note(&(13..14));
        assert_eq!([0.95, 0.48].map(|worth| behind(&ahead, worth)), [2, 0]);
        ahead.note(&(12..13));
        assert_eq!(behind(&ahead, 0.5), 1);
    }
}
