//! Hashed 64-bit words in one array: the sets and hash indexes of operators.
//!
//! Words are held in ascending order with gaps. A word belongs at a place that is proportional to
//! its upper 32 bits, which must be spread like a hash, and stands there or after it, with no gap
//! in between; so a look-up reads neighbouring words, and growing is one pass in order. Tables are
//! between 75% and 84% full, in steps of an eighth, where tables that double are half empty half of
//! the time. Roomy tables are at most half full and double as long as they are small, because
//! look-ups in them are most of the work of many an operator. A payload of each word can stand beside it. Invariants: words are different, and
//! none is `u64::MAX`.
//!
//! [`SlotIndex`] finds numbered entries by 32 bits of their fingerprint; the caller compares the rest.

/// No word.
const GAP: u64 = u64::MAX;
/// The smallest table.
const PLACES_MIN: usize = 4;
/// Words compared at once; so many gaps are behind the last place.
const WINDOW: usize = 4;

/// A roomy table with more places grows like any other.
const ROOMY_PLACES_MAX: usize = 1 << 15;

/// Words, each with a payload.
#[derive(Clone)]
pub struct WordTable<P = (), const ROOMY: bool = false> {
    words: Vec<u64>,
    payloads: Vec<P>,
    /// Places that words belong at; some words stand after the last.
    places: usize,
    len: usize,
}

impl<P, const ROOMY: bool> Default for WordTable<P, ROOMY> {
    fn default() -> Self {
        WordTable { words: Vec::new(), payloads: Vec::new(), places: 0, len: 0 }
    }
}

impl<P: Copy + Default, const ROOMY: bool> WordTable<P, ROOMY> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>() + self.payloads.capacity() * size_of::<P>()
    }

    /// Forgets all words; room that was of use is kept.
    pub fn clear(&mut self) {
        if self.len * 4 < self.places {
            *self = WordTable::default();
        }
        self.words.fill(GAP);
        self.len = 0;
    }

    #[inline(always)]
    fn place(&self, word: u64) -> usize {
        (((word >> 32) * self.places as u64) >> 32) as usize
    }

    /// The position of the first word that is not less than `word`, or of a gap before it.
    #[inline(always)]
    fn lower_bound(&self, word: u64) -> usize {
        let mut at = self.place(word);
        // Without a branch for each word: most are found among the first.
        while let Some(window) = self.words.get(at..at + WINDOW) {
            let less: usize = window.iter().map(|w| (*w < word) as usize).sum();
            at += less;
            if less < WINDOW {
                break;
            }
        }
        at
    }

    /// Where `word` stands.
    #[inline(always)]
    pub fn find(&self, word: u64) -> Option<usize> {
        let at = self.lower_bound(word);
        (self.words.get(at) == Some(&word)).then_some(at)
    }

    #[inline(always)]
    pub fn payload(&mut self, at: usize) -> &mut P {
        &mut self.payloads[at]
    }

    /// Adds a word that is not there.
    pub fn insert(&mut self, word: u64, payload: P) {
        debug_assert!(word != GAP && self.find(word).is_none());
        if ROOMY && self.places < ROOMY_PLACES_MAX {
            if (self.len + 1) * 2 > self.places {
                self.rebuild(PLACES_MIN.max(self.places * 2));
            }
        } else if (self.len + 1) * 100 > self.places * 84 {
            self.rebuild(self.places + PLACES_MIN.max(self.places / 8));
        }
        let at = self.lower_bound(word);
        // Few words are in the way, so a loop is quicker than a copy of memory.
        let (mut left, mut gap) = ((word, payload), at);
        while left.0 != GAP {
            std::mem::swap(&mut self.words[gap], &mut left.0);
            std::mem::swap(&mut self.payloads[gap], &mut left.1);
            gap += 1;
        }
        if gap + WINDOW > self.words.len() {
            self.lengthen(gap + WINDOW);
        }
        self.len += 1;
    }

    /// Puts a word that is not there in place of another with the same upper half.
    pub fn replace_at(&mut self, at: usize, word: u64) {
        let payload = self.payloads[at];
        let after_left =
            at.checked_sub(1).is_none_or(|left| self.words[left] == GAP || self.words[left] < word);
        let before_right = self.words.get(at + 1).is_none_or(|right| *right > word);
        match after_left && before_right {
            true => self.words[at] = word,
            false => {
                self.remove_at(at);
                self.insert(word, payload);
            }
        }
    }

    /// Takes out the word at a position.
    pub fn remove_at(&mut self, at: usize) {
        let mut end = at + 1;
        while let Some(&word) = self.words.get(end)
            && word != GAP
            && self.place(word) < end
        {
            self.words[end - 1] = word;
            self.payloads[end - 1] = self.payloads[end];
            end += 1;
        }
        self.words[end - 1] = GAP;
        self.len -= 1;
    }

    /// Gives back room if most of it is empty.
    pub fn trim(&mut self) {
        if self.places > 1024 && self.len * 4 < self.places {
            let roomy = ROOMY && self.len * 2 < ROOMY_PLACES_MAX;
            self.rebuild(PLACES_MIN.max(if roomy { self.len * 2 } else { self.len * 100 / 70 }));
        }
    }

    /// The words and their payloads, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, P)> + '_ {
        self.words.iter().copied().zip(self.payloads.iter().copied()).filter(|(w, _)| *w != GAP)
    }

    fn lengthen(&mut self, length: usize) {
        if length > self.words.capacity() {
            let more = 4 + self.places / 64;
            self.words.reserve_exact(more);
            self.payloads.reserve_exact(more);
        }
        self.words.resize(length, GAP);
        self.payloads.resize(length, P::default());
    }

    fn rebuild(&mut self, places: usize) {
        let mut new = WordTable {
            words: Vec::with_capacity(places + WINDOW),
            payloads: Vec::with_capacity(places + WINDOW),
            places,
            len: self.len,
        };
        new.lengthen(places + WINDOW);
        let mut next = 0;
        for (word, payload) in self.iter() {
            let at = new.place(word).max(next);
            if at + WINDOW >= new.words.len() {
                new.lengthen(at + 1 + WINDOW);
            }
            new.words[at] = word;
            new.payloads[at] = payload;
            next = at + 1;
        }
        *self = new;
    }
}

/// Entries by number, found by a tag: 32 bits of a hash.
#[derive(Clone, Default)]
pub struct SlotIndex(WordTable<(), true>);

#[inline(always)]
fn word_of(tag: u32, slot: u32) -> u64 {
    debug_assert!(slot != u32::MAX, "the last number is none");
    (tag as u64) << 32 | slot as u64
}

impl SlotIndex {
    /// The first entry with this tag that `is` the one looked for.
    #[inline(always)]
    pub fn find(&self, tag: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.0.lower_bound((tag as u64) << 32);
        loop {
            let word = *self.0.words.get(at)?;
            if (word >> 32) as u32 != tag || word == GAP {
                return None;
            }
            if is(word as u32) {
                return Some(word as u32);
            }
            at += 1;
        }
    }

    pub fn insert(&mut self, tag: u32, slot: u32) {
        self.0.insert(word_of(tag, slot), ());
    }

    /// Puts an entry in place of another with the same tag.
    pub fn replace(&mut self, tag: u32, before: u32, after: u32) {
        if let Some(at) = self.0.find(word_of(tag, before)) {
            self.0.replace_at(at, word_of(tag, after));
        }
    }

    /// Forgets an entry; false if it was not there.
    pub fn remove(&mut self, tag: u32, slot: u32) -> bool {
        let at = self.0.find(word_of(tag, slot));
        at.inspect(|at| self.0.remove_at(*at)).is_some()
    }

    /// The entries with their tags, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().map(|(word, ())| ((word >> 32) as u32, word as u32))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn trim(&mut self) {
        self.0.trim();
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests;
