//! Cutting an epoch: what is taken, which watermark takes effect, who is fed.
//!
//! Order of effects (the definition of late): rows of E are judged against W(E−1); then W(E)
//! takes effect; then timers up to `now`. `now` never steps over a due timer on a running
//! clock. A dataflow without rows, watermark change or due timer is not fed at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::UInt32Array;

use super::chunk_time::ChunkTime;
use super::coordinator::{Coordinator, InFlight, Reply};
use super::intake::{ReadyChunk, Taken};
use super::journal::{Cut, JournalRecord};
use super::progress::SourceProgress;
use super::relations::Phase;
use super::source::SourceSpec;
use super::status::ViewTimeState;
use super::view_time::RelationTime;
use crate::clock;
use crate::dataflow::host::{DataflowFeed, Feed, RelationRows};
use crate::dataflow::watermarks::Watermarks;
use crate::error::{HwError, Result, sqlstate};
use crate::types::hash::{VNODES, vnodes};
use crate::types::{ChangeBatch, Epoch, ProcTime};
use crate::views::InputEnds;

/// How long a step or a replay waits for a source to deliver what it has.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(30);

/// What goes into one epoch.
#[derive(Default)]
pub(super) struct Gathered {
    /// Rows by relation, whole relation schema.
    pub rows: BTreeMap<u64, Vec<ChangeBatch>>,
    /// Sources of which offsets or watermark moved.
    pub moved: BTreeSet<u64>,
    pub row_count: u64,
}

impl Coordinator {
    pub(super) fn rows_wait(&self) -> bool {
        self.shared.log.has_pending()
            || self.sources.values().any(|s| s.intake.as_ref().is_some_and(|i| i.has_chunks()))
    }

    pub(super) fn next_timer(&self) -> Option<ProcTime> {
        self.views.values().filter(|v| matches!(v.phase, Phase::Live)).filter_map(|v| v.next_timer()).min()
    }

    pub(super) fn cut_if_due(&mut self) {
        if self.in_flight.len() >= self.shared.limits.epochs_in_flight_max {
            return;
        }
        let limits = self.shared.limits;
        let elapsed = self.last_cut.elapsed() >= Duration::from_millis(limits.epoch_interval_ms);
        let waiting: usize =
            (self.sources.values().filter_map(|s| s.intake.as_ref())).map(|i| i.waiting_rows()).sum();
        let timer = self.next_timer().filter(|t| *t <= self.shared.clock.now());
        if !(timer.is_some() || elapsed || waiting >= limits.epoch_rows_max) {
            return;
        }
        let gathered = self.gather();
        if gathered.rows.is_empty() && gathered.moved.is_empty() && timer.is_none() {
            return;
        }
        let now = self.shared.clock.now();
        let now = timer.map_or(now, |t| t.min(now));
        self.cut(gathered, now, None);
    }

    /// `STEP`: one epoch from everything available.
    pub(super) fn step(&mut self, reply: Reply<Epoch>) {
        if let Some(e) = &self.broken {
            let _ = reply.send(Err(e.clone()));
            return;
        }
        match self.gather_for_step() {
            Ok(gathered) => self.cut(gathered, self.shared.clock.now(), Some(reply)),
            Err(e) => drop(reply.send(Err(e))),
        }
    }

    /// Takes what is there, without waiting.
    fn gather(&mut self) -> Gathered {
        self.align();
        let mut gathered = Gathered::default();
        let now = self.shared.clock.now();
        let ids: Vec<u64> = self.sources.keys().copied().collect();
        let budget = self.shared.limits.epoch_rows_max;
        for id in ids {
            let source = &self.sources[&id];
            let taken = match source.intake.as_ref() {
                Some(intake) => intake.take(budget, source.reach()),
                None => Taken::default(),
            };
            self.take_chunks(id, taken.chunks, now, &mut gathered);
        }
        self.take_log(u64::MAX, budget, now, &mut gathered);
        self.move_watermarks(&BTreeMap::new(), now, &mut gathered);
        gathered
    }

    /// Takes everything that the sources hold now, waiting until it has been read.
    fn gather_for_step(&mut self) -> Result<Gathered> {
        self.align();
        let mut gathered = Gathered::default();
        let now = self.shared.clock.now();
        let ids: Vec<u64> = self.sources.keys().copied().collect();
        let mut all_ends = BTreeMap::new();
        for id in ids {
            let source = &self.sources[&id];
            let (Some(intake), Some(connector)) = (&source.intake, &source.spec.connector) else { continue };
            let ends: BTreeMap<u32, i64> =
                connector.end_offsets()?.into_iter().filter_map(|r| Some((r.split, r.end_offset?))).collect();
            let from = source.progress.splits.iter().map(|(s, p)| (*s, p.offset)).collect();
            let taken = intake.take_until(&ends, &from, source.reach(), DELIVERY_PATIENCE)?;
            self.take_chunks(id, taken.chunks, now, &mut gathered);
            all_ends.insert(id, ends);
        }
        self.take_log(u64::MAX, usize::MAX, now, &mut gathered);
        self.move_watermarks(&all_ends, now, &mut gathered);
        Ok(gathered)
    }

    /// Accounts chunks of a source: offsets, watermarks per split, dead letters, rows.
    pub(super) fn take_chunks(
        &mut self,
        id: u64,
        chunks: Vec<ReadyChunk>,
        now: ProcTime,
        gathered: &mut Gathered,
    ) {
        let limit = self.shared.limits.dead_letters_max;
        let Some(source) = self.sources.get_mut(&id) else { return };
        for chunk in chunks {
            let rows = chunk.rows.num_rows();
            let quantile = source.spec.quantile();
            source.progress.take(chunk.split, chunk.end_offset, rows, &chunk.time, quantile, now.0);
            source.progress.split_mut(chunk.split, now.0).lost += chunk.lost;
            warn_of_skew(&source.spec, chunk.split, &chunk.time);
            gathered.moved.insert(id);
            let rows = rows as u64;
            gathered.row_count += rows;
            if let Some(state) = self.shared.status.sources.write().get_mut(&id) {
                state.rows += rows;
                state.dead_letters += chunk.dead_letters.len() as u64;
                state.tombstones += chunk.tombstones;
            }
            let name = [source.spec.name.as_str()];
            self.shared.metrics.rows_in.with_label_values(&name).inc_by(rows);
            self.shared.metrics.dead_letters.with_label_values(&name).inc_by(chunk.dead_letters.len() as u64);
            self.shared.status.add_dead_letters(id, chunk.dead_letters, limit);
            if rows > 0 {
                gathered.rows.entry(id).or_default().push(ChangeBatch::inserts(chunk.rows));
            }
        }
    }

    /// Takes records of the local log up to a number.
    pub(super) fn take_log(&mut self, up_to: u64, rows_max: usize, now: ProcTime, gathered: &mut Gathered) {
        for record in self.shared.log.take(up_to, rows_max) {
            self.log_end = record.number;
            for (relation, batch) in &record.parts {
                gathered.row_count += batch.len() as u64;
                if let Some(source) = self.sources.get_mut(relation) {
                    let first = source.progress.split_mut(0, now.0).offset;
                    match source.spec.chunk_time(&batch.rows, |row| first + row as i64, now.0) {
                        Ok(time) => {
                            let end = first + batch.len() as i64;
                            let quantile = source.spec.quantile();
                            source.progress.take(0, end, batch.len(), &time, quantile, now.0);
                            warn_of_skew(&source.spec, 0, &time);
                        }
                        Err(e) => tracing::error!(error = %e, "watermark of a feed"),
                    }
                    if let Some(state) = self.shared.status.sources.write().get_mut(relation) {
                        state.rows += batch.len() as u64;
                    }
                    gathered.moved.insert(*relation);
                } else if !self.tables.contains_key(relation) {
                    continue; // the relation has been dropped since
                }
                gathered.rows.entry(*relation).or_default().push(batch.clone());
            }
        }
    }

    /// Idle splits, ends of input and told watermarks, then the sources' watermarks. `ends`:
    /// what a STEP has taken everything up to.
    fn move_watermarks(
        &mut self,
        ends: &BTreeMap<u64, BTreeMap<u32, i64>>,
        now: ProcTime,
        gathered: &mut Gathered,
    ) {
        let now = now.0;
        let log_is_empty = !self.shared.log.has_pending();
        for (id, source) in &mut self.sources {
            let was_idle = source.progress.is_idle();
            let timeout = source.spec.idle_timeout_us;
            if let Some(intake) = &source.intake {
                let view = intake.view();
                for (status, pending) in view.splits {
                    let split = source.progress.split_mut(status.split, now);
                    if status.finished && !pending {
                        split.raise(i64::MAX, now);
                    }
                    let all_taken = (ends.get(id).and_then(|e| e.get(&status.split)))
                        .is_some_and(|end| split.offset >= *end);
                    let caught_up = view.listening && status.caught_up && !pending || all_taken;
                    split.listen(caught_up && !split.waits, timeout, now);
                }
            } else if source.spec.is_feed() {
                source.progress.split_mut(0, now).listen(log_is_empty, timeout, now);
            }
            if let Some(told) = source.told_watermark.take() {
                source.progress.split_mut(0, now).raise(told, now);
            }
            if source.progress.combine(now) || source.progress.is_idle() != was_idle {
                gathered.moved.insert(*id);
            }
        }
        self.align();
    }

    /// Makes the cut, feeds the dataflows, writes the journal, and sees to publication.
    fn cut(&mut self, mut gathered: Gathered, now: ProcTime, reply: Option<Reply<Epoch>>) {
        let epoch = self.epoch.next();
        for (id, source) in self.sources.iter_mut().filter(|(_, s)| s.is_new) {
            source.is_new = false;
            gathered.moved.insert(*id);
        }
        let sources =
            gathered.moved.iter().filter_map(|id| Some(self.sources.get(id)?.progress.to_cut(*id))).collect();
        let record = JournalRecord::Cut(Cut { epoch: epoch.0, now: now.0, log_end: self.log_end, sources });
        let fed = self.feed(epoch, now, &gathered);
        // The workers compute while the cut goes to disk; it is there before publication.
        let written = self.journal.append(&record);
        let applied = self.apply_tables(epoch, &gathered);
        if let Err(e) = written.and(applied) {
            tracing::error!(error = %e, "no more epochs are cut");
            let _ = reply.map(|r| r.send(Err(e.clone())));
            self.break_down(e);
            return;
        }
        self.finish_cut(epoch, now, fed, gathered.row_count, reply);
    }

    pub(super) fn finish_cut(
        &mut self,
        epoch: Epoch,
        now: ProcTime,
        waiting: BTreeMap<u64, usize>,
        rows: u64,
        reply: Option<Reply<Epoch>>,
    ) {
        self.epoch = epoch;
        self.last_cut = clock::monotonic();
        self.in_flight.push_back(InFlight {
            epoch,
            ends: Arc::new(self.input_ends()),
            now,
            rows,
            cut_at: self.last_cut,
            waiting,
            reply,
        });
        self.update_source_status();
        self.publish_done();
    }

    /// What of its input has been taken so far.
    fn input_ends(&self) -> InputEnds {
        let read = self.sources.iter().filter(|(_, source)| source.intake.is_some());
        let ends = |progress: &SourceProgress| progress.splits.iter().map(|(s, p)| (*s, p.offset)).collect();
        let offsets = read.map(|(id, source)| (*id, ends(&source.progress))).collect();
        InputEnds { log: self.log_end, offsets }
    }

    /// Feeds every dataflow that has something to do; returns whom the epoch waits for.
    pub(super) fn feed(&mut self, epoch: Epoch, now: ProcTime, gathered: &Gathered) -> BTreeMap<u64, usize> {
        let workers = self.host.workers();
        let mut changed: BTreeSet<u64> = gathered.rows.keys().copied().collect();
        let mut dataflows = Vec::new();
        let mut waiting = BTreeMap::new();
        let ids: Vec<u64> = self.views.keys().copied().collect();
        for id in ids {
            let times = self.input_times(id);
            let Some(view) = self.views.get_mut(&id) else { continue };
            let watermarks = match &view.phase {
                Phase::Failed => continue,
                // It is filled when everything is replayed: at the last epoch, not again at each.
                Phase::Hydrating(_) if !self.recovered => continue,
                Phase::Replaying { attach_at } if epoch < *attach_at => Watermarks::held(times.len()),
                _ => view.time.advance(&times, now.0),
            };
            let rows = view.plan.inputs.iter().any(|i| changed.contains(&i.relation));
            let time = view.reads_watermark && watermarks != view.watermarks;
            let timer = view.next_timer().is_some_and(|t| t <= now);
            let catching_up = !matches!(view.phase, Phase::Live);
            let attaching = matches!(view.phase, Phase::Replaying { attach_at } if attach_at == epoch);
            if attaching {
                view.time.since = view.began;
            }
            if !(rows || time || timer || attaching || catching_up && view.plan.uses_processing_time()) {
                continue;
            }
            changed.insert(id);
            view.last_fed = epoch;
            view.watermarks = watermarks.clone();
            if matches!(view.phase, Phase::Live | Phase::Replaying { .. }) {
                waiting.insert(id, workers);
            }
            // What came before a view was attached came to it when it was filled.
            let filled = matches!(view.phase, Phase::Replaying { attach_at } if epoch <= attach_at);
            let clock = filled.then(|| now.max(view.filled_at));
            dataflows.push(DataflowFeed { id, watermarks, now: clock });
        }
        if !dataflows.is_empty() {
            let rows = self.distribute(gathered);
            self.host.feed(Arc::new(Feed { epoch, now, dataflows, rows, private: None }));
        }
        waiting
    }

    /// Event time of each input of a view.
    pub(super) fn input_times(&self, view: u64) -> Vec<RelationTime> {
        let inputs = self.views.get(&view).map(|v| v.plan.inputs.as_slice()).unwrap_or_default();
        inputs.iter().map(|i| self.relation_time(i.relation)).collect()
    }

    /// Event time of a relation: a source's own, of a view what its inputs gave it.
    fn relation_time(&self, relation: u64) -> RelationTime {
        if let Some(source) = self.sources.get(&relation) {
            return source.time();
        }
        self.views.get(&relation).map_or(RelationTime::UNTIMED, |v| v.time.output)
    }

    /// Spreads rows over the workers: sources batch by batch, tables by the vnode of their
    /// key, so that a deletion reaches the worker that saw the insertion.
    pub(super) fn distribute(&mut self, gathered: &Gathered) -> Vec<RelationRows> {
        let workers = self.host.workers();
        let mut all = Vec::new();
        for (relation, batches) in &gathered.rows {
            let mut per_worker: Vec<Vec<ChangeBatch>> = vec![Vec::new(); workers];
            for batch in batches {
                match self.tables.get(relation) {
                    _ if workers == 1 => per_worker[0].push(batch.clone()),
                    None => {
                        per_worker[self.next_worker % workers].push(batch.clone());
                        self.next_worker = self.next_worker.wrapping_add(1);
                    }
                    Some(table) => match split_by_key(batch, &table.key, workers) {
                        Ok(parts) => parts.into_iter().enumerate().for_each(|(w, b)| per_worker[w].extend(b)),
                        Err(e) => tracing::error!(error = %e, "rows of a table"),
                    },
                }
            }
            all.push(RelationRows { relation: *relation, per_worker });
        }
        all
    }

    pub(super) fn apply_tables(&mut self, epoch: Epoch, gathered: &Gathered) -> Result<()> {
        for (relation, batches) in &gathered.rows {
            if let Some(table) = self.tables.get(relation) {
                table.store.apply(0, epoch, batches)?;
            }
        }
        Ok(())
    }

    pub(super) fn update_source_status(&mut self) {
        let mut states = self.shared.status.sources.write();
        for (id, source) in &self.sources {
            if let Some(state) = states.get_mut(id) {
                state.progress = source.progress.shown();
                state.reader = source.intake.as_ref().map(|i| i.state());
                state.splits = source.intake.as_ref().map(|i| i.splits()).unwrap_or_default();
            }
        }
        drop(states);
        let times = self.views.iter().map(|(id, v)| {
            let inputs = v.time.inputs.iter().map(|i| v.plan.inputs[*i].relation).collect();
            let reads = v.plan.inputs.iter().map(|i| i.relation).collect();
            (*id, ViewTimeState { output: v.time.output, since: v.time.since, inputs, reads })
        });
        self.shared.status.view_times.write().extend(times);
    }

    /// Everything of a source below journalled offsets.
    pub(super) fn take_replayed(
        &mut self,
        id: u64,
        ends: &BTreeMap<u32, i64>,
        now: ProcTime,
        gathered: &mut Gathered,
    ) -> Result<()> {
        let Some(source) = self.sources.get(&id) else { return Ok(()) };
        let Some(intake) = &source.intake else { return Ok(()) };
        let from = source.progress.splits.iter().map(|(s, p)| (*s, p.offset)).collect();
        let taken = intake.take_until(ends, &from, None, DELIVERY_PATIENCE).map_err(|e| {
            HwError::new(sqlstate::IO_ERROR, format!("source \"{}\" cannot be replayed", source.spec.name))
                .with_detail(e.to_string())
        })?;
        self.take_chunks(id, taken.chunks, now, gathered);
        Ok(())
    }
}

/// Rows too far in the future are kept and counted; the log names the newest of them.
fn warn_of_skew(spec: &SourceSpec, split: u32, time: &ChunkTime) {
    if let Some((offset, micros)) = time.skewed.last() {
        tracing::warn!(
            source = %spec.name, split, offset, rows = time.skewed.len(), event_time_us = micros,
            "rows further in the future than watermark.max_future_skew do not move the watermark"
        );
    }
}

/// Splits a batch over workers by the vnode of `key` (all columns if there is none).
pub(super) fn split_by_key(
    batch: &ChangeBatch,
    key: &[usize],
    workers: usize,
) -> Result<Vec<Option<ChangeBatch>>> {
    let columns: Vec<_> = match key {
        [] => batch.rows.columns().to_vec(),
        key => key.iter().map(|c| Arc::clone(batch.rows.column(*c))).collect(),
    };
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); workers];
    for (row, vnode) in vnodes(&columns, batch.len()).into_iter().enumerate() {
        rows[vnode as usize * workers / VNODES as usize].push(row as u32);
    }
    let part = |rows: Vec<u32>| match rows.is_empty() {
        true => Ok(None),
        false => batch.take(&UInt32Array::from(rows)).map(Some),
    };
    rows.into_iter().map(part).collect()
}
