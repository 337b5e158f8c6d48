//! Bytes in memory.

use crate::io::within;
use crate::{BlockError, Io, Result, Source, Store};
use std::cell::RefCell;

/// A file in memory. As it grows nothing is moved, and parts that were never written take no memory.
pub struct Memory {
    name: String,
    bytes: RefCell<Bytes>,
}

/// Bytes of a piece at most.
const PIECE: usize = 256 << 10;

#[derive(Default)]
struct Bytes {
    /// What the file began with.
    first: Vec<u8>,
    /// What follows, in pieces of [`PIECE`] bytes. Where one is shorter zeros follow.
    rest: Vec<Vec<u8>>,
    size: u64,
}

/// Where a part of the file is: at its beginning, or in a piece.
enum Place {
    First(usize),
    Piece { piece: usize, inside: usize },
}

impl Bytes {
    /// Where byte `at` is, and how many of `len` bytes from there on are in the same place.
    fn place(&self, at: usize, len: usize) -> (Place, usize) {
        match at.checked_sub(self.first.len()) {
            None => (Place::First(at), len.min(self.first.len() - at)),
            Some(at) => {
                let inside = at % PIECE;
                (Place::Piece { piece: at / PIECE, inside }, len.min(PIECE - inside))
            }
        }
    }

    fn read(&self, mut at: usize, mut buf: &mut [u8]) {
        while !buf.is_empty() {
            let (place, len) = self.place(at, buf.len());
            let (part, rest) = buf.split_at_mut(len);
            let there = match place {
                Place::First(at) => &self.first[at..],
                Place::Piece { piece, inside } => self.rest.get(piece).and_then(|p| p.get(inside..)).unwrap_or(&[]),
            };
            let there = &there[..len.min(there.len())];
            part[..there.len()].copy_from_slice(there);
            part[there.len()..].fill(0);
            (at, buf) = (at + len, rest);
        }
    }

    /// Nothing where there is not enough memory.
    fn write(&mut self, mut at: usize, mut data: &[u8]) -> Option<()> {
        let end = at as u64 + data.len() as u64;
        while !data.is_empty() {
            let (place, len) = self.place(at, data.len());
            let (part, rest) = data.split_at(len);
            match place {
                Place::First(at) => self.first[at..at + len].copy_from_slice(part),
                Place::Piece { piece, inside } => write_piece(self.piece(piece)?, inside, part),
            }
            (at, data) = (at + len, rest);
        }
        self.size = self.size.max(end);
        Some(())
    }

    fn zero(&mut self, mut at: usize, mut len: usize) {
        self.size = self.size.max(at as u64 + len as u64);
        while len > 0 {
            let (place, n) = self.place(at, len);
            match place {
                Place::First(at) => self.first[at..at + n].fill(0),
                Place::Piece { piece, .. } if n == PIECE => _ = self.rest.get_mut(piece).map(std::mem::take),
                Place::Piece { piece, inside } => {
                    let there = self.rest.get_mut(piece).map_or(&mut [][..], |piece| piece);
                    let end = there.len().min(inside + n);
                    there.get_mut(inside..end).into_iter().for_each(|part| part.fill(0));
                }
            }
            (at, len) = (at + n, len - n);
        }
    }

    /// A piece with room for all of its bytes.
    fn piece(&mut self, piece: usize) -> Option<&mut Vec<u8>> {
        if piece >= self.rest.len() {
            let more = piece + 1 - self.rest.len();
            self.rest.try_reserve(more).ok()?;
            self.rest.resize_with(piece + 1, Vec::new);
        }
        let piece = self.rest.get_mut(piece)?;
        piece.try_reserve_exact(PIECE - piece.len()).ok()?;
        Some(piece)
    }
}

/// Writes `data` at `inside`; what was not there in between is zeros.
fn write_piece(piece: &mut Vec<u8>, inside: usize, data: &[u8]) {
    if piece.len() < inside {
        piece.resize(inside, 0);
    }
    let (over, behind) = data.split_at(data.len().min(piece.len() - inside));
    piece[inside..inside + over.len()].copy_from_slice(over);
    piece.extend_from_slice(behind);
}

impl Memory {
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        let size = bytes.len() as u64;
        Self { name: name.into(), bytes: RefCell::new(Bytes { first: bytes, rest: Vec::new(), size }) }
    }

    /// What it holds at the end.
    pub fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.bytes.into_inner();
        let mut first = std::mem::take(&mut bytes.first);
        for mut piece in bytes.rest {
            piece.resize(PIECE, 0);
            first.append(&mut piece);
        }
        first.resize(bytes.size as usize, 0);
        first
    }

    /// `offset`, if the range that begins there can be addressed at all.
    fn start(&self, offset: u64, len: u64) -> Result<usize> {
        let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok());
        end.map(|_| offset as usize).ok_or_else(|| self.no_memory(offset))
    }

    fn no_memory(&self, len: u64) -> BlockError {
        BlockError::NoMemory { image: self.name.clone(), len }
    }
}

impl Source for Memory {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.bytes.borrow().size
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        Box::pin(async move {
            within(self, offset, buf.len() as u64)?;
            self.bytes.borrow().read(offset as usize, buf);
            Ok(())
        })
    }
}

impl Store for Memory {
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a> {
        Box::pin(async move {
            let start = self.start(offset, data.len() as u64)?;
            self.bytes.borrow_mut().write(start, data).ok_or_else(|| self.no_memory(offset))
        })
    }

    fn flush(&self) -> Io<'_> {
        Box::pin(async { Ok(()) })
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Io<'_> {
        Box::pin(async move {
            let start = self.start(offset, len)?;
            let len = usize::try_from(len).map_err(|_| self.no_memory(len))?;
            self.bytes.borrow_mut().zero(start, len);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    fn now<T>(mut io: Io<'_, T>) -> T {
        match io.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result.unwrap(),
            Poll::Pending => panic!("memory waits for nobody"),
        }
    }

    /// Random operations around the ends of pieces, against plain bytes.
    #[test]
    fn it_is_as_plain_bytes() {
        let mut rng = random::Rng(1);
        let mut below = |n| rng.index(n);
        for first in [0, 1000, PIECE + 7] {
            let memory = Memory::new("file", vec![9; first]);
            let mut plain = vec![9; first];
            for step in 0..400 {
                let at = first.saturating_sub(20) * below(2) + below(5) * PIECE + below(40);
                let len = [below(100), PIECE + below(10), 3 * PIECE][below(3)];
                if below(2) == 0 {
                    let data = vec![step as u8; len];
                    now(memory.write_at(at as u64, &data));
                    plain.resize(plain.len().max(if len > 0 { at + len } else { at }), 0);
                    plain[at..at + len].copy_from_slice(&data);
                } else {
                    now(memory.write_zeroes(at as u64, len as u64));
                    plain.resize(plain.len().max(at + len), 0);
                    plain[at..at + len].fill(0);
                }
                let mut read = vec![0xee; plain.len()];
                assert_eq!(memory.size(), plain.len() as u64);
                now(memory.read_at(0, &mut read));
                assert!(read == plain, "step {step} on {first} bytes");
            }
            assert!(memory.into_bytes() == plain);
        }
    }

    #[test]
    fn what_is_not_written_takes_no_memory() {
        let memory = Memory::new("file", Vec::new());
        now(memory.write_at(1 << 30, b"end"));
        let held = |memory: &Memory| memory.bytes.borrow().rest.iter().map(Vec::capacity).sum::<usize>();
        assert!(held(&memory) <= PIECE);
        now(memory.write_at(0, &vec![1; 2 * PIECE]));
        now(memory.write_zeroes(0, 2 * PIECE as u64));
        assert!(held(&memory) <= PIECE, "zeros are given back");
        let mut read = [1; 4];
        now(memory.read_at((1 << 30) - 1, &mut read));
        assert_eq!(&read, b"\0end");
    }
}
