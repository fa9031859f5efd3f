use super::*;

fn at(watermark: i64) -> RelationTime {
    RelationTime { watermark: EventTime(watermark), state: TimeState::Active }
}

fn idle(watermark: i64) -> RelationTime {
    RelationTime { state: TimeState::Idle, ..at(watermark) }
}

/// A view over three inputs of which operators follow {0,1} and {0,1,2}.
fn view() -> ViewTime {
    let clocks = [vec![0, 1], vec![0, 1, 2]].map(|inputs| (inputs.into(), EventTime::MIN)).into();
    ViewTime {
        inputs: vec![0, 1, 2],
        behind: Clock::default(),
        clocks,
        reached: EventTime::MIN,
        output: at(i64::MIN),
        since: i64::MIN,
    }
}

/// The watermarks of {0,1}, {0,1,2} and the view after each step.
fn check(steps: &[([RelationTime; 3], [i64; 3])]) {
    let mut view = view();
    for (step, (times, expected)) in steps.iter().enumerate() {
        let fed = view.advance(times, step as i64);
        let found = [fed.of(&vec![0, 1].into()).0, fed.of(&vec![0, 1, 2].into()).0, view.output.watermark.0];
        assert_eq!(found, *expected, "step {step}");
    }
}

#[test]
fn the_minimum_of_the_inputs_that_are_not_idle() {
    check(&[
        ([at(5), at(3), at(9)], [3, 3, 3]),
        // Idle inputs are left out; the others go on.
        ([at(7), idle(3), at(9)], [7, 7, 7]),
        ([idle(7), idle(3), at(9)], [7, 9, 9]),
    ]);
}

#[test]
fn it_holds_when_all_are_idle_and_never_falls() {
    check(&[
        ([at(7), idle(3), idle(1)], [7, 7, 7]),
        ([idle(7), idle(3), idle(1)], [7, 7, 7]),
        // Inputs that wake up behind do not turn it back.
        ([at(7), at(4), at(1)], [7, 7, 7]),
        ([at(9), at(8), at(6)], [8, 7, 7]),
        ([at(9), at(8), at(10)], [8, 8, 8]),
    ]);
}

#[test]
fn tables_hold_nobody_back_and_do_not_count_as_active() {
    let table = RelationTime::UNTIMED;
    check(&[([at(5), table, table], [5, 5, 5]), ([idle(5), table, table], [5, 5, 5])]);
    let mut view = view();
    view.advance(&[table, table, table], 0);
    assert_eq!(view.output, RelationTime::UNTIMED);
}

#[test]
fn since_is_when_the_watermark_last_rose() {
    let mut view = view();
    let mut since = |times: [RelationTime; 3], now| {
        view.advance(&times, now);
        view.since
    };
    assert_eq!(since([at(1), at(1), at(1)], 10), 10);
    assert_eq!(since([at(2), at(1), at(1)], 20), 10);
    assert_eq!(since([at(2), at(2), at(2)], 30), 30);
}
