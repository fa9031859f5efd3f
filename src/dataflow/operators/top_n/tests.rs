use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::{Limits, TopNSpec, top_n};
use crate::dataflow::operator::Operator;
use crate::dataflow::operators::late::LateRows;
use crate::dataflow::operators::tests::{Contents, apply, cancelling, context, run_epoch};
use crate::plan::{GroupWindow, KeptRows, WindowTime};
use crate::types::ChangeBatch;
use crate::types::order::{RankRange, Ranking, SortKey};

/// A row: group, sort value, name, time.
type Row = (i64, Option<i64>, &'static str, i64);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("g", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("end", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]))
}

fn batch(rows: &[(Row, i64)]) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(r, _)| r.0))),
        Arc::new(rows.iter().map(|(r, _)| r.1).collect::<Int64Array>()),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(r, _)| r.2))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(r, _)| r.3))),
    ];
    let batch = RecordBatch::try_new(schema(), columns).unwrap();
    if rows.iter().all(|(_, w)| *w == 1) {
        return ChangeBatch::inserts(batch);
    }
    ChangeBatch::new(batch, rows.iter().map(|(_, w)| *w).collect())
}

fn limits(ranking: Ranking, first: u64, last: Option<u64>, with_rank: bool) -> Limits {
    Limits { ranking, range: RankRange { first, last }, with_rank }
}

fn spec(limits: Limits, keep: KeptRows) -> TopNSpec {
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    if limits.with_rank {
        fields.push(Arc::new(Field::new("n", DataType::Int64, true)));
    }
    TopNSpec {
        name: "top-n".into(),
        input_schema: schema(),
        partition: vec![0],
        order: vec![SortKey { column: 1, descending: true, nulls_first: false }],
        limits,
        keep,
        window: None,
        on_close: false,
        output_schema: Arc::new(Schema::new(fields)),
        late: Arc::new(LateRows::new(100)),
    }
}

fn operator(limits: Limits, keep: KeptRows) -> Box<dyn Operator> {
    top_n(spec(limits, keep)).unwrap()
}

const NAMES: [&str; 4] = ["p", "q", "r", "s"];

/// A splitmix64 step.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn random_row(seed: &mut u64) -> Row {
    let v = (!random(seed).is_multiple_of(7)).then(|| (random(seed) % 6) as i64);
    ((random(seed) % 3) as i64, v, NAMES[(random(seed) % 4) as usize], 0)
}

/// The rows of each group by descending value, NULLs last, without regard to ties: the
/// multiset of (group, value, number) that every order of ties gives.
fn expected(rows: &[Row], limits: &Limits) -> Vec<(i64, Option<i64>, u64)> {
    let mut sorted = rows.to_vec();
    sorted.sort_by_key(|r| (r.0, r.1.is_none(), r.1.map(|v| -v)));
    let mut out = Vec::new();
    let (mut group, mut before, mut rank, mut last) = (None, 0, 0, None);
    for r in sorted {
        if group != Some(r.0) {
            (group, before, rank, last) = (Some(r.0), 0, 0, None);
        }
        let peer = last == Some(r.1);
        rank = match limits.ranking {
            Ranking::RowNumber => before + 1,
            _ if peer => rank,
            Ranking::Rank => before + 1,
            Ranking::DenseRank => rank + 1,
        };
        (before, last) = (before + 1, Some(r.1));
        if rank >= limits.range.first && limits.range.last.is_none_or(|n| rank <= n) {
            out.push((r.0, r.1, if limits.with_rank { rank } else { 0 }));
        }
    }
    out.sort();
    out
}

fn shown(contents: &Contents, with_rank: bool) -> Vec<(i64, Option<i64>, u64)> {
    let mut out = Vec::new();
    for (line, weight) in contents {
        assert!(*weight > 0, "{line} has weight {weight}");
        let cells: Vec<&str> = line.split('|').collect();
        let rank = if with_rank { cells[4].parse().unwrap() } else { 0 };
        for _ in 0..*weight {
            out.push((cells[0].parse().unwrap(), cells[1].parse().ok(), rank));
        }
    }
    out.sort();
    out
}

fn all_limits() -> Vec<Limits> {
    let mut all = Vec::new();
    for ranking in [Ranking::RowNumber, Ranking::Rank, Ranking::DenseRank] {
        for (first, last) in [(1, 1), (1, 3), (2, 3), (3, 3)] {
            for with_rank in [false, true] {
                all.push(limits(ranking, first, Some(last), with_rank));
            }
        }
    }
    all
}

#[test]
fn retracting_input_follows_a_sort_of_all_rows() {
    let mut cases = all_limits();
    cases.push(limits(Ranking::RowNumber, 3, None, false));
    cases.push(limits(Ranking::RowNumber, 3, None, true));
    for (case, limits) in cases.into_iter().enumerate() {
        let mut operator = operator(limits, KeptRows::All);
        let (mut rows, mut contents) = (Vec::<Row>::new(), Contents::new());
        let mut seed = case as u64;
        for epoch in 0..60 {
            let mut changes = Vec::new();
            for _ in 0..random(&mut seed) % 6 {
                if rows.is_empty() || random(&mut seed) % 5 < 3 {
                    let row = random_row(&mut seed);
                    let copies = 1 + random(&mut seed) % 3;
                    changes.push((row, copies as i64));
                    rows.extend(std::iter::repeat_n(row, copies as usize));
                } else {
                    let row = rows.swap_remove(random(&mut seed) as usize % rows.len());
                    changes.push((row, -1));
                }
            }
            let batches: Vec<_> = changes.chunks(2).map(|c| (0, batch(c))).collect();
            let out = run_epoch(operator.as_mut(), batches, &context(epoch + 1, 0, i64::MIN));
            assert_eq!(cancelling(&out), Vec::<String>::new());
            apply(&mut contents, &out);
            assert_eq!(shown(&contents, limits.with_rank), expected(&rows, &limits), "{limits:?} {rows:?}");
        }
        assert!(operator.state_size().entries <= rows.len());
    }
}

#[test]
fn append_only_input_keeps_what_is_in_range() {
    for (case, limits) in all_limits().into_iter().enumerate() {
        let mut first = operator(limits, KeptRows::First);
        let mut all = operator(limits, KeptRows::All);
        let (mut rows, mut contents, mut other) = (Vec::<Row>::new(), Contents::new(), Contents::new());
        let mut seed = 100 + case as u64;
        for epoch in 0..40 {
            let mut changes = Vec::new();
            for _ in 0..random(&mut seed) % 8 {
                let row = random_row(&mut seed);
                let copies = 1 + random(&mut seed).is_multiple_of(4) as i64;
                changes.push((row, copies));
                rows.extend(std::iter::repeat_n(row, copies as usize));
            }
            let batches: Vec<_> = changes.chunks(3).map(|c| (0, batch(c))).collect();
            let cx = context(epoch + 1, 0, i64::MIN);
            let out = run_epoch(first.as_mut(), batches.clone(), &cx);
            assert_eq!(cancelling(&out), Vec::<String>::new());
            apply(&mut contents, &out);
            apply(&mut other, &run_epoch(all.as_mut(), batches, &cx));
            assert_eq!(shown(&contents, limits.with_rank), expected(&rows, &limits), "{limits:?} {rows:?}");
            // Both decide ties alike.
            assert_eq!(contents, other, "{limits:?}");
        }
        if limits.ranking == Ranking::RowNumber {
            assert!(first.state_size().entries <= 3 * limits.range.last.unwrap() as usize);
        }
    }
}

#[test]
fn windows_close_and_refuse_late_rows() {
    for (keep, on_close) in [(KeptRows::First, false), (KeptRows::First, true), (KeptRows::All, true)] {
        let mut spec = spec(limits(Ranking::RowNumber, 1, Some(1), false), keep);
        spec.partition = vec![3];
        spec.on_close = on_close;
        let time = WindowTime::Event { clock: vec![0].into() };
        spec.window = Some(GroupWindow { column: 3, to_end_us: 0, time, refuse_late: true });
        let late = Arc::clone(&spec.late);
        let mut operator = top_n(spec).unwrap();
        let mut contents = Contents::new();
        let rows = [((1, Some(5), "p", 100), 1), ((2, Some(7), "q", 100), 1), ((3, Some(1), "r", 200), 1)];
        let out = run_epoch(operator.as_mut(), [(0, batch(&rows))], &context(1, 0, 99));
        apply(&mut contents, &out);
        assert_eq!(contents.len(), if on_close { 0 } else { 2 });
        // The watermark takes effect after the rows of its epoch.
        let row = [((9, Some(8), "s", 100), 1)];
        apply(&mut contents, &run_epoch(operator.as_mut(), [(0, batch(&row))], &context(2, 0, 100)));
        assert_eq!(operator.state_size().entries, 1);
        assert!(contents.keys().any(|line| line.starts_with("9|8|s")), "{contents:?}");
        let row = [((9, Some(9), "s", 100), 1)];
        assert!(run_epoch(operator.as_mut(), [(0, batch(&row))], &context(3, 0, 100)).is_empty());
        assert_eq!(late.count(), 1);
        apply(&mut contents, &run_epoch(operator.as_mut(), [], &context(4, 0, i64::MAX)));
        assert_eq!((contents.len(), operator.state_size().entries), (2, 0));
    }
}
