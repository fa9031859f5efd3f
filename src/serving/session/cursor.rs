//! Cursors: DECLARE, FETCH, MOVE, CLOSE.
//!
//! A cursor holds the stream of its query, or a subscription. SCROLL keeps all rows, so that
//! FETCH can go back; other cursors go forward only. A cursor without HOLD ends with its
//! transaction.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;

use super::Session;
use super::options::check_known;
use super::query::Text;
use super::results::{command, counted, rows};
use super::subscribe::Feed;
use super::transaction::BlockKind;
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::Outcome;
use crate::sql::ast::{CursorBody, DeclareCursor, Fetch, FetchDirection};

/// Most cursors of a session.
const CURSORS_MAX: usize = 1_000;

pub(super) struct Cursor {
    schema: SchemaRef,
    /// Ends with the transaction.
    in_block: bool,
    body: Body,
}

enum Body {
    /// The lock is never waited for: it makes the stream, which one task uses, shareable.
    Forward {
        stream: Mutex<BoxStream<'static, Result<RecordBatch>>>,
        rest: Option<RecordBatch>,
    },
    /// All rows, and the 1-based position; 0 is before the first row.
    Scroll {
        rows: RecordBatch,
        position: i64,
    },
    Subscription(Box<Feed>),
}

impl Session {
    pub(super) async fn declare_cursor(
        &mut self,
        declare: &DeclareCursor,
        text: Text<'_>,
    ) -> Result<Outcome> {
        let in_block = self.transaction.kind() == BlockKind::Explicit;
        let subscription = matches!(declare.body, CursorBody::Subscribe(_));
        if !in_block && !declare.hold && !subscription {
            let text = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(HwError::new(sqlstate::NO_ACTIVE_TRANSACTION, text)
                .with_hint("Write BEGIN first, or declare the cursor WITH HOLD."));
        }
        if declare.binary {
            return Err(HwError::unsupported(
                "DECLARE BINARY CURSOR",
                "Ask for the binary format in the protocol.",
            ));
        }
        if self.cursors.contains_key(&declare.name) {
            let text = format!("cursor \"{}\" already exists", declare.name);
            return Err(HwError::new(sqlstate::DUPLICATE_CURSOR, text));
        }
        if self.cursors.len() >= CURSORS_MAX {
            return Err(HwError::new(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, "too many open cursors")
                .with_hint("Close cursors that are no longer needed."));
        }
        let (schema, body) = match &declare.body {
            CursorBody::Query(query) => {
                let ready = self.plan(&query.query, text.submitted).await?;
                if declare.scroll == Some(true) {
                    let (schema, batches) = self.collect(&ready, text.submitted).await?;
                    let rows = arrow::compute::concat_batches(&schema, &batches)?;
                    (schema, Body::Scroll { rows, position: 0 })
                } else {
                    // The cursor outlives the statement and its time limit.
                    self.deadline = None;
                    let (schema, stream) = self.start(&ready, text.submitted).await?;
                    (schema, Body::Forward { stream: Mutex::new(stream), rest: None })
                }
            }
            CursorBody::Subscribe(subscribe) => {
                let feed = self.feed(subscribe, text).await?;
                (feed.schema(), Body::Subscription(Box::new(feed)))
            }
        };
        let cursor = Cursor { schema, in_block: in_block && !declare.hold, body };
        self.cursors.insert(declare.name.clone(), cursor);
        Ok(command("DECLARE CURSOR"))
    }

    pub(super) async fn fetch(&mut self, fetch: &Fetch) -> Result<Outcome> {
        check_known(&fetch.with, &["timeout"], "FETCH")?;
        let timeout = fetch.with.get("timeout").map(|o| fetch_timeout(&o.value.as_text())).transpose()?;
        let mut cursor = self.cursors.remove(&fetch.cursor).ok_or_else(|| no_cursor(&fetch.cursor))?;
        let fetched = self.limited(cursor.fetch(fetch.direction, timeout)).await;
        let schema = SchemaRef::clone(&cursor.schema);
        // A cursor whose stream was interrupted has lost rows: it is gone.
        let batches = fetched?;
        self.cursors.insert(fetch.cursor.clone(), cursor);
        let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
        match fetch.is_move {
            true => Ok(command(format!("MOVE {count}"))),
            false => Ok(rows(schema, batches, counted("FETCH"))),
        }
    }

    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> Result<Outcome> {
        match name {
            None => {
                self.cursors.clear();
                Ok(command("CLOSE CURSOR ALL"))
            }
            Some(name) => match self.cursors.remove(name) {
                Some(_) => Ok(command("CLOSE CURSOR")),
                None => Err(no_cursor(name)),
            },
        }
    }

    pub(super) fn close_block_cursors(&mut self) {
        self.cursors.retain(|_, cursor| !cursor.in_block);
    }

    pub(super) fn cursor_schema(&self, name: &str) -> Result<SchemaRef> {
        self.cursors.get(name).map(|c| SchemaRef::clone(&c.schema)).ok_or_else(|| no_cursor(name))
    }
}

impl Cursor {
    async fn fetch(
        &mut self,
        direction: FetchDirection,
        timeout: Option<Duration>,
    ) -> Result<Vec<RecordBatch>> {
        use FetchDirection as D;
        if let Body::Scroll { rows, position } = &mut self.body {
            let (start, length) = scroll(rows.num_rows() as i64, position, direction);
            return match length {
                n if n < 0 => {
                    let indices: Vec<u32> = (0..-n).map(|i| (start - i) as u32).collect();
                    let indices = arrow::array::UInt32Array::from(indices);
                    Ok(vec![arrow::compute::take_record_batch(rows, &indices)?])
                }
                n => Ok(vec![rows.slice(start.max(0) as usize, n as usize)]),
            };
        }
        let limit = match direction {
            D::ForwardAll => usize::MAX,
            D::Forward(n) | D::Relative(n) if n >= 0 => n as usize,
            D::First => 1,
            _ => {
                let text = "cursor can only scan forward";
                return Err(HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, text)
                    .with_hint("Declare it with SCROLL option to enable backward scan."));
            }
        };
        match &mut self.body {
            Body::Subscription(feed) => feed.fetch(limit, timeout).await,
            Body::Forward { stream, rest } => forward(stream.get_mut(), rest, limit).await,
            Body::Scroll { .. } => Ok(Vec::new()),
        }
    }
}

async fn forward(
    stream: &mut BoxStream<'static, Result<RecordBatch>>,
    rest: &mut Option<RecordBatch>,
    limit: usize,
) -> Result<Vec<RecordBatch>> {
    let mut out = Vec::new();
    let mut left = limit;
    while left > 0 {
        let batch = match rest.take() {
            Some(batch) => batch,
            None => match stream.next().await {
                Some(batch) => batch?,
                None => break,
            },
        };
        let n = batch.num_rows().min(left);
        if n < batch.num_rows() {
            *rest = Some(batch.slice(n, batch.num_rows() - n));
        }
        left -= n;
        out.push(batch.slice(0, n));
    }
    Ok(out)
}

/// First row and number of rows of a FETCH in a scrollable cursor; a negative number counts
/// backwards. Moves the position, which is 0 before the first and `total + 1` after the last.
fn scroll(total: i64, position: &mut i64, direction: FetchDirection) -> (i64, i64) {
    use FetchDirection as D;
    let single = |position: &mut i64, to: i64| {
        *position = to.clamp(0, total + 1);
        if (1..=total).contains(&to) { (to - 1, 1) } else { (0, 0) }
    };
    let at = *position;
    match direction {
        D::Forward(0) | D::Backward(0) | D::Relative(0) => single(position, at),
        D::ForwardAll => scroll(total, position, D::Forward(i64::MAX)),
        D::BackwardAll => scroll(total, position, D::Backward(i64::MAX)),
        D::Forward(n) if n < 0 => scroll(total, position, D::Backward(n.saturating_neg())),
        D::Backward(n) if n < 0 => scroll(total, position, D::Forward(n.saturating_neg())),
        D::Forward(n) => {
            let count = n.min(total - at).max(0);
            *position = if n > total - at { total + 1 } else { at + n };
            (at, count)
        }
        D::Backward(n) => {
            let count = n.min(at - 1).max(0);
            *position = if n > at - 1 { 0 } else { at - n };
            (at - 2, -count)
        }
        D::First => single(position, 1),
        D::Last => single(position, total),
        D::Absolute(n) if n < 0 => single(position, (total + 1).saturating_add(n)),
        D::Absolute(n) => single(position, n),
        D::Relative(n) => single(position, at.saturating_add(n)),
    }
}

fn fetch_timeout(text: &str) -> Result<Duration> {
    let interval = crate::types::text::parse_interval(text.as_bytes()).ok().filter(|i| i.months == 0);
    let micros = interval.map(|i| i64::from(i.days) * 86_400_000_000 + i.nanoseconds / 1000);
    let micros = micros.and_then(|us| u64::try_from(us).ok()).ok_or_else(|| {
        let text = format!("invalid value for option \"timeout\": \"{text}\"");
        HwError::new(sqlstate::INVALID_PARAMETER_VALUE, text).with_hint("Write a duration such as '1s'.")
    })?;
    Ok(Duration::from_micros(micros))
}

fn no_cursor(name: &str) -> HwError {
    HwError::new(sqlstate::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrolling_goes_both_ways() {
        use FetchDirection as D;
        let mut at = 0;
        assert_eq!(scroll(5, &mut at, D::Forward(2)), (0, 2));
        assert_eq!(scroll(5, &mut at, D::Backward(1)), (0, -1));
        assert_eq!(at, 1);
        assert_eq!(scroll(5, &mut at, D::ForwardAll), (1, 4));
        assert_eq!(at, 6);
        assert_eq!(scroll(5, &mut at, D::Backward(2)), (4, -2));
        assert_eq!(scroll(5, &mut at, D::Absolute(-1)), (4, 1));
        assert_eq!(scroll(5, &mut at, D::Relative(1)), (0, 0));
        assert_eq!(scroll(5, &mut at, D::BackwardAll), (4, -5));
        assert_eq!(at, 0);
    }
}
