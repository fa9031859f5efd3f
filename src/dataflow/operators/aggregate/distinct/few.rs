//! Words of a group with their weights: none, one in place, a few side by side, or a table.
//!
//! A weight beside a word has eight bits, or none if a word that is there stays; weights beyond
//! that, and the one word that a table cannot hold, are in a map beside it.

use hashbrown::HashMap;

use super::Values;
use crate::state::WordTable;

/// What stands for a weight in a table.
pub(super) trait Weight: Copy + Default + Send + 'static {
    /// `None`: the weight is in the map.
    fn get(self) -> Option<i64>;
    fn of(weight: i64) -> Option<Self>;
    /// Stands for the weights in the map.
    fn elsewhere() -> Self;
}

/// A word that is there stays.
impl Weight for () {
    #[inline(always)]
    fn get(self) -> Option<i64> {
        Some(1)
    }
    #[inline(always)]
    fn of(_weight: i64) -> Option<()> {
        Some(())
    }
    fn elsewhere() {}
}

impl Weight for i8 {
    #[inline(always)]
    fn get(self) -> Option<i64> {
        (self != i8::MIN).then_some(self as i64)
    }
    #[inline(always)]
    fn of(weight: i64) -> Option<i8> {
        i8::try_from(weight).ok().filter(|w| *w != i8::MIN)
    }
    fn elsewhere() -> i8 {
        i8::MIN
    }
}

#[derive(Default)]
pub(super) enum Few<P> {
    #[default]
    None,
    One(u64, P),
    Two(Box<Small<P, 2>>),
    Three(Box<Small<P, 3>>),
    Four(Box<Small<P, 4>>),
    Six(Box<Small<P, 6>>),
    Nine(Box<Small<P, 9>>),
    Thirteen(Box<Small<P, 13>>),
    Eighteen(Box<Small<P, 18>>),
    TwentyFour(Box<Small<P, 24>>),
    ThirtyTwo(Box<Small<P, 32>>),
    FortyTwo(Box<Small<P, 42>>),
    Many(Box<Many<P>>),
}

/// Does something with the words side by side, whatever there is room for.
macro_rules! small {
    ($few:expr, $small:ident => $done:expr, _ => $other:expr) => {
        match $few {
            Few::Two($small) => $done,
            Few::Three($small) => $done,
            Few::Four($small) => $done,
            Few::Six($small) => $done,
            Few::Nine($small) => $done,
            Few::Thirteen($small) => $done,
            Few::Eighteen($small) => $done,
            Few::TwentyFour($small) => $done,
            Few::ThirtyTwo($small) => $done,
            Few::FortyTwo($small) => $done,
            _ => $other,
        }
    };
}

/// Up to `N` words in no order, whose weights fit beside them.
pub(super) struct Small<P, const N: usize> {
    words: [u64; N],
    weights: [P; N],
    len: u8,
}

impl<P: Weight, const N: usize> Small<P, N> {
    fn new(all: &[(u64, i64)]) -> Box<Self> {
        let mut made = Small { words: [0; N], weights: [P::default(); N], len: 0 };
        for (word, weight) in all {
            made.set(*word, *weight);
        }
        Box::new(made)
    }

    #[inline(always)]
    fn find(&self, word: u64) -> Option<usize> {
        self.words[..self.len as usize].iter().position(|w| *w == word)
    }

    fn weight(&self, word: u64) -> i64 {
        self.find(word).and_then(|at| self.weights[at].get()).unwrap_or(0)
    }

    /// Whether there was room.
    fn set(&mut self, word: u64, weight: i64) -> bool {
        match (self.find(word), P::of(weight)) {
            (Some(at), _) if weight == 0 => {
                self.len -= 1;
                self.words[at] = self.words[self.len as usize];
                self.weights[at] = self.weights[self.len as usize];
            }
            (None, _) if weight == 0 => {}
            (Some(at), Some(narrow)) => self.weights[at] = narrow,
            (None, Some(narrow)) if (self.len as usize) < N => {
                self.words[self.len as usize] = word;
                self.weights[self.len as usize] = narrow;
                self.len += 1;
            }
            _ => return false,
        }
        true
    }

    /// Words with a positive weight.
    fn count(&self) -> i64 {
        let mut count = 0;
        self.each(|_, weight| count += (weight > 0) as i64);
        count
    }

    fn each(&self, mut f: impl FnMut(u64, i64)) {
        let all = self.words.iter().zip(&self.weights).take(self.len as usize);
        all.for_each(|(word, weight)| f(*word, weight.get().unwrap_or(0)));
    }
}

pub(super) struct Many<P> {
    table: WordTable<P>,
    others: HashMap<u64, i64>,
    /// Words with a positive weight.
    positive: i64,
}

/// No table holds it.
const UNHELD: u64 = u64::MAX;

impl<P: Weight> Many<P> {
    fn weight(&mut self, word: u64) -> i64 {
        if word == UNHELD {
            return self.others.get(&word).copied().unwrap_or(0);
        }
        match self.table.find(word).map(|at| self.table.payload(at).get()) {
            None => 0,
            Some(Some(weight)) => weight,
            Some(None) => self.others.get(&word).copied().unwrap_or(0),
        }
    }

    fn set(&mut self, word: u64, weight: i64) {
        self.positive += (weight > 0) as i64 - (self.weight(word) > 0) as i64;
        let narrow = P::of(weight).filter(|_| word != UNHELD);
        match narrow.is_some() || weight == 0 {
            true if self.others.is_empty() => {}
            true => drop(self.others.remove(&word)),
            false => drop(self.others.insert(word, weight)),
        }
        if word == UNHELD {
            return;
        }
        match self.table.find(word) {
            Some(at) if weight == 0 => self.table.remove_at(at),
            Some(at) => *self.table.payload(at) = narrow.unwrap_or_else(P::elsewhere),
            None if weight == 0 => {}
            None => self.table.insert(word, narrow.unwrap_or_else(P::elsewhere)),
        }
    }
}

impl<P: Weight> Few<P> {
    fn weight(&mut self, word: u64) -> i64 {
        match self {
            Few::One(one, weight) if *one == word => weight.get().unwrap_or(0),
            Few::None | Few::One(..) => 0,
            Few::Many(many) => many.weight(word),
            few => small!(few, small => small.weight(word), _ => 0),
        }
    }

    /// What holds the words with one more, or with a weight that does not fit beside its word.
    fn grow(&mut self, word: u64, weight: i64) {
        let mut all = Vec::with_capacity(43);
        self.each(|w, x| all.push((w, x)));
        all.retain(|(w, _)| *w != word);
        all.push((word, weight));
        let narrow = all.iter().all(|(_, x)| P::of(*x).is_some());
        *self = match all.len() {
            0..=2 if narrow => Few::Two(Small::new(&all)),
            3 if narrow => Few::Three(Small::new(&all)),
            4 if narrow => Few::Four(Small::new(&all)),
            5..=6 if narrow => Few::Six(Small::new(&all)),
            7..=9 if narrow => Few::Nine(Small::new(&all)),
            10..=13 if narrow => Few::Thirteen(Small::new(&all)),
            14..=18 if narrow => Few::Eighteen(Small::new(&all)),
            19..=24 if narrow => Few::TwentyFour(Small::new(&all)),
            25..=32 if narrow => Few::ThirtyTwo(Small::new(&all)),
            33..=42 if narrow => Few::FortyTwo(Small::new(&all)),
            _ => {
                let mut many = Many { table: WordTable::default(), others: HashMap::new(), positive: 0 };
                all.into_iter().for_each(|(word, weight)| many.set(word, weight));
                Few::Many(Box::new(many))
            }
        };
    }

    fn set(&mut self, word: u64, weight: i64) {
        let narrow = P::of(weight);
        if let Few::Many(many) = self {
            return many.set(word, weight);
        }
        let (room, empty) =
            small!(self, small => (small.set(word, weight), small.len == 0), _ => (false, false));
        match (&mut *self, narrow) {
            _ if empty => *self = Few::None,
            _ if room => {}
            (Few::One(one, _), _) if *one == word && weight == 0 => *self = Few::None,
            (Few::One(one, kept), Some(narrow)) if *one == word => *kept = narrow,
            (Few::None, Some(narrow)) if weight != 0 => *self = Few::One(word, narrow),
            _ if weight == 0 => {}
            _ => self.grow(word, weight),
        }
    }
}

impl<P: Weight> Values for Few<P> {
    type Print = u64;

    #[inline(always)]
    fn add(&mut self, word: u64, weight: i64) -> i64 {
        let before = self.weight(word);
        // Without weights, a word that is there stays as it is.
        if weight == 0 || size_of::<P>() == 0 && before > 0 {
            return 0;
        }
        let after = if size_of::<P>() == 0 { 1 } else { before + weight };
        self.set(word, after);
        (after > 0) as i64 - (before > 0) as i64
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Few::Many(many) => size_of::<Many<P>>() + many.table.bytes() + many.others.allocation_size(),
            few => small!(few, small => size_of_val(&**small), _ => 0),
        }
    }

    fn count(&self) -> Option<i64> {
        let positive = |weight: P| (weight.get().unwrap_or(0) > 0) as i64;
        Some(match self {
            Few::None => 0,
            Few::One(_, weight) => positive(*weight),
            Few::Many(many) => many.positive,
            few => small!(few, small => small.count(), _ => 0),
        })
    }

    fn each(&self, mut f: impl FnMut(u64, i64)) {
        match self {
            Few::None => {}
            Few::One(word, weight) => f(*word, weight.get().unwrap_or(0)),
            Few::Many(many) => {
                let narrow = many.table.iter().filter_map(|(word, weight)| Some((word, weight.get()?)));
                narrow.for_each(|(word, weight)| f(word, weight));
                many.others.iter().for_each(|(word, weight)| f(*word, *weight));
            }
            few => small!(few, small => small.each(f), _ => {}),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn contents<P: Weight>(few: &Few<P>) -> BTreeMap<u64, i64> {
        let mut found = BTreeMap::new();
        few.each(|word, weight| assert!(found.insert(word, weight).is_none()));
        found
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(
            steps in prop::collection::vec((prop_oneof![0u64..4, 0u64..60], prop_oneof![-3i64..4, -300i64..300, Just(i64::MAX / 99)]), 0..200),
        ) {
            let (mut weighed, mut model) = (Few::<i8>::default(), BTreeMap::new());
            let (mut seen, mut there) = (Few::<()>::default(), BTreeMap::new());
            for (word, weight) in steps {
                let word = UNHELD - (word << 40);
                let before: i64 = model.get(&word).copied().unwrap_or(0);
                let after = before + weight;
                prop_assert_eq!(weighed.add(word, weight), (after > 0) as i64 - (before > 0) as i64);
                model.insert(word, after);
                model.retain(|_, w| *w != 0);
                prop_assert_eq!(&contents(&weighed), &model);
                prop_assert_eq!(weighed.count(), Some(model.values().filter(|w| **w > 0).count() as i64));
                if weight > 0 {
                    prop_assert_eq!(seen.add(word, weight), there.insert(word, 1).is_none() as i64);
                }
                prop_assert_eq!(&contents(&seen), &there);
                prop_assert_eq!(seen.count(), Some(there.len() as i64));
            }
        }
    }

    #[test]
    fn one_word_costs_nothing_beside() {
        let mut few = Few::<i8>::default();
        few.add(7, 2);
        assert_eq!((size_of::<Few<i8>>(), few.heap_bytes()), (16, 0));
    }
}
