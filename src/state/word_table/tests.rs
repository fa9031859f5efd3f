use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn check(table: &WordTable<i8>, model: &BTreeMap<u64, i8>) {
    assert_eq!(table.len(), model.len());
    assert_eq!(table.iter().collect::<Vec<_>>(), model.iter().map(|(w, p)| (*w, *p)).collect::<Vec<_>>());
    for word in model.keys() {
        assert!(table.find(*word).is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Few upper halves make long runs, also after the last place.
    #[test]
    fn agrees_with_a_map(steps in prop::collection::vec((any::<u8>(), any::<u16>(), any::<bool>()), 1..600)) {
        let (mut table, mut model) = (WordTable::<i8>::default(), BTreeMap::new());
        for (place, low, adds) in steps {
            let word = (place as u64) << 56 | (u64::MAX >> 8) & !0xFFFF | (low as u64).min(0xFFFE);
            match (table.find(word), adds) {
                (None, true) => table.insert(word, low as i8),
                (Some(at), true) => *table.payload(at) = place as i8,
                (Some(at), false) => table.remove_at(at),
                (None, false) => {}
            }
            match (adds, model.contains_key(&word)) {
                (true, false) => { model.insert(word, low as i8); }
                (true, true) => { model.insert(word, place as i8); }
                (false, _) => { model.remove(&word); }
            }
        }
        check(&table, &model);
        table.rebuild(PLACES_MIN.max(table.len() * 2));
        check(&table, &model);
    }
}

#[test]
fn entries_of_one_tag_are_told_apart() {
    let mut index = SlotIndex::default();
    for slot in 0..10_000u32 {
        index.insert((slot / 3).wrapping_mul(0x9E37_79B9), slot);
    }
    for slot in 0..10_000u32 {
        let tag = (slot / 3).wrapping_mul(0x9E37_79B9);
        assert_eq!(index.find(tag, |s| s == slot), Some(slot));
        assert_eq!(index.find(tag, |s| s / 3 != slot / 3), None);
    }
    for slot in (0..10_000u32).filter(|s| s % 3 != 1) {
        assert!(index.remove((slot / 3).wrapping_mul(0x9E37_79B9), slot));
    }
    assert!(!index.remove(0, 0));
    assert_eq!(index.len(), 3333);
    assert!(index.iter().all(|(_, s)| s % 3 == 1));
    let tag = 2u32.wrapping_mul(0x9E37_79B9);
    index.replace(tag, 7, 20_000);
    assert_eq!(index.find(tag, |_| true), Some(20_000));
    index.insert(tag, 30_000);
    index.replace(tag, 20_000, 40_000);
    let mut found = Vec::new();
    index.find(tag, |s| {
        found.push(s);
        false
    });
    assert_eq!(found, [30_000, 40_000]);
    index.remove(tag, 30_000);
    index.trim();
    assert_eq!(index.find(1u32.wrapping_mul(0x9E37_79B9), |_| true), Some(4));
}

#[test]
fn a_word_costs_less_than_twelve_bytes() {
    let mut table = WordTable::<()>::default();
    let mut worst = 0.0f64;
    for i in 1..300_000u64 {
        table.insert(i.wrapping_mul(0x9E37_79B9_7F4A_7C15), ());
        if i > 1000 {
            worst = worst.max(table.bytes() as f64 / i as f64);
        }
    }
    assert!(worst < 12.0, "{worst} bytes");
}
