//! An intake over a reader that delivers what the test pushes.

use arrow::array::{Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use datafusion::physical_expr::expressions::col;

use super::super::source::{WatermarkRule, WatermarkStrategy};
use super::*;
use crate::connectors::{DecodedChunk, SourceConnector};

const PATIENCE: Duration = Duration::from_secs(20);

/// Splits with the event times of their rows, one row a chunk; what is paused is not read.
#[derive(Default)]
struct Scripted {
    splits: Mutex<BTreeMap<u32, VecDeque<i64>>>,
    paused: Mutex<BTreeSet<u32>>,
    state: Mutex<Option<ReaderState>>,
}

struct Reader {
    script: Arc<Scripted>,
    schema: SchemaRef,
    next: BTreeMap<u32, i64>,
}

/// `Arc<Scripted>` as a connector.
struct Door(Arc<Scripted>, SchemaRef);

impl SourceConnector for Door {
    fn discover(&self) -> Result<Vec<SplitRange>> {
        Ok(Vec::new())
    }

    fn open(&self, _: ReadRequest) -> Result<Box<dyn SourceReader>> {
        let (script, schema) = (Arc::clone(&self.0), Arc::clone(&self.1));
        Ok(Box::new(Reader { script, schema, next: BTreeMap::new() }))
    }

    fn end_offsets(&self) -> Result<Vec<SplitRange>> {
        Ok(Vec::new())
    }
}

impl SourceReader for Reader {
    fn poll(&mut self, _: Duration) -> Result<Vec<DecodedChunk>> {
        crate::clock::sleep(Duration::from_millis(1));
        let paused = self.script.paused.lock().clone();
        let mut chunks = Vec::new();
        for (split, times) in self.script.splits.lock().iter_mut() {
            if paused.contains(split) {
                continue;
            }
            let Some(time) = times.pop_front() else { continue };
            let offset = self.next.entry(*split).or_insert(0);
            let column = Arc::new(TimestampMicrosecondArray::from(vec![time]));
            let rows = RecordBatch::try_new(Arc::clone(&self.schema), vec![column])?;
            chunks.push(DecodedChunk {
                split: *split,
                start_offset: *offset,
                end_offset: *offset + 1,
                rows,
                offsets: vec![*offset],
                dead_letters: vec![],
                tombstones: 0,
                marks: vec![],
                lost: 0,
            });
            *offset += 1;
        }
        Ok(chunks)
    }

    fn pause(&mut self, splits: &BTreeSet<u32>) -> Result<()> {
        *self.script.paused.lock() = splits.clone();
        Ok(())
    }

    fn splits(&mut self) -> Vec<SplitStatus> {
        let splits = self.script.splits.lock();
        let status = |(split, times): (&u32, &VecDeque<i64>)| SplitStatus {
            split: *split,
            end_offset: None,
            caught_up: times.is_empty(),
            finished: false,
        };
        splits.iter().map(status).collect()
    }

    fn state(&self) -> ReaderState {
        self.script.state.lock().clone().unwrap_or(ReaderState::Running)
    }
}

fn scripted(splits: &[(u32, &[i64])], rows_max: usize) -> (Arc<Scripted>, Intake) {
    let script = Arc::new(Scripted::default());
    script.splits.lock().extend(splits.iter().map(|(s, times)| (*s, times.iter().copied().collect())));
    let ts = Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true);
    let schema = Arc::new(Schema::new(vec![ts]));
    let expr = col("ts", &schema).expect("column");
    let spec = SourceSpec {
        id: 1,
        name: "s".into(),
        schema: Arc::clone(&schema),
        delivered: vec![0],
        generated: vec![],
        always_needed: vec![0],
        watermark: Some(WatermarkRule { column: 0, strategy: WatermarkStrategy::Expr(expr) }),
        not_null: vec![],
        connector: Some(Arc::new(Door(Arc::clone(&script), schema))),
        start: vec![],
        has_backlog: false,
        idle_timeout_us: None,
        future_skew_us: None,
        rate_limit: None,
        alignment: None,
    };
    let limits = IntakeLimits { rows_max, chunk_rows_max: 10 };
    let (wake, _) = crossbeam_channel::bounded(1);
    let clock = Arc::new(Clock::manual());
    let intake = Intake::start(Arc::new(spec), vec![0], vec![], limits, clock, wake).expect("starts");
    (script, intake)
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = crate::clock::monotonic() + PATIENCE;
    while !done() {
        assert!(crate::clock::monotonic() < deadline, "gave up waiting: {what}");
        crate::clock::sleep(Duration::from_millis(1));
    }
}

fn reach(limit: i64, stopped: &[u32]) -> Option<Reach> {
    let limits = [0, 1].map(|split| (split, limit)).into();
    Some(Reach { limits, stopped: stopped.iter().copied().collect() })
}

fn taken(taken: Taken) -> Vec<(u32, i64)> {
    taken.chunks.iter().map(|c| (c.split, c.end_offset)).collect()
}

#[test]
fn a_split_is_taken_to_the_first_row_beyond_its_limit() {
    let (script, intake) = scripted(&[(0, &[10, 20, 30, 40]), (1, &[1, 2])], 100);
    wait("all read", || intake.waiting_rows() == 6);
    let all = taken(intake.take(100, reach(15, &[])));
    assert_eq!(all, [(0, 1), (1, 1), (0, 2), (1, 2)], "20 is the first beyond 15");
    assert_eq!(taken(intake.take(100, reach(15, &[0]))), []);
    // Held rows are nothing that a cut waits for, and the reader pauses.
    intake.hold(BTreeSet::from([0]));
    assert!(!intake.has_chunks() && intake.waiting_rows() == 0);
    wait("pause", || script.paused.lock().contains(&0));
    intake.hold(BTreeSet::new());
    assert!(intake.has_chunks());
    assert_eq!(taken(intake.take(100, None)), [(0, 3), (0, 4)]);
    wait("resume", || script.paused.lock().is_empty());
}

#[test]
fn a_full_queue_of_held_rows_does_not_starve_the_others() {
    let many: Vec<i64> = (0..50).collect();
    let (script, intake) = scripted(&[(0, &many)], 10);
    wait("full", || intake.waiting_rows() >= 10);
    wait("paused by a full queue", || !intake.view().listening);
    intake.hold(BTreeSet::from([0]));
    script.splits.lock().insert(1, VecDeque::from([5, 6]));
    wait("the other split", || intake.waiting_rows() == 2);
    assert_eq!(taken(intake.take(100, reach(-1, &[0]))), [(1, 1)], "one row beyond the limit");
}

#[test]
fn a_step_does_not_wait_for_splits_that_may_go_no_further() {
    let (_script, intake) = scripted(&[(0, &[10, 20, 30]), (1, &[1])], 100);
    let ends = BTreeMap::from([(0, 3), (1, 1)]);
    let from = BTreeMap::from([(0, 0), (1, 0)]);
    let mut some = taken(intake.take_until(&ends, &from, reach(10, &[]), PATIENCE).expect("taken"));
    some.sort_unstable();
    assert_eq!(some, [(0, 1), (0, 2), (1, 1)]);
    let from = BTreeMap::from([(0, 2), (1, 1)]);
    assert_eq!(taken(intake.take_until(&ends, &from, None, PATIENCE).expect("taken")), [(0, 3)]);
}

#[test]
fn only_a_reader_that_is_asked_and_connected_is_listened_to() {
    let (script, intake) = scripted(&[(0, &[])], 10);
    wait("first turn", || intake.view().splits.first().is_some_and(|(s, pending)| s.caught_up && !pending));
    assert!(intake.view().listening);
    *script.state.lock() = Some(ReaderState::Reconnecting("away".into()));
    wait("outage", || !intake.view().listening);
    *script.state.lock() = None;
    wait("back", || intake.view().listening);
    script.splits.lock().insert(0, VecDeque::from([7]));
    wait("row", || {
        intake.view().splits
            == [(SplitStatus { split: 0, end_offset: None, caught_up: true, finished: false }, true)]
    });
}

#[test]
fn a_chunk_split_at_an_offset_keeps_every_row_and_its_time_on_its_side() {
    let ts = Field::new("n", DataType::Int64, true);
    let rows = RecordBatch::try_new(
        Arc::new(Schema::new(vec![ts])),
        vec![Arc::new(Int64Array::from(vec![1, 2, 3]))],
    );
    let proven = TimestampMicrosecondArray::from(vec![10, 90, 20]);
    let chunk = ReadyChunk {
        split: 0,
        end_offset: 9,
        rows: rows.expect("batch"),
        offsets: vec![3, 5, 8],
        dead_letters: vec![],
        tombstones: 1,
        lost: 0,
        time: ChunkTime { proven: Some(proven), ..ChunkTime::default() },
    };
    let (now, later) = split_at(chunk, 5);
    let later = later.expect("a rest");
    assert_eq!((now.end_offset, now.rows.num_rows(), now.time.newest()), (5, 1, Some(10)));
    assert_eq!((later.end_offset, later.rows.num_rows(), later.time.newest()), (9, 2, Some(90)));
}
