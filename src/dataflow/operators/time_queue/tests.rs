use proptest::prelude::*;

use super::*;

#[test]
fn what_is_before_the_limit_comes_out_once() {
    let mut queue = TimeQueue::default();
    queue.add(vec![(5, 1), (3, 2), (9, 3)]);
    queue.add(vec![(4, 4), (3, 5)]);
    queue.add(Vec::new());
    assert_eq!(queue.first(), Some(3));
    let mut take = |limit| (queue.take_before(limit), queue.len());
    assert_eq!(take(4), (vec![(3, 2), (3, 5)], 3));
    assert_eq!(take(4), (vec![], 3));
    assert_eq!(take(i64::MAX), (vec![(4, 4), (5, 1), (9, 3)], 0));
    assert_eq!(queue.first(), None);
}

proptest! {
    #[test]
    fn agrees_with_a_sorted_vector(
        steps in prop::collection::vec((prop::collection::vec((0i64..100, 0u32..9), 0..40), 0i64..90), 0..40),
    ) {
        let (mut queue, mut model) = (TimeQueue::default(), Vec::new());
        for (run, limit) in steps {
            model.extend(run.iter().copied());
            model.sort_unstable();
            queue.add(run);
            // Mostly little is due.
            let limit = if limit % 5 == 0 { limit } else { limit / 8 };
            let due = model.partition_point(|(time, _)| *time < limit);
            prop_assert_eq!(queue.take_before(limit), model.drain(..due).collect::<Vec<_>>());
            prop_assert_eq!((queue.len(), queue.first()), (model.len(), model.first().map(|(t, _)| *t)));
            let mut all: Vec<_> = queue.iter().collect();
            all.sort_unstable();
            prop_assert_eq!(&all, &model);
        }
    }
}

#[test]
fn a_thing_costs_its_time_and_itself() {
    let mut queue = TimeQueue::default();
    for i in 0..200_000i64 {
        queue.add(vec![(i.wrapping_mul(0x9E37_79B9) & 0xFFFF, i as u32)]);
    }
    assert!(queue.bytes() < 200_000 * 12 + 4096, "{}", queue.bytes());
}
