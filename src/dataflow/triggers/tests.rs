use proptest::prelude::*;

use super::model::Model;
use super::*;
use crate::types::trigger::Accumulation;
use TriggerSpec::{AfterRows, AfterWatermark};

fn spec(policy: EmitPolicy, lateness_us: i64) -> EmitSpec {
    EmitSpec { policy, lateness_us, ..EmitSpec::changes() }
}

fn phases(early: Option<TriggerSpec>, late: Option<TriggerSpec>) -> EmitPolicy {
    EmitPolicy::Phases { early, on_time: Some(OnTime { if_not_empty: false }), late }
}

fn every(interval_us: i64) -> TriggerSpec {
    TriggerSpec::Every { interval_us, offset_us: 0 }
}

fn delay(delay_us: i64) -> TriggerSpec {
    TriggerSpec::AfterDelay { delay_us }
}

fn both(
    make: fn(Box<TriggerSpec>, Box<TriggerSpec>) -> TriggerSpec,
    a: TriggerSpec,
    b: TriggerSpec,
) -> TriggerSpec {
    make(Box::new(a), Box::new(b))
}

fn repeatedly(t: TriggerSpec) -> TriggerSpec {
    TriggerSpec::Repeatedly(Box::new(t))
}

/// `(now, rows, watermark)` of one epoch.
type Epoch = (i64, u64, i64);

/// One window that is only looked at when something happens to it, as the operators do.
struct Window {
    program: Program,
    end: i64,
    state: Option<PaneState>,
    /// The brief machine beside it, for clauses that have one.
    brief: Option<(BriefProgram, Option<BriefState>)>,
    timers: std::collections::BTreeSet<i64>,
    before: i64,
    gone: bool,
}

impl Window {
    fn new(spec: &EmitSpec, end: i64) -> Window {
        let program = Program::new(spec).unwrap();
        let brief = BriefProgram::of(&program).map(|program| (program, None));
        Window { program, end, state: None, brief, timers: Default::default(), before: i64::MIN, gone: false }
    }

    fn epoch(&mut self, (now, rows, watermark): Epoch) -> Option<Firing> {
        let times = EpochTimes { before: self.before, watermark, now };
        self.before = watermark;
        let accepted = !self.gone
            && !self.program.refuses(self.end, times.before)
            && !self.state.as_ref().is_some_and(PaneState::is_closed);
        let rows = if accepted { rows } else { 0 };
        if rows > 0 && self.state.is_none() {
            self.state = Some(self.program.state(self.end, times.before));
        }
        let due = self.timers.first().is_some_and(|t| *t <= now);
        self.timers = self.timers.split_off(&(now + 1));
        let passes = |at: i64| self.end != ENDLESS && times.before < at && at <= watermark;
        if rows == 0 && !due && !passes(self.end) && !passes(self.program.horizon(self.end)) {
            return None;
        }
        let state = self.state.as_mut().filter(|_| !self.gone)?;
        let step = self.program.advance(state, self.end, rows, &times);
        if let Some((program, state)) = &mut self.brief {
            let state = state.get_or_insert_with(|| program.state(self.end, times.before));
            assert_eq!(program.advance(state, self.end, rows as u32, &times), step);
            assert_eq!(self.state.as_ref().map(|s| s.awaits_horizon()), Some(state.awaits_horizon()));
        }
        if step.timer != NEVER {
            assert!(step.timer > now);
            self.timers.insert(step.timer);
        }
        self.gone = step.gone;
        step.firing
    }
}

/// The panes as text: `now TIMING index/nonspeculative`, with `first` and `last`.
fn panes(spec: &EmitSpec, end: i64, epochs: &[Epoch]) -> Vec<String> {
    let mut window = Window::new(spec, end);
    let line = |now: i64, f: Firing| {
        let first = if f.is_first { " first" } else { "" };
        let last = if f.is_last { " last" } else { "" };
        format!("{now} {} {}/{}{first}{last}", f.timing.as_str(), f.index, f.nonspeculative_index)
    };
    epochs.iter().filter_map(|e| Some(line(e.0, window.epoch(*e)?))).collect()
}

fn check(spec: &EmitSpec, end: i64, epochs: &[Epoch], expected: &[&str]) {
    assert_eq!(panes(spec, end, epochs), expected, "{spec:?}");
}

const NONE: i64 = i64::MIN;

#[test]
fn changes_and_final() {
    let changes = spec(EmitPolicy::Changes, 0);
    let epochs = [(1, 2, NONE), (2, 0, 5), (3, 1, 9), (4, 1, 10), (5, 1, 11)];
    check(&changes, 10, &epochs, &["1 EARLY 0/-1 first", "3 EARLY 1/-1", "4 ON_TIME 2/0 last"]);
    check(&spec(EmitPolicy::Final, 0), 10, &epochs, &["4 ON_TIME 0/0 first last"]);
    let epochs = [(1, 1, 9), (2, 1, 10), (3, 1, 11), (4, 1, 12), (5, 1, 12)];
    check(&spec(EmitPolicy::Final, 2), 10, &epochs, &["4 LATE 0/0 first last"]);
    // 5: one step past both ends.
    check(&spec(EmitPolicy::Final, 2), 10, &[(1, 1, 9), (2, 0, 99)], &["2 ON_TIME 0/0 first last"]);
    check(
        &spec(EmitPolicy::Changes, 2),
        10,
        &epochs,
        &["1 EARLY 0/-1 first", "2 ON_TIME 1/0", "3 LATE 2/1", "4 LATE 3/2 last"],
    );
}

#[test]
fn the_end_has_passed_exactly_at_it() {
    let on_time = spec(phases(None, None), 0);
    check(&on_time, 10, &[(1, 1, 9), (2, 0, 9), (3, 0, 10)], &["3 ON_TIME 0/0 first last"]);
    // 1: late is judged by W before the epoch, too late at e + L exactly.
    let late = spec(phases(None, Some(AfterRows(1))), 2);
    check(
        &late,
        10,
        &[(1, 1, 10), (2, 1, 11), (3, 1, 11), (4, 0, 12)],
        &["1 ON_TIME 0/0 first", "2 LATE 1/1", "3 LATE 2/2"],
    );
    check(&late, 10, &[(1, 1, 10), (2, 1, 12), (3, 1, 12)], &["1 ON_TIME 0/0 first", "2 LATE 1/1 last"]);
}

#[test]
fn on_time_fires_once_and_also_if_nothing_is_new() {
    let spec1 = spec(phases(Some(AfterRows(1)), None), 0);
    check(&spec1, 10, &[(1, 1, 0), (2, 0, 10)], &["1 EARLY 0/-1 first", "2 ON_TIME 1/0 last"]);
    let mut not_empty = spec1.clone();
    not_empty.policy = EmitPolicy::Phases {
        early: Some(AfterRows(1)),
        on_time: Some(OnTime { if_not_empty: true }),
        late: None,
    };
    check(&not_empty, 10, &[(1, 1, 0), (2, 0, 10)], &["1 EARLY 0/-1 first"]);
    check(&not_empty, 10, &[(1, 1, 0), (2, 1, 10)], &["1 EARLY 0/-1 first", "2 ON_TIME 1/0 last"]);
    // A suppressed firing uses no index; CLOSING ALWAYS brings the last pane.
    let always = EmitSpec { closing: Closing::Always, lateness_us: 5, ..not_empty };
    check(
        &always,
        10,
        &[(1, 1, 0), (2, 0, 10), (3, 0, 14), (4, 0, 15)],
        &["1 EARLY 0/-1 first", "4 LATE 1/0 last"],
    );
    // A window that never held a row never fires.
    check(&always, 10, &[(2, 0, 10), (4, 0, 15)], &[]);
}

#[test]
fn one_step_past_the_end_and_the_lateness_is_one_pane() {
    for closing in [Closing::IfNotEmpty, Closing::Always] {
        let spec = EmitSpec { closing, ..spec(phases(Some(AfterRows(2)), Some(AfterRows(2))), 5) };
        check(&spec, 10, &[(1, 1, 0), (2, 1, 15)], &["2 ON_TIME 0/0 first last"]);
        check(&spec, 10, &[(1, 2, 0), (2, 0, i64::MAX)], &["1 EARLY 0/-1 first", "2 ON_TIME 1/0 last"]);
    }
    // e + L saturates: only the end of input closes it.
    let far = spec(phases(None, Some(AfterRows(1))), i64::MAX);
    let epochs = [(1, 1, 10), (2, 1, i64::MAX - 1), (3, 1, i64::MAX)];
    check(&far, 10, &epochs, &["1 ON_TIME 0/0 first", "2 LATE 1/1", "3 LATE 2/2 last"]);
}

#[test]
fn closing_panes_hold_what_no_trigger_fired() {
    let spec = spec(phases(None, Some(AfterRows(3))), 5);
    let epochs = [(1, 1, 10), (2, 2, 11), (3, 1, 12), (4, 1, 13), (5, 0, 15)];
    check(&spec, 10, &epochs, &["1 ON_TIME 0/0 first", "3 LATE 1/1", "5 LATE 2/2 last"]);
    // Passing the end starts the late count at 0: the row of that epoch does not count.
    let epochs = [(1, 2, 9), (2, 2, 10), (3, 2, 11), (4, 1, 11)];
    check(&spec, 10, &epochs, &["2 ON_TIME 0/0 first", "4 LATE 1/1"]);
}

#[test]
fn counts_start_again_from_zero() {
    let spec = spec(phases(Some(AfterRows(3)), None), 0);
    let epochs = [(1, 2, 0), (2, 5, 0), (3, 2, 0), (4, 1, 0)];
    check(&spec, 10, &epochs, &["2 EARLY 0/-1 first", "4 EARLY 1/-1"]);
}

#[test]
fn aligned_delays_include_the_row_on_the_boundary() {
    let spec1 = spec(phases(Some(every(10)), None), 0);
    let epochs = [(3, 1, 0), (9, 0, 0), (10, 1, 0), (20, 0, 0), (21, 1, 0), (30, 0, 0), (31, 0, 0)];
    check(&spec1, 100, &epochs, &["10 EARLY 0/-1 first", "30 EARLY 1/-1"]);
    check(&spec1, 100, &[(10, 1, 0), (11, 1, 0), (20, 1, 0)], &["10 EARLY 0/-1 first", "20 EARLY 1/-1"]);
    // Before 1970 too, and with an offset.
    check(&spec1, 100, &[(-15, 1, 0), (-11, 0, 0), (-10, 0, 0)], &["-10 EARLY 0/-1 first"]);
    let offset = spec(phases(Some(TriggerSpec::Every { interval_us: 10, offset_us: 3 }), None), 0);
    check(&offset, 100, &[(4, 1, 0), (12, 0, 0), (13, 0, 0)], &["13 EARLY 0/-1 first"]);
}

#[test]
fn unaligned_delays_count_from_the_first_row_since_the_firing() {
    let spec = spec(phases(Some(delay(10)), Some(delay(4))), 50);
    let epochs = [(3, 1, 0), (9, 1, 0), (12, 0, 0), (13, 1, 0), (14, 1, 0), (23, 0, 0), (24, 0, 0)];
    check(&spec, 100, &epochs, &["13 EARLY 0/-1 first", "24 EARLY 1/-1"]);
    // Passing the end forgets the pending early timer.
    let epochs = [(3, 1, 0), (5, 0, 100), (13, 0, 100), (20, 1, 100), (23, 1, 100), (24, 0, 100)];
    check(&spec, 100, &epochs, &["5 ON_TIME 0/0 first", "24 LATE 1/1"]);
}

#[test]
fn a_window_created_late_has_late_panes_only() {
    let spec = spec(phases(Some(AfterRows(1)), Some(AfterRows(1))), 50);
    check(&spec, 10, &[(1, 0, 10), (2, 1, 11), (3, 0, 60)], &["2 LATE 0/0 first"]);
    check(&spec, 10, &[(1, 0, 9), (2, 1, 11)], &["2 ON_TIME 0/0 first"]);
}

#[test]
fn free_triggers_finish_and_close_their_window() {
    let once = spec(EmitPolicy::When(AfterRows(2)), 5);
    check(
        &once,
        10,
        &[(1, 1, 0), (2, 2, 0), (3, 5, 0), (4, 0, 10), (5, 0, 15)],
        &["2 EARLY 0/-1 first last"],
    );
    let then = spec(EmitPolicy::When(both(TriggerSpec::Then, AfterRows(2), AfterRows(1))), 5);
    let epochs = [(1, 1, 0), (2, 2, 0), (3, 0, 0), (4, 1, 0), (5, 1, 0), (6, 0, 15)];
    check(&then, 10, &epochs, &["2 EARLY 0/-1 first", "4 EARLY 1/-1 last"]);
    let or = spec(EmitPolicy::When(repeatedly(both(TriggerSpec::Or, AfterRows(3), delay(5)))), 0);
    let epochs = [(1, 1, 0), (6, 0, 0), (7, 2, 0), (8, 1, 0), (12, 0, 0), (13, 1, 0), (18, 0, 0)];
    check(&or, 99, &epochs, &["6 EARLY 0/-1 first", "8 EARLY 1/-1", "18 EARLY 2/-1"]);
    let and = spec(EmitPolicy::When(repeatedly(both(TriggerSpec::And, AfterRows(3), delay(5)))), 0);
    let epochs = [(1, 3, 0), (5, 0, 0), (6, 0, 0), (7, 1, 0), (12, 0, 0), (13, 2, 0)];
    check(&and, 99, &epochs, &["6 EARLY 0/-1 first", "13 EARLY 1/-1"]);
    // A trigger that has not finished leaves a closing pane.
    check(&once, 10, &[(1, 1, 0), (2, 0, 10), (3, 0, 15)], &["3 LATE 0/0 first last"]);
}

#[test]
fn until_keeps_its_count_across_firings_of_the_left() {
    let until = both(TriggerSpec::Until, repeatedly(AfterRows(2)), AfterRows(5));
    let until = spec(EmitPolicy::When(until), 0);
    let epochs = [(1, 2, 0), (2, 2, 0), (3, 1, 0), (4, 3, 0)];
    check(&until, 10, &epochs, &["1 EARLY 0/-1 first", "2 EARLY 1/-1", "3 EARLY 2/-1 last"]);
    // As in Beam, the whole also finishes with its left side.
    let until = spec(EmitPolicy::When(both(TriggerSpec::Until, AfterRows(2), AfterRows(5))), 0);
    check(&until, 10, &epochs, &["1 EARLY 0/-1 first last"]);
    let mark = both(TriggerSpec::Until, repeatedly(AfterRows(2)), AfterWatermark);
    let mark = spec(EmitPolicy::When(mark), 5);
    let epochs = [(1, 2, 0), (2, 0, 10), (3, 3, 12)];
    check(&mark, 10, &epochs, &["1 EARLY 0/-1 first", "2 ON_TIME 1/0 last"]);
}

#[test]
fn endless_windows_never_end() {
    let spec = spec(phases(Some(AfterRows(2)), None), 0);
    check(&spec, ENDLESS, &[(1, 1, i64::MAX), (2, 1, i64::MAX), (3, 1, i64::MAX)], &["2 EARLY 0/-1 first"]);
}

#[test]
fn states_are_small_and_triggers_bounded() {
    assert!(size_of::<PaneState>() <= 64);
    let program = Program::new(&spec(phases(Some(every(1)), Some(AfterRows(1))), 0)).unwrap();
    assert_eq!(program.state(10, NONE).heap_bytes(), 0);
    let deep = (0..TRIGGER_NODES_MAX).fold(AfterRows(1), |t, _| repeatedly(t));
    assert_eq!(Program::new(&spec(EmitPolicy::When(deep), 0)).unwrap_err().sqlstate(), "54001");
}

mod merging {
    use super::*;

    fn fed(program: &Program, end: i64, epochs: &[(i64, u64)], watermark: i64) -> PaneState {
        let mut state = program.state(end, NONE);
        for (now, rows) in epochs {
            let times = EpochTimes { before: NONE, watermark, now: *now };
            program.advance(&mut state, end, *rows, &times);
        }
        state
    }

    fn merged(program: &Program, parts: &[(&PaneState, bool)], end: i64, before: i64) -> PaneState {
        let parts: Vec<Merged<'_>> =
            parts.iter().map(|(state, same_bounds)| Merged { state, same_bounds: *same_bounds }).collect();
        program.merge(&parts, end, before)
    }

    #[test]
    fn counts_add_up_and_the_merged_window_is_new() {
        let program = Program::new(&spec(phases(Some(AfterRows(5)), None), 0)).unwrap();
        let (a, b) = (fed(&program, 10, &[(1, 5), (2, 2)], 0), fed(&program, 12, &[(1, 2)], 0));
        assert_eq!((a.panes(), b.panes()), (1, 0));
        let mut both = merged(&program, &[(&a, false), (&b, false)], 20, 0);
        assert_eq!((both.panes(), both.has_unfired()), (0, true));
        let times = EpochTimes { before: 0, watermark: 0, now: 3 };
        let firing = program.advance(&mut both, 20, 1, &times).firing.unwrap();
        assert_eq!((firing.index, firing.is_first), (0, true));
        // The same bounds continue.
        let same = merged(&program, &[(&a, true), (&b, false)], 10, 0);
        assert_eq!(same.panes(), 1);
    }

    #[test]
    fn the_earliest_delay_holds() {
        let program = Program::new(&spec(phases(Some(delay(10)), None), 0)).unwrap();
        let (a, b) = (fed(&program, 10, &[(7, 1)], 0), fed(&program, 12, &[(4, 1)], 0));
        let mut both = merged(&program, &[(&a, false), (&b, false)], 20, 0);
        let times = EpochTimes { before: 0, watermark: 0, now: 8 };
        assert_eq!(program.advance(&mut both, 20, 1, &times).timer, 14);
    }

    #[test]
    fn a_late_window_can_become_early_again() {
        let program = Program::new(&spec(phases(Some(AfterRows(3)), Some(AfterRows(4))), 50)).unwrap();
        // On time at 10, then two late rows that have not fired.
        let late = fed(&program, 10, &[(1, 1), (2, 2)], 10);
        assert_eq!((late.panes(), late.has_unfired()), (1, true));
        let mut early = merged(&program, &[(&late, false)], 15, 10);
        let times = EpochTimes { before: 10, watermark: 10, now: 3 };
        let firing = program.advance(&mut early, 15, 1, &times).firing.unwrap();
        assert_eq!((firing.timing, firing.index), (PaneTiming::Early, 0));
        let times = EpochTimes { before: 10, watermark: 15, now: 4 };
        let firing = program.advance(&mut early, 15, 0, &times).firing.unwrap();
        assert_eq!((firing.timing, firing.index), (PaneTiming::OnTime, 1));
    }

    #[test]
    fn then_goes_back_to_what_one_of_the_windows_has_not_done() {
        let then = both(TriggerSpec::Then, AfterRows(4), AfterRows(2));
        let program = Program::new(&spec(EmitPolicy::When(then), 0)).unwrap();
        let a = fed(&program, 10, &[(1, 4), (2, 1)], 0);
        let b = fed(&program, 12, &[(1, 2)], 0);
        let mut state = merged(&program, &[(&a, false), (&b, false)], 20, 0);
        let times = EpochTimes { before: 0, watermark: 0, now: 3 };
        // 1 unfired row of a, 2 of b, 1 new: the first part fires, the second follows.
        assert!(program.advance(&mut state, 20, 1, &times).firing.is_some());
        assert!(program.advance(&mut state, 20, 1, &times).firing.is_none());
        assert!(program.advance(&mut state, 20, 1, &times).firing.unwrap().is_last);
    }
}

pub fn trigger() -> impl Strategy<Value = TriggerSpec> {
    let leaf = prop_oneof![
        3 => (1u64..6).prop_map(AfterRows),
        2 => (1i64..9, 0i64..9).prop_map(|(interval_us, offset_us)| TriggerSpec::Every { interval_us, offset_us }),
        2 => (0i64..9).prop_map(delay),
        1 => Just(AfterWatermark),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        let pair = (inner.clone(), inner.clone(), 0..4usize);
        prop_oneof![
            inner.prop_map(repeatedly),
            pair.prop_map(|(a, b, kind)| {
                let make = [TriggerSpec::Or, TriggerSpec::And, TriggerSpec::Then, TriggerSpec::Until][kind];
                both(make, a, b)
            }),
        ]
    })
}

pub fn emit_spec() -> impl Strategy<Value = EmitSpec> {
    let on_time = prop::option::weighted(0.9, any::<bool>().prop_map(|if_not_empty| OnTime { if_not_empty }));
    let some = || prop::option::weighted(0.7, trigger());
    let policy = prop_oneof![
        1 => Just(EmitPolicy::Changes),
        1 => Just(EmitPolicy::Final),
        5 => (some(), on_time, some())
            .prop_map(|(early, on_time, late)| EmitPolicy::Phases { early, on_time, late }),
        4 => trigger().prop_map(EmitPolicy::When),
    ];
    let lateness = prop_oneof![2 => Just(0i64), 4 => 1i64..20, 1 => Just(i64::MAX)];
    (policy, lateness, any::<bool>()).prop_map(|(policy, lateness_us, always)| EmitSpec {
        policy,
        lateness_us,
        closing: if always { Closing::Always } else { Closing::IfNotEmpty },
        accumulation: Accumulation::Accumulating,
        with_pane_columns: true,
    })
}

/// Random schedules of a test: `HEADWATER_SCHEDULES`, or so many.
pub fn schedules(default: u32) -> u32 {
    std::env::var("HEADWATER_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(schedules(2000)))]
    /// Clock, rows and watermark move by random steps; the machine is asked only when
    /// something happens, the model in every epoch.
    #[test]
    fn agrees_with_the_model(
        spec in emit_spec(),
        end in prop_oneof![5 => 5i64..30, 1 => Just(ENDLESS)],
        steps in prop::collection::vec((0i64..4, prop_oneof![2 => Just(0u64), 1 => 1u64..5], 0i64..6), 1..40),
        last in any::<bool>(),
    ) {
        let mut window = Window::new(&spec, end);
        let mut model: Option<Model> = None;
        let (mut now, mut watermark) = (-5, -3);
        let mut before = i64::MIN;
        let mut epochs: Vec<Epoch> = Vec::new();
        for (clock, rows, step) in &steps {
            now += clock;
            watermark += step;
            epochs.push((now, *rows, watermark));
        }
        if last {
            epochs.push((now, 0, i64::MAX));
        }
        for epoch in &epochs {
            let (now, rows, watermark) = *epoch;
            let times = EpochTimes { before, watermark, now };
            let taken = end == ENDLESS || before < end.saturating_add(spec.lateness_us);
            if rows > 0 && taken && model.is_none() {
                model = Some(Model::new(&spec, end, before));
            }
            let expected = model.as_mut().and_then(|m| {
                let rows = if m.takes_rows(before) { rows } else { 0 };
                m.epoch(rows, &times)
            });
            prop_assert_eq!(window.epoch(*epoch), expected, "at {:?} of {:?}", epoch, epochs);
            before = watermark;
        }
        prop_assert_eq!(window.gone, end != ENDLESS && before >= end.saturating_add(spec.lateness_us) && window.state.is_some());
    }
}
