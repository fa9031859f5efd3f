use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::dataflow::graph::Node;
use crate::dataflow::operators::join::{JoinKind, JoinOperator, JoinSpec};
use crate::dataflow::operators::map::PassOperator;
use crate::dataflow::operators::tests::{Contents, apply, cancelling, context, run_epoch};

fn schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|n| Field::new(*n, DataType::Int64, true)).collect::<Vec<_>>()))
}

fn batch(names: &[&str], rows: &[(Vec<i64>, i64)]) -> ChangeBatch {
    let column = |c: usize| -> ArrayRef { Arc::new(rows.iter().map(|(r, _)| r[c]).collect::<Int64Array>()) };
    let columns = (0..names.len()).map(column).collect();
    let batch = RecordBatch::try_new(schema(names), columns).unwrap();
    ChangeBatch::new(batch, rows.iter().map(|(_, w)| *w).collect())
}

/// `r(x) AS (base UNION [ALL] SELECT e.b FROM r JOIN e ON e.a = r.x)`
fn operator(mode: RecursionMode, limits: RecursionLimits) -> RecursiveOperator {
    let with_rounds = matches!(mode, RecursionMode::Rounds { .. });
    let working = if with_rounds { schema(&["x", "round"]) } else { schema(&["x"]) };
    let width = working.fields().len();
    let (output, names) = match with_rounds {
        true => (vec![width + 1, 1], vec!["x", "round"]),
        false => (vec![width + 1], vec!["x"]),
    };
    let join = JoinSpec {
        output_schema: schema(&names),
        left_append_only: mode == RecursionMode::Growing,
        right_append_only: mode == RecursionMode::Growing,
        ..JoinSpec::on_keys(JoinKind::Inner, (working, vec![0]), (schema(&["a", "b"]), vec![0]), output)
    };
    let pass =
        |consumer| Node::new(Box::new(PassOperator::new("read", None)) as Box<dyn Operator>, vec![consumer]);
    let join = Node::new(Box::new(JoinOperator::new(join).unwrap()), vec![]);
    let step = Stage {
        nodes: vec![pass((2, 0)), pass((2, 1)), join],
        ports: vec![vec![(0, 0)], vec![(1, 0)]],
        output: 2,
    };
    RecursiveOperator::new(RecursionSpec { name: "r".into(), mode, schema: schema(&["x"]), step, limits })
}

const LIMITS: RecursionLimits = RecursionLimits { rows_max: 1_000_000, rounds_max: 1_000 };
const ROUNDS: RecursionMode = RecursionMode::Rounds { column: 1 };

/// Weights of base rows and of edges.
#[derive(Clone, Debug, Default)]
struct Data {
    base: BTreeMap<i64, i64>,
    edges: BTreeMap<(i64, i64), i64>,
}

impl Data {
    /// What is reachable.
    fn closure(&self) -> Contents {
        let mut found: BTreeSet<i64> = self.base.iter().filter(|(_, w)| **w > 0).map(|(x, _)| *x).collect();
        let mut waiting: Vec<i64> = found.iter().copied().collect();
        while let Some(x) = waiting.pop() {
            for ((a, b), w) in &self.edges {
                if *a == x && *w > 0 && found.insert(*b) {
                    waiting.push(*b);
                }
            }
        }
        found.into_iter().map(|x| (x.to_string(), 1)).collect()
    }

    /// The weighted number of ways to each node of an acyclic graph.
    fn ways(&self) -> Contents {
        let mut all = BTreeMap::new();
        let mut round = self.base.clone();
        while round.values().any(|w| *w != 0) {
            let mut next = BTreeMap::new();
            for (x, w) in &round {
                *all.entry(x.to_string()).or_insert(0) += w;
                for ((a, b), v) in &self.edges {
                    if a == x {
                        *next.entry(*b).or_insert(0) += w * v;
                    }
                }
            }
            round = next;
        }
        all.retain(|_, w| *w != 0);
        all
    }
}

/// A change of the base, or of an edge: a delete takes all copies away.
type Change = (Option<i64>, i64, i64, bool);

fn changes(upwards: bool) -> impl Strategy<Value = Vec<Vec<Change>>> {
    let nodes = 0i64..7;
    let change = (prop::option::weighted(0.8, nodes.clone()), nodes, 1i64..3, prop::bool::weighted(0.55));
    let change = change.prop_map(move |(a, b, w, insert)| match a {
        Some(a) if upwards => (Some(a.min(b)), a.max(b) + i64::from(a == b), w, insert),
        a => (a, b, w, insert),
    });
    prop::collection::vec(prop::collection::vec(change, 0..6), 1..12)
}

/// Runs epochs of changes; after each the operator's contents are those of `model`.
fn check(mode: RecursionMode, epochs: Vec<Vec<Change>>, model: impl Fn(&Data) -> Contents) {
    let mut operator = operator(mode, LIMITS);
    let mut data = Data::default();
    let mut contents = Contents::new();
    for (epoch, changes) in (1..).zip(epochs) {
        let mut batches = Vec::new();
        for (a, b, w, insert) in changes {
            let held = match a {
                Some(a) => data.edges.entry((a, b)).or_insert(0),
                None => data.base.entry(b).or_insert(0),
            };
            let weight = if insert || mode == RecursionMode::Growing { w } else { -*held };
            *held += weight;
            if weight != 0 {
                batches.push(match a {
                    Some(a) => (1, batch(&["a", "b"], &[(vec![a, b], weight)])),
                    None => (0, batch(&["x"], &[(vec![b], weight)])),
                });
            }
        }
        let out = run_epoch(&mut operator, batches, &context(epoch, 0, 0));
        assert_eq!(cancelling(&out), Vec::<String>::new());
        apply(&mut contents, &out);
        assert_eq!(contents, model(&data), "epoch {epoch} of {data:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn rounds_give_the_closure(epochs in changes(false)) {
        check(ROUNDS, epochs, Data::closure);
    }

    #[test]
    fn growing_rows_give_the_closure(epochs in changes(false)) {
        check(RecursionMode::Growing, epochs, Data::closure);
    }

    #[test]
    fn a_bag_counts_ways(epochs in changes(true)) {
        check(RecursionMode::Bag, epochs, Data::ways);
    }
}

#[test]
fn nothing_is_kept_of_rows_that_are_gone() {
    let mut operator = operator(ROUNDS, LIMITS);
    let edges = [(vec![1, 2], 1), (vec![2, 3], 1), (vec![3, 1], 1), (vec![2, 2], 1), (vec![1, 3], 1)];
    let change = |w: i64| {
        let edges: Vec<_> = edges.iter().map(|(e, _)| (e.clone(), w)).collect();
        [(0, batch(&["x"], &[(vec![1], w)])), (1, batch(&["a", "b"], &edges))]
    };
    let out = run_epoch(&mut operator, change(1), &context(1, 0, 0));
    assert_eq!(out.iter().map(ChangeBatch::len).sum::<usize>(), 3);
    assert!(operator.state_size().entries > 0);
    let out = run_epoch(&mut operator, change(-1), &context(2, 0, 0));
    assert_eq!(out.iter().map(ChangeBatch::len).sum::<usize>(), 3);
    assert_eq!(operator.state_size().entries, 0);
}

#[test]
fn a_bag_over_a_cycle_ends_with_a_limit() {
    let edges = batch(&["a", "b"], &[(vec![1, 2], 1), (vec![2, 1], 1)]);
    for (limits, edges, setting) in [
        (RecursionLimits { rows_max: 1_000, rounds_max: 100 }, edges.clone(), "recursion_rounds_max"),
        (RecursionLimits { rows_max: 50, rounds_max: 100 }, edges, "recursion_rows_max"),
        // Copies double each round; they count although they are one row.
        (LIMITS, batch(&["a", "b"], &[(vec![1, 1], 2)]), "recursion_rows_max"),
    ] {
        let mut operator = operator(RecursionMode::Bag, limits);
        let mut out = Vec::new();
        operator.push(1, edges, &mut out).unwrap();
        operator.push(0, batch(&["x"], &[(vec![1], 1)]), &mut out).unwrap();
        let error = operator.finish_epoch(&context(1, 0, 0), &mut out).unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate::CONFIGURATION_LIMIT_EXCEEDED);
        assert!(error.hint().unwrap_or_default().contains(setting), "{error:?}");
    }
}
