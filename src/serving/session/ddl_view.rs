//! CREATE VIEW, CREATE MATERIALIZED VIEW and CREATE SINK.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field};

use super::Session;
use super::ddl_source::check_columns;
use super::options::{check_known, with_options};
use super::query::Text;
use super::results::command;
use crate::catalog::{
    Definition, Details, Kind, MaterializedViewDetails, NewDefinition, SinkDetails, ViewDetails,
};
use crate::clock;
use crate::engine::database::PlannedView;
use crate::engine::definitions::ViewOptions;
use crate::engine::planning::{Leaves, Scope};
use crate::engine::sharing::Sharing;
use crate::error::{HwError, Result, sqlstate};
use crate::plan::StreamPlan;
use crate::serving::pg::api::{CancelFlag, Notice, Outcome};
use crate::sql::ast::{CreateMaterializedView, CreateSink, CreateView, SinkInput};
use crate::sql::emit::{BoundEmit, bind_emit};
use crate::types::PgType;

/// Least time between two progress notices.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Progress reports that may wait.
const PROGRESS_WAITING_MAX: usize = 16;

impl Session {
    pub(super) async fn create_view(&mut self, create: &CreateView, text: Text<'_>) -> Result<Outcome> {
        if create.temporary {
            let hint = "Create a plain view and drop it when it is no longer needed.";
            return Err(HwError::unsupported("CREATE TEMPORARY VIEW", hint));
        }
        let replaced = match create.or_replace {
            true => self.replaceable_view(create)?,
            false if self.exists(Kind::View, &create.name, create.if_not_exists)? => {
                return Ok(command("CREATE VIEW"));
            }
            false => None,
        };
        let cx = self.context();
        let pin = Arc::new(self.database.engine.pin());
        let scope = Scope::new(Arc::clone(&self.database), Leaves::Snapshot(pin), cx);
        let planned = self.limited(scope.plan(&create.query.query, Some(text.submitted))).await?;
        let ready = super::query::Ready { state: planned.state, plan: planned.plan, names: planned.names };
        let (_, schema) = ready.optimize()?;
        if create.columns.len() > schema.fields().len() {
            let text = "CREATE VIEW specifies more column names than columns";
            return Err(HwError::new(sqlstate::SYNTAX_ERROR, text));
        }
        let column = |(i, field): (usize, &Arc<Field>)| {
            let name = create.columns.get(i).unwrap_or(field.name());
            match field.data_type() {
                DataType::Null => PgType::Text.field(name, true),
                _ => field.as_ref().clone().with_name(name).with_nullable(true),
            }
        };
        let columns: Vec<Field> = schema.fields().iter().enumerate().map(column).collect();
        check_columns(&columns)?;
        let details = Details::View(ViewDetails {
            query: create.query.text.clone(),
            column_names: create.columns.clone(),
            search_path: self.search_path(),
            late_of: None,
        });
        let mut new = self.definition(&create.name, details)?;
        new.columns = columns;
        new.depends_on = scope.named_objects();
        if let Some(old) = replaced {
            self.database.drop_objects(&[old], false).await?;
        }
        self.create(new).await?;
        Ok(command("CREATE VIEW"))
    }

    /// The view that OR REPLACE takes the place of.
    fn replaceable_view(&self, create: &CreateView) -> Result<Option<u64>> {
        let schema = self.creation_schema(&create.name)?;
        let name = crate::catalog::QualifiedName::new(Some(&schema), &create.name.name);
        let catalog = self.database.catalog();
        if catalog.lookup(&name, &[]).is_none() {
            return Ok(None);
        }
        let old = catalog.resolve_kind(Kind::View, &name, &[])?;
        if let Some(dependent) = catalog.dependents(old.id).next() {
            let text = format!("cannot replace view {} because other objects depend on it", old.name);
            return Err(HwError::new(sqlstate::DEPENDENT_OBJECTS, text)
                .with_detail(format!("{} depends on {}", dependent.describe(), old.describe()))
                .with_hint("Drop the dependent objects first."));
        }
        Ok(Some(old.id))
    }

    pub(super) async fn create_materialized_view(
        &mut self,
        create: &CreateMaterializedView,
        text: Text<'_>,
    ) -> Result<Outcome> {
        if create.or_replace {
            let hint = "Drop the view first, or create one of another name and rename it.";
            return Err(HwError::unsupported("CREATE OR REPLACE MATERIALIZED VIEW", hint));
        }
        if self.exists(Kind::MaterializedView, &create.name, create.if_not_exists)? {
            return Ok(command("CREATE MATERIALIZED VIEW"));
        }
        let options = ["retain_history", "retention", "state_ttl"];
        check_known(&create.with, &options, "CREATE MATERIALIZED VIEW")?;
        if let Some(option) = create.with.get("retain_history") {
            crate::engine::definitions::duration_us("retain_history", &option.value.as_text())?;
        }
        let (planned, mut new) = self.plan_materialized(create, text).await?;
        let plan = &planned.plan;
        // What was written before, in this message, has to be in the log when the view reads it.
        self.outside_block_writes().await?;
        new.primary_key = plan.visible_key().unwrap_or_default();
        self.check_state(plan, create.with.contains_key("state_ttl"))?;
        let late = self.late_relation(bind_emit(create.emit.as_ref())?, plan, &new)?;
        self.create_filled(new, late, Some(planned)).await?;
        Ok(command("CREATE MATERIALIZED VIEW"))
    }

    /// Plans a materialized view without creating it.
    pub(super) async fn plan_materialized(
        &mut self,
        create: &CreateMaterializedView,
        text: Text<'_>,
    ) -> Result<(PlannedView, NewDefinition)> {
        let emit = bind_emit(create.emit.as_ref())?;
        let time_zone = self.settings.get("TimeZone").to_string();
        let cx = self.database.view_context(&self.search_path(), &time_zone);
        let names = (!create.columns.is_empty()).then_some(create.columns.as_slice());
        let with = with_options(&create.with);
        let sharing = if self.settings.is_on("share_plans") { Sharing::Live } else { Sharing::Nobody };
        let (options, query) = (ViewOptions::of(&with)?.sharing(sharing), &create.query.query);
        let planned = self.database.plan_view_with(options, &cx, query, &emit, names, Some(text.submitted));
        let planned = self.limited(planned).await?;
        let details = Details::MaterializedView(MaterializedViewDetails {
            query: create.query.text.clone(),
            column_names: create.columns.clone(),
            search_path: self.search_path(),
            time_zone,
            emit: create.emit.as_ref().map(|e| e.text.clone()),
            with,
            shares: planned.shares.clone(),
        });
        let mut new = self.definition(&create.name, details)?;
        new.columns = planned.columns.clone();
        new.depends_on = planned.depends_on.clone();
        Ok((planned, new))
    }

    /// Writes of this message so far are committed before a view is filled.
    pub(super) async fn outside_block_writes(&mut self) -> Result<()> {
        if self.transaction.kind() == super::BlockKind::Implicit {
            self.flush().await?;
        }
        Ok(())
    }

    pub(super) async fn create_sink(&mut self, create: &CreateSink, text: Text<'_>) -> Result<Outcome> {
        if self.exists(Kind::Sink, &create.name, create.if_not_exists)? {
            return Ok(command("CREATE SINK"));
        }
        let connector = create.with.get("connector").map(|o| o.value.as_text().to_lowercase());
        match connector.as_deref() {
            Some("blackhole") => {}
            Some(other) => {
                let hint = "Use connector = 'blackhole', or SUBSCRIBE to read changes.";
                return Err(HwError::unsupported(format!("a sink with connector '{other}'"), hint));
            }
            None => {
                let text = "option \"connector\" is missing";
                return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, text)
                    .with_hint("Valid connectors are: blackhole."));
            }
        }
        check_known(&create.with, &["connector"], "a blackhole sink")?;
        let mut details = SinkDetails {
            search_path: self.search_path(),
            connector: "blackhole".into(),
            with: with_options(&create.with),
            ..SinkDetails::default()
        };
        let cx = self.database.system_context(&self.search_path());
        let mut depends_on = Vec::new();
        let mut late = None;
        match &create.input {
            SinkInput::Object(name) => {
                let from = self.resolve(name)?;
                if !from.kind.is_readable() {
                    let text = format!("\"{}\" cannot be read", from.name);
                    return Err(HwError::new(sqlstate::WRONG_OBJECT_TYPE, text).at(name.position));
                }
                details.from = Some(from.id);
                details.from_name = Some(name.to_string());
                depends_on.push(from.id);
            }
            SinkInput::Query(query, emit) => {
                let bound = bind_emit(emit.as_deref())?;
                let planned = self.database.plan_view(&cx, &query.query, &bound, None, Some(text.submitted));
                let planned = self.limited(planned).await?;
                self.check_state(&planned.plan, false)?;
                depends_on = planned.depends_on;
                late = Some((bound, planned.plan));
                details.query = Some(query.text.clone());
                details.emit = emit.as_ref().map(|e| e.text.clone());
            }
        }
        let mut new = self.definition(&create.name, Details::Sink(details))?;
        new.depends_on = depends_on;
        let late = match late {
            Some((bound, plan)) => self.late_relation(bound, &plan, &new)?,
            None => None,
        };
        self.outside_block_writes().await?;
        self.create_filled(new, late, None).await?;
        Ok(command("CREATE SINK"))
    }

    /// The relation of LATE DATA TO, to be created with `of`.
    ///
    /// Errors: 42P07 if the name is taken.
    fn late_relation(
        &self,
        emit: BoundEmit,
        plan: &StreamPlan,
        of: &NewDefinition,
    ) -> Result<Option<NewDefinition>> {
        let (Some(name), Some(late)) = (emit.late_data_to, &plan.late) else { return Ok(None) };
        let details = ViewDetails { search_path: self.search_path(), ..ViewDetails::default() };
        let mut relation = self.definition(&name, Details::View(details))?;
        let there = crate::catalog::QualifiedName::new(Some(&relation.schema), &relation.name);
        let same = relation.schema == of.schema && relation.name == of.name;
        if same || self.database.catalog().lookup(&there, &[]).is_some() {
            let text = format!("relation \"{}\" already exists", relation.name);
            return Err(HwError::new(sqlstate::DUPLICATE_TABLE, text)
                .with_hint("LATE DATA TO creates the relation: write a name that is not in use.")
                .at(name.position));
        }
        let schema = crate::engine::late::schema(late);
        relation.columns = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        check_columns(&relation.columns)?;
        Ok(Some(relation))
    }

    /// Creates an object that is filled first, telling how far it is. A cancelled one is
    /// taken back.
    async fn create_filled(
        &mut self,
        new: NewDefinition,
        late: Option<NewDefinition>,
        planned: Option<PlannedView>,
    ) -> Result<()> {
        let (shown, schema, name) = (new.name.clone(), new.schema.clone(), new.name.clone());
        let kind = new.details.kind();
        let (sender, mut reports) = tokio::sync::mpsc::channel(PROGRESS_WAITING_MAX);
        let database = Arc::clone(&self.database);
        let mut creation =
            tokio::spawn(async move { database.create_planned(new, late, planned, Some(sender)).await });
        let mut told = clock::monotonic();
        let error = loop {
            tokio::select! {
                biased;
                done = &mut creation => {
                    return done.map_err(|e| HwError::internal(e.to_string()))?.map(drop);
                }
                () = self.cancel.cancelled() => break CancelFlag::error(),
                () = super::dispatch::until(self.deadline) => break super::dispatch::timed_out(),
                Some((rows, total)) = reports.recv() => {
                    if told.elapsed() >= PROGRESS_INTERVAL {
                        told = clock::monotonic();
                        // A client that does not read its notices misses some.
                        let _ = self.progress.try_send(Notice::new(progress(kind, &shown, rows, total)));
                    }
                }
            }
        };
        let catalog = self.database.catalog();
        let qualified = crate::catalog::QualifiedName::new(Some(&schema), &name);
        if let Some(created) = catalog.lookup_kind(kind, &qualified, &[]).map(|d: &Arc<Definition>| d.id) {
            self.database.drop_objects(&[created], true).await?;
        }
        Err(error)
    }
}

fn progress(kind: Kind, name: &str, rows: u64, total: Option<u64>) -> String {
    let noun = kind.noun();
    match total.filter(|t| *t > 0) {
        Some(total) => {
            let percent = (rows.min(total) * 100) / total;
            format!("{noun} \"{name}\": {rows} of {total} rows ({percent} %)")
        }
        None => format!("{noun} \"{name}\": {rows} rows"),
    }
}
