//! Instructions by number, in pieces that stay where they are: room for more costs no copy, and leaves nothing behind in the heap.

/// Bytes of a piece. (Of smaller ones V8 sees the memory grow too often: it tells every module.)
const PIECE: usize = 1 << 19;

/// Pieces that there are, and that there may be at most.
pub(super) struct Budget {
    taken: usize,
    most: usize,
}

impl Budget {
    /// Of `bytes`.
    pub(super) fn new(bytes: usize) -> Budget {
        Budget { taken: 0, most: bytes / PIECE }
    }
    /// Bytes of all pieces.
    pub(super) fn bytes(&self) -> usize {
        self.taken * PIECE
    }
    /// Takes a piece, if the host had memory for it.
    fn take<T>(&mut self, piece: Option<T>) -> Option<T> {
        if piece.is_some() {
            self.taken += 1;
        } else {
            // What it has not for this it will soon not have for something else: half is given back when all is dropped.
            self.most = self.taken.div_ceil(2);
        }
        piece
    }
}

/// Instructions of a piece.
pub(super) const fn in_piece<T>() -> usize {
    PIECE / size_of::<T>()
}

/// Instructions numbered in the order that they come, in pieces of `LEN`, which is [`in_piece`]. Numbers at the end of a piece may be left out.
pub(super) struct Pieces<T, const LEN: usize> {
    pieces: Vec<Box<[T; LEN]>>,
    next: usize,
}

impl<T: Copy + Default, const LEN: usize> Pieces<T, LEN> {
    /// One piece, for which the budget need not have room.
    pub(super) fn new(budget: &mut Budget) -> Pieces<T, LEN> {
        const { assert!(LEN == in_piece::<T>()) };
        let first = budget.take(new_piece()).expect("memory for the first instructions");
        Pieces { pieces: vec![first], next: 0 }
    }

    /// Has the next `n` instructions, a piece's at most, lie in one piece. False: it needed one more, and that would be too many, or the
    /// host has no memory for it.
    #[inline]
    pub(super) fn make_room(&mut self, n: usize, budget: &mut Budget) -> bool {
        self.next / LEN < self.pieces.len() && self.next % LEN + n <= LEN || self.grow(n, budget)
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, n: usize, budget: &mut Budget) -> bool {
        let piece = self.next / LEN + usize::from(self.next % LEN + n > LEN);
        if piece == self.pieces.len() {
            if budget.taken >= budget.most {
                return false;
            }
            let Some(new) = budget.take(new_piece()) else { return false };
            self.pieces.push(new);
        }
        self.next = self.next.max(piece * LEN);
        true
    }

    /// The number of the next instruction, and the places of it and of those that follow.
    #[inline]
    pub(super) fn next(&mut self) -> (u32, &mut [T]) {
        (self.next as u32, self.get_mut(self.next as u32))
    }

    /// The same as [`Pieces::from`], to be changed.
    #[inline(always)]
    pub(super) fn get_mut(&mut self, n: u32) -> &mut [T] {
        &mut self.pieces[n as usize / LEN][n as usize % LEN..]
    }

    /// The number of the instruction behind which so many are left in the piece of number `n`.
    #[inline(always)]
    pub(super) fn number(n: u32, left: usize) -> u32 {
        (n | (LEN - 1) as u32) - left as u32
    }

    /// The next `n` places, for which room was made, are taken.
    pub(super) fn take(&mut self, n: usize) {
        self.next += n;
    }

    /// The instruction with number `n`.
    #[inline(always)]
    pub(super) fn get(&self, n: u32) -> &T {
        &self.pieces[n as usize / LEN][n as usize % LEN]
    }

    /// The instructions from number `n` on that are in its piece.
    #[inline(always)]
    pub(super) fn from(&self, n: u32) -> &[T] {
        &self.pieces[n as usize / LEN][n as usize % LEN..]
    }

    /// Drops all instructions. The pieces that were used stay; where there are too many, one does. Others may have the rest.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        let used = if budget.taken > budget.most { 1 } else { self.next.div_ceil(LEN).max(1) };
        budget.taken -= self.pieces.len().saturating_sub(used);
        self.pieces.truncate(used);
        self.next = 0;
    }
}

/// An empty piece, if the host has memory for it.
fn new_piece<T: Copy + Default, const LEN: usize>() -> Option<Box<[T; LEN]>> {
    let mut piece = Vec::new();
    piece.try_reserve_exact(LEN).ok()?;
    piece.resize(LEN, T::default());
    piece.into_boxed_slice().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interp::packed::Packed;

    const LEN: usize = in_piece::<Packed>();
    type Instructions = Pieces<Packed, LEN>;

    fn new(most: usize) -> (Instructions, Budget) {
        let mut budget = Budget::new(most * PIECE);
        (Pieces::new(&mut budget), budget)
    }

    /// Adds `n` instructions, the first with `imm`.
    fn add((pieces, budget): &mut (Instructions, Budget), n: usize, imm: u64) -> Option<u32> {
        if !pieces.make_room(n, budget) {
            return None;
        }
        let (first, places) = pieces.next();
        places[..n].fill(Packed::end(0, imm));
        pieces.take(n);
        Some(first)
    }

    #[test]
    fn runs_lie_in_one_piece_and_stay_where_they_are() {
        let mut p = new(4);
        // 504 runs of 65 fit in a piece, and eight are left out.
        const RUNS: usize = LEN / 65;
        let numbers: Vec<u32> = (0..).map_while(|k| add(&mut p, 65, k)).collect();
        assert_eq!((numbers.len(), p.1.bytes()), (4 * RUNS, 4 * PIECE));
        assert_eq!((numbers[RUNS - 1], numbers[RUNS]), ((RUNS as u32 - 1) * 65, LEN as u32));
        let places: Vec<_> = numbers.iter().map(|&n| p.0.from(n).as_ptr()).collect();
        for (k, &n) in (0..).zip(&numbers) {
            assert!(p.0.from(n)[..65].iter().all(|i| i.end_off() == k), "{k}");
        }
        p.0.clear(&mut p.1);
        let again: Vec<u32> = (0..).map_while(|k| add(&mut p, 65, k)).collect();
        assert_eq!(again, numbers);
        assert!(again.iter().zip(places).all(|(&n, at)| p.0.from(n).as_ptr() == at), "moved");
    }

    #[test]
    fn a_piece_is_filled_to_its_end() {
        let mut p = new(2);
        let numbers: Vec<u32> = (0..).map_while(|k| add(&mut p, 64, k)).collect();
        assert_eq!(numbers, (0..2 * LEN as u32).step_by(64).collect::<Vec<_>>());
        p.0.clear(&mut p.1);
        assert_eq!((add(&mut p, 1, 0), add(&mut p, LEN, 0), add(&mut p, 1, 0)), (Some(0), Some(LEN as u32), None));
        for n in [7, LEN as u32 - 1, LEN as u32, 2 * LEN as u32 - 1] {
            assert_eq!(Instructions::number(n, p.0.from(n).len() - 1), n);
        }
    }

    #[test]
    fn two_share_a_budget() {
        let (mut a, mut budget) = new(4);
        const WHOLE: usize = in_piece::<[u64; 4]>();
        let mut b = Pieces::<[u64; 4], WHOLE>::new(&mut budget);
        let mut pieces = 0;
        while b.make_room(WHOLE, &mut budget) {
            b.take(WHOLE);
            pieces += 1;
        }
        assert_eq!((pieces, budget.bytes()), (3, 4 * PIECE));
        assert!(a.make_room(LEN, &mut budget));
        a.take(1);
        assert!(!a.make_room(LEN, &mut budget));
        // What one has no more use for the other gets.
        b.clear(&mut budget);
        assert!(b.make_room(1, &mut budget));
        assert!(!a.make_room(LEN, &mut budget));
        b.clear(&mut budget);
        assert_eq!(budget.bytes(), 2 * PIECE);
        assert!(a.make_room(LEN, &mut budget));
    }

    #[test]
    fn where_the_host_has_no_memory_half_is_given_back() {
        let mut p = new(10);
        for k in 0..5 {
            assert_eq!(add(&mut p, LEN, k), Some(k as u32 * LEN as u32));
        }
        assert_eq!(p.1.take(None::<Packed>), None);
        assert_eq!(add(&mut p, LEN, 0), None);
        // What there is stays until it is dropped.
        assert_eq!((p.0.from(4 * LEN as u32)[0].end_off(), p.1.bytes()), (4, 5 * PIECE));
        p.0.clear(&mut p.1);
        assert_eq!(p.1.bytes(), PIECE);
        assert_eq!((0..).map_while(|k| add(&mut p, LEN, k)).count(), 3);
        let mut first = new(0);
        assert_eq!((add(&mut first, 65, 0), add(&mut first, LEN, 0)), (Some(0), None));
        first.0.clear(&mut first.1);
        assert_eq!(add(&mut first, 65, 0), Some(0));
    }
}
