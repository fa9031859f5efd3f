use super::*;

#[test]
fn what_is_before_the_limit_comes_out_once() {
    let mut queue = TimeQueue::default();
    queue.add(vec![(5, 1), (3, 2), (9, 3)]);
    queue.add(vec![(4, 4), (3, 5)]);
    queue.add(Vec::new());
    let mut take = |limit| {
        let mut taken = queue.take_before(limit);
        taken.sort_unstable();
        (taken, queue.len())
    };
    assert_eq!(take(4), (vec![(3, 2), (3, 5)], 3));
    assert_eq!(take(4), (vec![], 3));
    assert_eq!(take(i64::MAX), (vec![(4, 4), (5, 1), (9, 3)], 0));
}
