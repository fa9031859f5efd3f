//! Triggers as data: when the panes of a window fire, and what they hold.
//!
//! A statement's emit clause is bound to an [`EmitSpec`]: every interval in microseconds,
//! everything implied filled in. The plan carries it, the windowed operators obey it; the
//! state machine that runs it is `dataflow::triggers`. Words and rules follow Apache Beam.

/// When a pane of one key and window fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriggerSpec {
    /// `AFTER n ROWS`: at least n rows arrived since this trigger last fired.
    AfterRows(u64),
    /// `EVERY i [OFFSET o]`: at multiples of i after the Unix epoch plus o, in processing time.
    Every {
        interval_us: i64,
        offset_us: i64,
    },
    /// `AFTER DELAY i`: i after the first row since the last firing, in processing time.
    AfterDelay {
        delay_us: i64,
    },
    /// `AFTER WATERMARK`: when the watermark reaches the end of the window.
    AfterWatermark,
    Or(Box<TriggerSpec>, Box<TriggerSpec>),
    And(Box<TriggerSpec>, Box<TriggerSpec>),
    /// Each once, in order.
    Then(Box<TriggerSpec>, Box<TriggerSpec>),
    /// The left one until it finishes or the right one fires, which finishes both; the right
    /// one sees every row, also those that the left one has fired (Beam's `orFinally`).
    Until(Box<TriggerSpec>, Box<TriggerSpec>),
    Repeatedly(Box<TriggerSpec>),
}

/// Which firings a view has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmitPolicy {
    /// Each epoch, whatever changed.
    Changes,
    /// One pane, when the window and its lateness have passed.
    Final,
    /// `EARLY` and `LATE` repeat before and after the watermark passes the window's end;
    /// `ON TIME` fires once when it passes. What the rules imply is filled in already.
    Phases { early: Option<TriggerSpec>, on_time: Option<OnTime>, late: Option<TriggerSpec> },
    /// One free trigger; when it finishes, it closes its window.
    When(TriggerSpec),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnTime {
    /// No on-time pane if nothing is new since the last early one.
    pub if_not_empty: bool,
}

/// What the last pane of a window is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closing {
    #[default]
    IfNotEmpty,
    Always,
}

/// What a pane holds, and how it replaces the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accumulation {
    /// All rows so far.
    #[default]
    Accumulating,
    /// All rows so far; change streams carry the previous pane with −1 before it.
    AccumulatingAndRetracting,
    /// Only what is new since the last firing.
    Discarding,
}

/// A bound emit clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmitSpec {
    pub policy: EmitPolicy,
    /// `ALLOWED LATENESS`, in microseconds, not negative.
    pub lateness_us: i64,
    pub closing: Closing,
    pub accumulation: Accumulation,
    /// Whether the output carries the pane columns ([`PANE_COLUMNS`]) after the others.
    pub with_pane_columns: bool,
}

impl TriggerSpec {
    /// Whether some part of it goes by the clock.
    pub fn uses_processing_time(&self) -> bool {
        match self {
            TriggerSpec::Every { .. } | TriggerSpec::AfterDelay { .. } => true,
            TriggerSpec::AfterRows(_) | TriggerSpec::AfterWatermark => false,
            TriggerSpec::Or(a, b)
            | TriggerSpec::And(a, b)
            | TriggerSpec::Then(a, b)
            | TriggerSpec::Until(a, b) => a.uses_processing_time() || b.uses_processing_time(),
            TriggerSpec::Repeatedly(a) => a.uses_processing_time(),
        }
    }
}

impl EmitSpec {
    /// `EMIT CHANGES`, the default.
    pub fn changes() -> EmitSpec {
        EmitSpec {
            policy: EmitPolicy::Changes,
            lateness_us: 0,
            closing: Closing::IfNotEmpty,
            accumulation: Accumulation::Accumulating,
            with_pane_columns: false,
        }
    }

    /// `EMIT FINAL`.
    pub fn final_pane() -> EmitSpec {
        EmitSpec { policy: EmitPolicy::Final, ..EmitSpec::changes() }
    }

    /// What the aggregates do that the outermost one reads.
    pub fn below(&self) -> EmitSpec {
        let policy = match self.policy {
            EmitPolicy::Final => EmitPolicy::Final,
            _ => EmitPolicy::Changes,
        };
        EmitSpec { policy, lateness_us: self.lateness_us, ..EmitSpec::changes() }
    }

    /// Whether each pane stays a row of its own beside the later ones.
    pub fn keeps_every_pane(&self) -> bool {
        self.accumulation == Accumulation::Discarding
    }

    /// Whether a trigger state for each key and window is needed: everything but plain
    /// `EMIT CHANGES` and `EMIT FINAL`, which show the same with less.
    pub fn needs_panes(&self) -> bool {
        match self.policy {
            _ if self.with_pane_columns => true,
            EmitPolicy::Changes => self.accumulation == Accumulation::Discarding,
            EmitPolicy::Final => false,
            EmitPolicy::Phases { .. } | EmitPolicy::When(_) => true,
        }
    }

    /// Whether panes fire by the clock.
    pub fn uses_processing_time(&self) -> bool {
        match &self.policy {
            EmitPolicy::Changes | EmitPolicy::Final => false,
            EmitPolicy::Phases { early, late, .. } => {
                early.iter().chain(late).any(TriggerSpec::uses_processing_time)
            }
            EmitPolicy::When(trigger) => trigger.uses_processing_time(),
        }
    }

    /// Whether a windowed aggregate with this clause never takes back what it has emitted.
    pub fn is_append_only(&self) -> bool {
        self.policy == EmitPolicy::Final || self.accumulation == Accumulation::Discarding
    }
}

/// Place of a pane in the life of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaneTiming {
    Early,
    OnTime,
    Late,
}

impl PaneTiming {
    /// As `pane_timing` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            PaneTiming::Early => "EARLY",
            PaneTiming::OnTime => "ON_TIME",
            PaneTiming::Late => "LATE",
        }
    }
}

/// The pseudo-columns of a pane, in order: text, int8, int8, bool, bool, timestamptz,
/// timestamptz (null while the watermark is unknown).
pub const PANE_COLUMNS: [&str; 7] = [
    "pane_timing",
    "pane_index",
    "pane_nonspeculative_index",
    "pane_is_first",
    "pane_is_last",
    "pane_fired_at",
    "pane_watermark",
];
