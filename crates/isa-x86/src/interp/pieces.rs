//! Instructions by number, in pieces that stay where they are: room for more costs no copy, and leaves nothing behind in the heap.

use crate::insn::Insn;

/// Instructions of a piece. (Of smaller ones V8 sees the memory grow too often: it tells every module.)
const LEN: usize = 1 << 15;

/// Instructions by which a piece grows.
const STEP: usize = 1 << 10;

/// Has room for [`LEN`] from the start.
type Piece = Vec<Insn>;

/// Instructions numbered in the order that they come. Numbers at the end of a piece may be left out.
pub(super) struct Pieces {
    pieces: Vec<Piece>,
    next: usize,
    /// Pieces at most.
    most: usize,
}

impl Pieces {
    /// Bytes of a piece.
    pub(super) const PIECE_BYTES: usize = LEN * size_of::<Insn>();

    /// One piece, and up to `most`.
    pub(super) fn new(most: usize) -> Pieces {
        let first = new_piece().expect("memory for the first instructions");
        Pieces { pieces: vec![first], next: 0, most: most.max(1) }
    }

    /// Bytes of all pieces.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.len() * Self::PIECE_BYTES
    }

    /// Has the next `n` instructions, a piece's at most, lie in one piece. False: it needed one more, and that would be too many, or the
    /// host has no memory for it.
    #[inline]
    pub(super) fn make_room(&mut self, n: usize) -> bool {
        self.pieces.get(self.next / LEN).is_some_and(|piece| self.next % LEN + n <= piece.len()) || self.grow(n)
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, n: usize) -> bool {
        let piece = self.next / LEN + usize::from(self.next % LEN + n > LEN);
        if piece == self.pieces.len() && (piece == self.most || !self.add(new_piece())) {
            return false;
        }
        self.next = self.next.max(piece * LEN);
        let len = (self.next % LEN + n).next_multiple_of(STEP).min(LEN);
        let piece = &mut self.pieces[piece];
        if piece.len() < len {
            piece.resize(len, Insn::BLANK);
        }
        true
    }

    /// Adds a piece, if the host had memory for it.
    fn add(&mut self, piece: Option<Piece>) -> bool {
        let Some(piece) = piece else {
            // What it has not for this it will soon not have for something else: half is given back.
            self.most = self.pieces.len().div_ceil(2);
            return false;
        };
        self.pieces.push(piece);
        true
    }

    /// The number of the next instruction, and the places of it and of those that follow.
    #[inline]
    pub(super) fn next(&mut self) -> (u32, &mut [Insn]) {
        (self.next as u32, &mut self.pieces[self.next / LEN][self.next % LEN..])
    }

    /// The next `n` places, for which room was made, are taken.
    pub(super) fn take(&mut self, n: usize) {
        self.next += n;
    }

    /// The instructions from number `n` on that are in its piece.
    #[inline(always)]
    pub(super) fn from(&self, n: u32) -> &[Insn] {
        &self.pieces[n as usize / LEN][n as usize % LEN..]
    }

    /// Drops all instructions. The pieces stay, but for those that are too many.
    pub(super) fn clear(&mut self) {
        self.pieces.truncate(self.most);
        self.next = 0;
    }
}

/// An empty piece, if the host has memory for it.
fn new_piece() -> Option<Piece> {
    let mut piece = Vec::new();
    piece.try_reserve_exact(LEN).ok()?;
    Some(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds `n` instructions, the first with `imm`.
    fn add(pieces: &mut Pieces, n: usize, imm: u64) -> Option<u32> {
        if !pieces.make_room(n) {
            return None;
        }
        let mut insn = Insn::BLANK;
        insn.set_constants(imm, 0);
        let (first, places) = pieces.next();
        places[..n].fill(insn);
        pieces.take(n);
        Some(first)
    }

    #[test]
    fn runs_lie_in_one_piece_and_stay_where_they_are() {
        let mut pieces = Pieces::new(4);
        // 504 runs of 65 fit in a piece, and eight are left out.
        const RUNS: usize = LEN / 65;
        let numbers: Vec<u32> = (0..).map_while(|k| add(&mut pieces, 65, k)).collect();
        assert_eq!((numbers.len(), pieces.bytes()), (4 * RUNS, 4 * Pieces::PIECE_BYTES));
        assert_eq!((numbers[RUNS - 1], numbers[RUNS]), ((RUNS as u32 - 1) * 65, LEN as u32));
        let places: Vec<_> = numbers.iter().map(|&n| pieces.from(n).as_ptr()).collect();
        for (k, &n) in (0..).zip(&numbers) {
            assert!(pieces.from(n)[..65].iter().all(|i| i.imm() == k), "{k}");
        }
        pieces.clear();
        let again: Vec<u32> = (0..).map_while(|k| add(&mut pieces, 65, k)).collect();
        assert_eq!(again, numbers);
        assert!(again.iter().zip(places).all(|(&n, at)| pieces.from(n).as_ptr() == at), "moved");
    }

    #[test]
    fn a_piece_is_filled_to_its_end() {
        let mut pieces = Pieces::new(2);
        let numbers: Vec<u32> = (0..).map_while(|k| add(&mut pieces, 64, k)).collect();
        assert_eq!(numbers, (0..2 * LEN as u32).step_by(64).collect::<Vec<_>>());
        pieces.clear();
        assert_eq!(
            (add(&mut pieces, 1, 0), add(&mut pieces, LEN, 0), add(&mut pieces, 1, 0)),
            (Some(0), Some(LEN as u32), None)
        );
    }

    #[test]
    fn where_the_host_has_no_memory_half_is_given_back() {
        let mut pieces = Pieces::new(10);
        for k in 0..5 {
            assert_eq!(add(&mut pieces, LEN, k), Some(k as u32 * LEN as u32));
        }
        assert!(!pieces.add(None));
        // What there is stays until it is dropped.
        assert_eq!((pieces.from(4 * LEN as u32)[0].imm(), pieces.bytes()), (4, 5 * Pieces::PIECE_BYTES));
        pieces.clear();
        assert_eq!(pieces.bytes(), 3 * Pieces::PIECE_BYTES);
        assert_eq!((0..).map_while(|k| add(&mut pieces, LEN, k)).count(), 3);
        let mut first = Pieces::new(1);
        assert!(!first.add(None));
        first.clear();
        assert_eq!(add(&mut first, 65, 0), Some(0));
    }
}
