use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use super::super::graph::{InputSpec, Node, Stage, StageInput, StageOrigin, StageSpec};
use super::super::operator::Operator;
use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]))
}

fn batch(values: impl IntoIterator<Item = i64>) -> ChangeBatch {
    let values = Int64Array::from_iter_values(values);
    ChangeBatch::inserts(RecordBatch::try_new(schema(), vec![Arc::new(values)]).unwrap())
}

fn values(batch: &ChangeBatch) -> Vec<i64> {
    batch.rows.column(0).as_primitive::<Int64Type>().values().to_vec()
}

/// Adds a number to every value, and fails on two of them.
struct Add(i64);

impl Operator for Add {
    fn name(&self) -> &str {
        "add"
    }
    fn push(&mut self, _: usize, rows: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let values = values(&rows);
        if values.contains(&-1) {
            return Err(HwError::new("22012", "division by zero"));
        }
        assert!(!values.contains(&-2), "value -2");
        out.push(batch(values.into_iter().map(|v| v + self.0)));
        Ok(())
    }
    fn finish_epoch(&mut self, _: &EpochContext, _: &mut Vec<ChangeBatch>) -> Result<()> {
        Ok(())
    }
}

/// Emits 1000 × (number of rows ever seen at input 0) + rows seen at input 1, at each epoch;
/// wants to be called again at `now` + 5.
#[derive(Default)]
struct Count([i64; 2], Option<ProcTime>);

impl Operator for Count {
    fn name(&self) -> &str {
        "count"
    }
    fn push(&mut self, input: usize, rows: ChangeBatch, _: &mut Vec<ChangeBatch>) -> Result<()> {
        self.0[input] += rows.len() as i64;
        Ok(())
    }
    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        self.1 = Some(ProcTime(cx.now.0 + 5));
        out.push(batch([1000 * self.0[0] + self.0[1]]));
        Ok(())
    }
    fn next_timer(&self) -> Option<ProcTime> {
        self.1
    }
    fn state_size(&self) -> StateSize {
        StateSize { entries: 2, bytes: 16 }
    }
}

fn stage<O: Operator + 'static>(
    inputs: &[(StageOrigin, Option<Vec<usize>>)],
    operator: impl Fn() -> O + Send + Sync + 'static,
) -> StageSpec {
    let inputs: Vec<_> = inputs
        .iter()
        .map(|(from, exchange)| StageInput { from: *from, exchange: exchange.clone(), replicate: false })
        .collect();
    let ports: Vec<_> = (0..inputs.len()).map(|i| vec![(0, i)]).collect();
    let build = Arc::new(move |_: usize| {
        let node = Node::new(Box::new(operator()), vec![]);
        Ok(Stage { nodes: vec![node], ports: ports.clone(), output: 0 })
    });
    StageSpec { inputs, output_schema: schema(), build }
}

fn spec(id: ObjectId, relations: &[ObjectId], stages: Vec<StageSpec>) -> Arc<DataflowSpec> {
    let inputs = relations.iter().map(|r| InputSpec { relation: *r, schema: schema() }).collect();
    Arc::new(DataflowSpec { id, name: format!("view{id}"), inputs, stages })
}

/// Two `add` stages with an exchange before each.
fn chain(id: ObjectId, relation: ObjectId) -> Arc<DataflowSpec> {
    let first = stage(&[(StageOrigin::Input(0), Some(vec![0]))], || Add(10));
    let second = stage(&[(StageOrigin::Stage(0), Some(vec![0]))], || Add(100));
    spec(id, &[relation], vec![first, second])
}

type Calls = Vec<(u64, usize, Vec<i64>)>;

/// Records every call: epoch, worker, values.
#[derive(Default)]
struct Recorder(Mutex<Calls>);

impl ViewOutput for Recorder {
    fn epoch(&self, worker: usize, cx: &EpochContext, changes: &[ChangeBatch]) -> Result<()> {
        self.0.lock().push((cx.epoch.0, worker, changes.iter().flat_map(values).collect()));
        Ok(())
    }
}

impl Recorder {
    /// Sorted values of each epoch, of all workers.
    fn epochs(&self) -> BTreeMap<u64, Vec<i64>> {
        let mut epochs = BTreeMap::<u64, Vec<i64>>::new();
        for (epoch, _, values) in self.0.lock().iter() {
            epochs.entry(*epoch).or_default().extend(values);
        }
        epochs.values_mut().for_each(|values| values.sort());
        epochs
    }
}

struct Rig {
    host: Host,
    reports: Receiver<Report>,
}

impl Rig {
    fn new(workers: usize) -> Rig {
        let (sender, reports) = bounded(8);
        Rig { host: Host::start(workers, sender).unwrap(), reports }
    }

    fn build(&self, spec: Arc<DataflowSpec>, hydrating: bool) -> Arc<Recorder> {
        let output = Arc::new(Recorder::default());
        self.host.build(spec, output.clone(), BuildOptions { hydrating, queued_rows_max: 100 });
        output
    }

    /// Feeds rows, dealt to the workers in turn.
    fn feed(&self, epoch: u64, dataflows: &[ObjectId], rows: &[(ObjectId, Vec<i64>)], private: bool) {
        let workers = self.host.workers();
        let deal = |values: &Vec<i64>| {
            let mut per_worker = vec![vec![]; workers];
            values.iter().enumerate().for_each(|(i, v)| per_worker[i % workers].push(batch([*v])));
            per_worker
        };
        self.host.feed(Arc::new(Feed {
            epoch: Epoch(epoch),
            now: ProcTime(epoch as i64),
            dataflows: dataflows
                .iter()
                .map(|id| DataflowFeed { id: *id, watermarks: Watermarks::default(), now: None })
                .collect(),
            rows: rows.iter().map(|(r, v)| RelationRows { relation: *r, per_worker: deal(v) }).collect(),
            private: private.then_some(dataflows[0]),
        }));
    }

    /// The next report that is not `Built`.
    fn report(&self) -> Report {
        loop {
            match self.reports.recv_timeout(PATIENCE).expect("a report") {
                Report::Built { .. } => {}
                report => return report,
            }
        }
    }

    /// Waits until all workers have reported these epochs of these dataflows.
    fn wait(&self, dataflows: &[ObjectId], epochs: std::ops::RangeInclusive<u64>) {
        let workers = self.host.workers();
        let mut open: BTreeSet<_> = dataflows
            .iter()
            .flat_map(|d| epochs.clone().flat_map(move |e| (0..workers).map(move |w| (*d, e, w))))
            .collect();
        while !open.is_empty() {
            match self.report() {
                Report::EpochDone { worker, dataflow, epoch, .. } => {
                    assert!(open.remove(&(dataflow, epoch.0, worker)), "{dataflow} {epoch:?} {worker}");
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn failure(&self) -> (ObjectId, HwError) {
        loop {
            if let Report::Failed { dataflow, error, .. } = self.report() {
                return (dataflow, error);
            }
        }
    }
}

#[test]
fn rows_pass_through_exchanges_and_epochs_stay_apart() {
    for workers in [1, 2, 3] {
        let rig = Rig::new(workers);
        let output = rig.build(chain(1, 7), false);
        for epoch in 1..=50 {
            let rows: Vec<i64> = (0..epoch as i64 % 7).map(|i| 1000 * epoch as i64 + i).collect();
            rig.feed(epoch, &[1], &[(7, rows), (8, vec![5])], false);
        }
        rig.wait(&[1], 1..=50);
        let epochs = output.epochs();
        assert_eq!(epochs.len(), 50);
        for (epoch, values) in epochs {
            let expect: Vec<i64> = (0..epoch as i64 % 7).map(|i| 1000 * epoch as i64 + i + 110).collect();
            assert_eq!(values, expect);
        }
        for worker in 0..workers {
            let calls = output.0.lock();
            let order: Vec<u64> = calls.iter().filter(|c| c.1 == worker).map(|c| c.0).collect();
            assert_eq!(order, (1..=50).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_stage_with_two_inputs_finishes_when_both_are_complete_and_tells_its_timer() {
    for workers in [1, 2] {
        let rig = Rig::new(workers);
        let pass = stage(&[(StageOrigin::Input(0), None)], || Add(0));
        let single = Some(vec![]);
        let count = stage(
            &[(StageOrigin::Stage(0), single.clone()), (StageOrigin::Input(1), single)],
            Count::default,
        );
        let output = rig.build(spec(1, &[7, 8], vec![pass, count]), false);
        rig.feed(3, &[1], &[(7, vec![1, 2, 3])], false);
        rig.feed(5, &[1], &[(8, vec![1, 2]), (7, vec![1])], false);
        for epoch in [3, 5] {
            for _ in 0..workers {
                let Report::EpochDone { epoch: done, next_timer, rows_out, .. } = rig.report() else {
                    panic!()
                };
                assert_eq!(next_timer, Some(ProcTime(done.0 as i64 + 5)));
                assert_eq!(rows_out, 1);
            }
            assert!(output.epochs().contains_key(&epoch));
        }
        // Worker 0 holds all rows; every worker emits a count.
        assert_eq!(output.epochs()[&3].last(), Some(&3000));
        assert_eq!(output.epochs()[&5].last(), Some(&4002));
        rig.host.report_state(1);
        let Report::State { operators, .. } = rig.report() else { panic!() };
        assert_eq!(operators[1].operator, "count");
        assert_eq!(operators[1].size.entries, 2);
    }
}

#[test]
fn a_dataflow_without_inputs_has_epochs() {
    let rig = Rig::new(2);
    let output = rig.build(spec(1, &[], vec![stage(&[], Count::default)]), false);
    rig.feed(1, &[1], &[], false);
    rig.wait(&[1], 1..=1);
    assert_eq!(output.epochs()[&1], vec![0, 0]);
}

#[test]
fn a_view_reads_a_view_in_the_same_epoch() {
    for workers in [1, 2] {
        let rig = Rig::new(workers);
        let lower = rig.build(chain(1, 7), false);
        let upper = rig.build(chain(2, 1), false);
        let both = rig.build(
            spec(
                3,
                &[1, 7],
                vec![stage(
                    &[(StageOrigin::Input(0), Some(vec![])), (StageOrigin::Input(1), Some(vec![]))],
                    Count::default,
                )],
            ),
            false,
        );
        for epoch in 1..=20 {
            rig.feed(epoch, &[1, 2, 3], &[(7, vec![epoch as i64, 500])], false);
        }
        rig.wait(&[1, 2, 3], 1..=20);
        // The upstream rests: the reader does not wait for it.
        rig.feed(21, &[2], &[], false);
        rig.wait(&[2], 21..=21);
        assert_eq!(lower.epochs()[&4], vec![114, 610]);
        assert_eq!(upper.epochs()[&4], vec![224, 720]);
        assert_eq!(upper.epochs()[&21], Vec::<i64>::new());
        assert_eq!(both.epochs()[&20].last(), Some(&40040));
    }
}

#[test]
fn hydration_steps_run_first_and_live_epochs_follow_at_attach() {
    for workers in [1, 2] {
        let rig = Rig::new(workers);
        let lower = rig.build(chain(1, 7), false);
        rig.feed(1, &[1], &[(7, vec![1, 2])], false);
        rig.wait(&[1], 1..=1);
        let upper = rig.build(chain(2, 1), true);
        for epoch in 2..=4 {
            rig.feed(epoch, &[1, 2], &[(7, vec![epoch as i64])], false);
        }
        rig.wait(&[1], 2..=4);
        rig.feed(1, &[2], &[(1, vec![111])], true);
        rig.feed(1, &[2], &[(1, vec![112])], true);
        for _ in 0..2 * workers {
            let report = rig.report();
            let Report::EpochDone { dataflow: 2, epoch: Epoch(1), private: true, .. } = report else {
                panic!("{report:?}")
            };
        }
        rig.feed(5, &[1, 2], &[(7, vec![5])], false);
        rig.wait(&[1], 5..=5);
        assert_eq!(upper.epochs().len(), 1);
        rig.host.attach(2);
        rig.wait(&[2], 2..=5);
        assert_eq!(lower.epochs()[&1], vec![111, 112]);
        assert_eq!(upper.epochs()[&1], vec![221, 222]);
        assert_eq!(upper.epochs()[&5], vec![225]);
        for worker in 0..workers {
            let calls = upper.0.lock();
            let order: Vec<u64> = calls.iter().filter(|c| c.1 == worker).map(|c| c.0).collect();
            assert_eq!(order, [1, 1, 2, 3, 4, 5]);
        }
    }
}

#[test]
fn too_many_rows_waiting_fail_the_hydrating_dataflow() {
    let rig = Rig::new(1);
    rig.build(chain(1, 7), true);
    rig.feed(1, &[1], &[(7, (0..101).collect())], false);
    let (id, error) = rig.failure();
    assert_eq!((id, error.sqlstate()), (1, "53400"));
}

#[test]
fn an_error_or_panic_stops_only_its_dataflow() {
    for workers in [1, 2] {
        for bad in [-1, -2, -11, -12] {
            let rig = Rig::new(workers);
            rig.build(chain(1, 7), false);
            let good = rig.build(chain(2, 8), false);
            rig.feed(1, &[1, 2], &[(7, vec![3]), (8, vec![3])], false);
            rig.wait(&[1, 2], 1..=1);
            rig.feed(2, &[1, 2], &[(7, vec![bad]), (8, vec![4])], false);
            let (mut failures, mut done) = (0, 0);
            while failures < 1 || done < workers {
                match rig.report() {
                    Report::Failed { dataflow: 1, error, .. } => {
                        failures += 1;
                        let expect = if bad % 2 == 0 { "XX000" } else { "22012" };
                        assert_eq!(error.sqlstate(), expect, "{error}");
                    }
                    Report::EpochDone { dataflow: 2, .. } => done += 1,
                    // The other worker may have finished before it saw the failure.
                    Report::EpochDone { dataflow: 1, .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            rig.feed(3, &[1, 2], &[(7, vec![5]), (8, vec![5])], false);
            rig.wait(&[2], 3..=3);
            // It can be dropped and built again under its number.
            rig.host.drop_dataflow(1);
            let again = rig.build(chain(1, 7), false);
            rig.feed(4, &[1, 2], &[(7, vec![6]), (8, vec![6])], false);
            rig.wait(&[1, 2], 4..=4);
            assert_eq!(again.epochs()[&4], vec![116]);
            assert_eq!(good.epochs()[&3], vec![115]);
        }
    }
}

#[test]
fn a_stage_that_cannot_be_built_is_reported() {
    let rig = Rig::new(2);
    let mut broken = stage(&[(StageOrigin::Input(0), None)], || Add(0));
    broken.build = Arc::new(|_| Err(HwError::unsupported("this", "Write that.")));
    rig.build(spec(1, &[7], vec![broken]), false);
    assert_eq!(rig.failure().1.sqlstate(), "0A000");
    rig.build(chain(2, 7), false);
    rig.feed(1, &[1, 2], &[(7, vec![1])], false);
    rig.wait(&[2], 1..=1);
}

/// Counts the instances alive.
struct Tracked(Arc<()>);

impl Operator for Tracked {
    fn name(&self) -> &str {
        "tracked"
    }
    fn push(&mut self, _: usize, rows: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        out.push(rows);
        Ok(())
    }
    fn finish_epoch(&mut self, _: &EpochContext, _: &mut Vec<ChangeBatch>) -> Result<()> {
        assert!(Arc::strong_count(&self.0) > 1);
        Ok(())
    }
}

#[test]
fn drop_frees_state_and_shutdown_ends_the_threads() {
    let rig = Rig::new(2);
    let token = Arc::new(());
    let (copy, relations) = (token.clone(), [7]);
    let tracked = stage(&[(StageOrigin::Input(0), Some(vec![0]))], move || Tracked(copy.clone()));
    let tracked = spec(1, &relations, vec![tracked]);
    rig.build(tracked.clone(), false);
    rig.build(chain(2, 7), false);
    for epoch in 1..=100 {
        rig.feed(epoch, &[1, 2], &[(7, vec![1, 2])], false);
    }
    rig.host.drop_dataflow(1);
    rig.feed(101, &[1, 2], &[(7, vec![1])], false);
    let mut done = 0;
    while done < 2 {
        if let Report::EpochDone { dataflow: 2, epoch: Epoch(101), .. } = rig.report() {
            done += 1;
        }
    }
    drop(tracked);
    assert_eq!(Arc::strong_count(&token), 1);
    rig.host.shutdown();
    assert!(rig.reports.try_iter().all(|r| !matches!(r, Report::WorkerFailed { .. })));
}

/// Passes rows on, four milliseconds for each.
struct Slow;

impl Operator for Slow {
    fn name(&self) -> &str {
        "slow"
    }
    fn push(&mut self, _: usize, rows: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        crate::clock::sleep(Duration::from_millis(4 * rows.len() as u64));
        out.push(rows);
        Ok(())
    }
    fn finish_epoch(&mut self, _: &EpochContext, _: &mut Vec<ChangeBatch>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_dataflow_with_much_to_do_gives_way_to_the_others_and_loses_nothing() {
    for workers in [1, 2] {
        let rig = Rig::new(workers);
        let slow = stage(&[(StageOrigin::Input(0), None)], || Slow);
        let last = stage(&[(StageOrigin::Stage(0), Some(vec![0]))], || Add(1));
        let slow = rig.build(spec(1, &[7], vec![slow, last]), false);
        let quick = rig.build(chain(2, 8), false);
        let all: Vec<i64> = (0..100).collect();
        rig.feed(1, &[1], &[(7, all.clone())], false);
        // More steps than may be under way.
        (2..=90).for_each(|epoch| rig.feed(epoch, &[1], &[(7, vec![epoch as i64])], false));
        rig.feed(91, &[2], &[(8, vec![5])], false);
        rig.wait(&[2], 91..=91);
        assert!(slow.epochs().is_empty(), "the first epoch of the slow one takes long");
        assert_eq!(quick.epochs()[&91], [115]);
        rig.wait(&[1], 1..=90);
        let epochs = slow.epochs();
        assert_eq!(epochs[&1], all.iter().map(|v| v + 1).collect::<Vec<_>>());
        (2..=90).for_each(|epoch| assert_eq!(epochs[&epoch], [epoch as i64 + 1]));
    }
}

#[test]
fn slow_rows_are_taken_few_at_a_time_and_none_is_lost() {
    let rig = Rig::new(1);
    let slow = stage(&[(StageOrigin::Input(0), None)], || Slow);
    let slow = rig.build(spec(1, &[7], vec![slow]), false);
    let quick = rig.build(chain(2, 8), false);
    let feed = |epoch: u64, dataflow: ObjectId, relation: ObjectId, rows: ChangeBatch| {
        let watermarks = Watermarks::default();
        rig.host.feed(Arc::new(Feed {
            epoch: Epoch(epoch),
            now: ProcTime(0),
            dataflows: vec![DataflowFeed { id: dataflow, watermarks, now: None }],
            rows: vec![RelationRows { relation, per_worker: vec![vec![rows]] }],
            private: None,
        }));
    };
    // The pace is learnt from a first batch.
    feed(1, 1, 7, batch(0..20));
    rig.wait(&[1], 1..=1);
    feed(2, 1, 7, batch(0..300));
    feed(3, 2, 8, batch([5]));
    rig.wait(&[2], 3..=3);
    assert!(!slow.epochs().contains_key(&2), "300 rows take more than a second");
    assert_eq!(quick.epochs()[&3], [115]);
    rig.wait(&[1], 2..=2);
    assert_eq!(slow.epochs()[&2], (0..300).collect::<Vec<_>>());
}
