use arrow::array::TimestampMicrosecondArray;

use super::*;

fn two_splits() -> SourceProgress {
    let ranges = [0, 1].map(|split| SplitRange { split, start_offset: 0, end_offset: None });
    SourceProgress::new(&ranges, 0)
}

fn rows(times: &[i64]) -> ChunkTime {
    let proven = TimestampMicrosecondArray::from(times.to_vec());
    ChunkTime { proven: Some(proven), ..ChunkTime::default() }
}

#[test]
fn a_source_watermark_is_the_minimum_of_its_active_splits_and_never_falls() {
    let mut p = two_splits();
    p.take(0, 1, 1, &rows(&[100]), None, 0);
    assert!(!p.combine(0), "split 1 has proven nothing");
    p.take(1, 1, 1, &rows(&[50]), None, 0);
    assert!(p.combine(0));
    assert_eq!(p.watermark, 50);
    p.split_mut(1, 0).idle = true;
    assert!(p.combine(0));
    assert_eq!(p.watermark, 100);
    p.split_mut(1, 0).idle = false;
    p.split_mut(2, 0);
    assert!(!p.combine(0));
    assert_eq!(p.watermark, 100, "a new or woken split holds, but does not turn it back");
    p.splits.values_mut().for_each(|s| s.idle = true);
    assert!(!p.combine(0) && p.is_idle(), "all idle: the watermark holds");
}

#[test]
fn a_new_split_holds_until_it_has_caught_up() {
    let mut p = two_splits();
    p.take(0, 1, 1, &rows(&[100]), None, 0);
    p.take(1, 1, 1, &rows(&[100]), None, 0);
    assert!(p.combine(0));
    p.take(2, 1, 1, &rows(&[30]), None, 0);
    p.take(0, 2, 1, &rows(&[200]), None, 0);
    p.take(1, 2, 1, &rows(&[300]), None, 0);
    assert!(!p.combine(0));
    p.take(2, 2, 1, &rows(&[150]), None, 0);
    assert!(p.combine(0));
    assert_eq!(p.watermark, 150);
}

#[test]
fn only_time_spent_listening_makes_a_split_idle() {
    let second = 1_000_000;
    let mut p = two_splits();
    let split = p.split_mut(0, 0);
    let timeout = Some(30 * second);
    split.listen(true, timeout, 29 * second);
    assert!(!split.idle);
    split.listen(true, timeout, 30 * second);
    assert!(split.idle, "silent for exactly the timeout");
    // Behind, back-pressured or disconnected: the time does not count.
    split.listen(false, timeout, 31 * second);
    assert!(!split.idle);
    split.listen(false, timeout, 500 * second);
    split.listen(true, timeout, 529 * second);
    assert!(!split.idle);
    split.listen(true, timeout, 530 * second);
    assert!(split.idle);
    p.take(0, 5, 5, &rows(&[1]), None, 531 * second);
    assert!(!p.splits[&0].idle, "a row wakes it");
    let split = p.split_mut(1, 0);
    split.listen(true, None, i64::MAX);
    assert!(!split.idle, "no timeout, never idle");
}

#[test]
fn splits_that_become_idle_in_one_cut_do_so_in_their_order() {
    let timeout = Some(30);
    let mut p = SourceProgress::new(&[], 0);
    p.take(0, 1, 1, &rows(&[500]), None, 10);
    p.take(1, 1, 1, &rows(&[300]), None, 12);
    p.take(2, 1, 1, &rows(&[400]), None, 12);
    p.split_mut(3, 20);
    assert!(!p.combine(20), "split 3 has no row");
    for split in 0..4 {
        p.split_mut(split, 0).listen(true, timeout, 100);
    }
    assert!(p.combine(100) && p.is_idle());
    assert_eq!(p.watermark, 300, "the slower of the two that were left");
    p.take(0, 2, 1, &rows(&[600]), None, 110);
    assert!(p.combine(110));
    assert_eq!(p.watermark, 600, "only split 0 is awake");
    p.split_mut(0, 0).listen(true, timeout, 200);
    assert!(!p.combine(200));
}

#[test]
fn a_split_of_percentile_stays_behind_the_newest_by_the_estimated_delay() {
    let mut p = two_splits();
    p.take(0, 4, 4, &rows(&[100, 90, 110, 95]), Some(0.5), 0);
    // Delays 0, 10, 0, 15: half of the rows are at most 0 behind.
    assert_eq!((p.splits[&0].watermark, p.splits[&0].delay_us), (110, Some(0)));
    p.take(1, 4, 4, &rows(&[100, 90, 110, 95]), Some(1.0), 0);
    assert_eq!((p.splits[&1].watermark, p.splits[&1].delay_us), (95, Some(15)));
    // A later burst of delay does not turn the watermark back.
    p.take(1, 5, 1, &rows(&[80]), Some(1.0), 0);
    assert_eq!((p.splits[&1].watermark, p.splits[&1].delay_us), (95, Some(30)));
}

#[test]
fn rows_ahead_of_the_clock_and_marks_of_the_source_are_kept_account_of() {
    let mut p = two_splits();
    let time = ChunkTime { skewed: vec![(3, 900), (5, 950)], marks: vec![(2, 40), (6, 60)], ..rows(&[50]) };
    p.take(0, 7, 3, &time, None, 9);
    let split = p.splits[&0];
    assert_eq!((split.watermark, split.skewed_rows, split.last_skew), (60, 2, Some((5, 950))));
    assert_eq!((split.offset, split.rows, split.since), (7, 3, 9));
}

#[test]
fn the_journal_gives_back_what_a_cut_said() {
    let mut p = two_splits();
    p.take(0, 7, 7, &rows(&[70]), None, 5);
    p.take(1, 3, 3, &rows(&[60]), None, 5);
    p.combine(5);
    let cut = p.to_cut(9);
    let mut again = two_splits();
    again.set(&cut, 5);
    assert_eq!(again.to_cut(9), cut);
    assert_eq!((again.watermark, again.since, again.splits[&1].since), (60, 5, 5));
    let earlier = SourceCut { source: 9, watermark: 10, splits: vec![] };
    again.set(&earlier, 6);
    assert_eq!(again.watermark, 60);
}
