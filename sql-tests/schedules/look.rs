//! What the engine holds of a view at the published epoch, as numbers: contents with the pane
//! columns, panes, changes as followers get them, late rows. Reads what sessions read from,
//! without planning a query for each look.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use headwater::engine::database::Database;
use headwater::engine::panes::Edge;
use headwater::types::ChangeBatch;
use headwater::types::change_batch::consolidate;
use headwater::types::trigger::PANE_COLUMNS;
use headwater::views::Subscription;

use super::expected::{Cells, Line, timing_number};

/// Columns before the pane columns in the list of panes: epoch and time.
const EPOCH_COLUMNS: usize = 2;

/// Changes of one view.
#[derive(Default)]
pub struct News {
    /// With the pane columns.
    pub delta: Vec<(i64, Line)>,
    /// In the order in which followers get them.
    pub followed: Vec<(i64, Cells)>,
}

/// A follower of one view.
pub struct Look {
    database: Arc<Database>,
    id: u64,
    name: String,
    edge: Edge,
    subscription: Subscription,
    /// Columns that followers get.
    visible: Vec<usize>,
}

impl Look {
    /// Follows the view from the published epoch on.
    pub fn new(database: &Arc<Database>, name: &str) -> Result<Look, String> {
        let catalog = database.catalog();
        let definition = catalog.objects().find(|d| d.name == name);
        let id = definition.map(|d| d.id).ok_or_else(|| format!("there is no view {name}"))?;
        let pin = database.engine.shared.pins.pin_published();
        let store = database.engine.readable_store(id, name).map_err(|e| e.to_string())?;
        let visible = (0..store.schema().fields().len()).collect();
        let subscription = Subscription::new(store, pin, false);
        let (database, edge) = (Arc::clone(database), database.edge_of(id));
        Ok(Look { database, id, name: name.to_string(), edge, subscription, visible })
    }

    /// The rows, in order, with the pane columns.
    pub fn contents(&self) -> Result<Vec<Line>, String> {
        let engine = &self.database.engine;
        let store = engine.readable_store(self.id, &self.name).map_err(|e| e.to_string())?;
        let all: Vec<usize> = (0..store.stored_schema().fields().len()).collect();
        let visible = store.schema().fields().len();
        let pin = engine.shared.pins.pin_published();
        let mut lines = Vec::new();
        for rows in store.snapshot(pin.epoch(), Some(&all)).map_err(|e| e.to_string())? {
            lines.extend(cells(&rows)?.into_iter().map(|mut row| {
                let pane = row.split_off(visible);
                Line { row, pane }
            }));
        }
        lines.sort();
        Ok(lines)
    }

    /// The panes remembered, in order: all, or those of the published epoch.
    pub fn panes(&self, all: bool) -> Result<Vec<Line>, String> {
        let log = self.database.engine.shared.status.panes.read().get(&self.id).cloned();
        let log = log.ok_or("no panes are kept")?;
        let published = self.database.engine.published().epoch;
        let now = self.database.engine.shared.clock.now();
        let mut lines = Vec::new();
        for rows in log.read(published, now.0).map_err(|e| e.to_string())? {
            let epoch = rows.column(0).as_primitive::<Int64Type>().value(0);
            if !all && epoch as u64 != published.0 {
                continue;
            }
            lines.extend(cells(&rows)?.into_iter().map(|mut row| {
                let mut pane = row.split_off(EPOCH_COLUMNS);
                let row = pane.split_off(PANE_COLUMNS.len());
                Line { row, pane }
            }));
        }
        lines.sort();
        Ok(lines)
    }

    /// What came since the last call: how the contents differ, and what followers get.
    pub fn news(&mut self) -> Result<News, String> {
        let published = self.database.engine.published().epoch;
        let mut news = News::default();
        for (_, changes) in self.subscription.poll(published).map_err(|e| e.to_string())? {
            let rows = cells(&changes.rows)?.into_iter().map(|mut row| {
                let pane = row.split_off(self.visible.len());
                Line { row, pane }
            });
            news.delta.extend(changes.weights_vec().into_iter().zip(rows));
            let mut changes = self.edge.apply(changes).map_err(|e| e.to_string())?;
            if self.edge == Edge::Changes {
                let weights = changes.weights_vec();
                changes = consolidate(&changes.schema(), &[ChangeBatch::new(changes.rows, weights)])
                    .map_err(|e| e.to_string())?;
            }
            let rows = changes.rows.project(&self.visible).map_err(|e| e.to_string())?;
            news.followed.extend(changes.weights_vec().into_iter().zip(cells(&rows)?));
        }
        Ok(news)
    }

    /// Rows refused since the view was made.
    pub fn late(&self) -> u64 {
        let sides = self.database.engine.shared.status.sides.read();
        let late = sides.get(&self.id).map(|sides| sides.late.clone()).unwrap_or_default();
        late.iter().map(|l| l.count() + l.null_time_count()).sum()
    }
}

/// The rows as numbers.
fn cells(rows: &RecordBatch) -> Result<Vec<Cells>, String> {
    let mut found = vec![Vec::with_capacity(rows.num_columns()); rows.num_rows()];
    for column in rows.columns() {
        let numbers: Cells = match column.data_type() {
            DataType::Utf8 | DataType::Utf8View | DataType::Dictionary(..) => {
                let text = cast(column, &DataType::Utf8).map_err(|e| e.to_string())?;
                text.as_string::<i32>().iter().map(|t| t.map(timing_number)).collect()
            }
            DataType::Timestamp(TimeUnit::Microsecond, _)
            | DataType::Boolean
            | DataType::Int32
            | DataType::Int64 => {
                let numbers = cast(column, &DataType::Int64).map_err(|e| e.to_string())?;
                numbers.as_primitive::<Int64Type>().iter().collect()
            }
            other => return Err(format!("a column of type {other}")),
        };
        found.iter_mut().zip(numbers).for_each(|(row, number)| row.push(number));
    }
    Ok(found)
}
