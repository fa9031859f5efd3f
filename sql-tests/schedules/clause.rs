//! Random views: windows and emit clauses, as text and as what they mean.

use headwater::types::trigger::{
    Accumulation, Closing, EmitPolicy, EmitSpec, OnTime, PANE_COLUMNS, TriggerSpec,
};
use proptest::prelude::*;

use super::MS;

/// How rows get windows; times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    None,
    Tumble {
        size: i64,
        offset: i64,
    },
    Hop {
        slide: i64,
        size: i64,
        offset: i64,
    },
    Cumulate {
        step: i64,
        size: i64,
    },
    Session {
        gap: i64,
    },
    /// Over rows that change and go: one for each tumbling window whose greatest value is small.
    Kept {
        inner: i64,
        gap: i64,
    },
    /// Over the windows of a tumbling window.
    Nested {
        inner: i64,
        slide: i64,
        size: i64,
    },
    /// Over the clock.
    ProcTumble {
        size: i64,
    },
    ProcSession {
        gap: i64,
    },
}

/// A view: kind of windows, and what its clause is bound to.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSpec {
    pub kind: Kind,
    pub emit: EmitSpec,
    /// The accumulation mode is written, though it is the default.
    pub mode_written: bool,
}

/// Values below it are small.
pub const SMALL: i64 = 6;

pub fn view_spec() -> impl Strategy<Value = ViewSpec> {
    let kind = prop_oneof![
        1 => Just(Kind::None),
        3 => (5..12i64, -4..30i64).prop_map(|(size, offset)| Kind::Tumble { size, offset }),
        2 => (1..6i64, 5..12i64, -4..30i64).prop_map(|(slide, size, offset)| Kind::Hop { slide, size, offset }),
        1 => (2..5i64, 1..4i64).prop_map(|(step, n)| Kind::Cumulate { step, size: step * n }),
        4 => (3..12i64).prop_map(|gap| Kind::Session { gap }),
        3 => (2..7i64, 3..12i64).prop_map(|(inner, gap)| Kind::Kept { inner, gap }),
        1 => (2..7i64, 2..8i64, 5..12i64)
            .prop_map(|(inner, slide, size)| Kind::Nested { inner, slide: slide.min(size), size }),
        1 => (2..9i64).prop_map(|size| Kind::ProcTumble { size }),
        1 => (1..6i64).prop_map(|gap| Kind::ProcSession { gap }),
    ];
    (kind, emit_spec(), any::<bool>()).prop_map(|(kind, emit, mode_written)| {
        let mut spec = ViewSpec { kind, emit, mode_written };
        if kind == Kind::None {
            spec.emit.lateness_us = 0;
            spec.emit.closing = Closing::IfNotEmpty;
            match &mut spec.emit.policy {
                EmitPolicy::Phases { early: Some(_), on_time, late } => {
                    (*on_time, *late) = (Some(OnTime { if_not_empty: false }), None);
                }
                EmitPolicy::When(_) => {}
                policy => *policy = EmitPolicy::Changes,
            }
        }
        if let Kind::Kept { .. } = kind {
            if spec.emit.accumulation == Accumulation::Discarding {
                spec.emit.accumulation = Accumulation::AccumulatingAndRetracting;
            }
            if let EmitPolicy::Changes | EmitPolicy::Final = spec.emit.policy {
                spec.emit.policy =
                    EmitPolicy::When(TriggerSpec::Repeatedly(Box::new(TriggerSpec::AfterRows(2))));
            }
        }
        spec.mode_written |= spec.emit.accumulation != Accumulation::Accumulating;
        spec.emit.with_pane_columns = spec.lists_panes();
        spec
    })
}

fn trigger() -> impl Strategy<Value = TriggerSpec> {
    let leaf = prop_oneof![
        3 => (1u64..5).prop_map(TriggerSpec::AfterRows),
        2 => (1i64..6, 0i64..6).prop_map(|(interval, offset)| TriggerSpec::Every {
            interval_us: interval * MS,
            offset_us: offset % interval * MS,
        }),
        2 => (0i64..6).prop_map(|delay| TriggerSpec::AfterDelay { delay_us: delay * MS }),
        1 => Just(TriggerSpec::AfterWatermark),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let pair = (inner.clone(), inner.clone(), 0..4usize);
        let repeatedly = inner.prop_map(|t| TriggerSpec::Repeatedly(Box::new(t)));
        let both = pair.prop_map(|(a, b, kind)| {
            let make = [TriggerSpec::Or, TriggerSpec::And, TriggerSpec::Then, TriggerSpec::Until][kind];
            make(Box::new(a), Box::new(b))
        });
        prop_oneof![repeatedly, both]
    })
}

fn emit_spec() -> impl Strategy<Value = EmitSpec> {
    let lateness = prop_oneof![2 => Just(0i64), 3 => 1..20i64];
    let mode = prop_oneof![
        Just(Accumulation::Accumulating),
        Just(Accumulation::AccumulatingAndRetracting),
        Just(Accumulation::Discarding),
    ];
    let phases =
        (prop::option::weighted(0.7, trigger()), any::<bool>(), prop::option::weighted(0.6, trigger()));
    let policy = prop_oneof![
        2 => Just(EmitPolicy::Changes),
        1 => Just(EmitPolicy::Final),
        6 => phases.prop_map(|(early, if_not_empty, late)| EmitPolicy::Phases {
            early,
            on_time: Some(OnTime { if_not_empty }),
            late,
        }),
        4 => trigger().prop_map(EmitPolicy::When),
    ];
    (policy, lateness, any::<bool>(), mode).prop_map(|(mut policy, lateness_ms, always, accumulation)| {
        if let EmitPolicy::Phases { late, .. } = &mut policy {
            *late = match late.take() {
                _ if lateness_ms == 0 => None,
                None => Some(TriggerSpec::AfterRows(1)),
                some => some,
            };
        }
        EmitSpec {
            policy,
            lateness_us: lateness_ms * MS,
            closing: if always { Closing::Always } else { Closing::IfNotEmpty },
            accumulation,
            with_pane_columns: true,
        }
    })
}

impl ViewSpec {
    pub fn by_the_clock(&self) -> bool {
        matches!(self.kind, Kind::ProcTumble { .. } | Kind::ProcSession { .. })
    }

    pub fn windowed(&self) -> bool {
        self.kind != Kind::None
    }

    /// Plain EMIT CHANGES has no panes.
    pub fn lists_panes(&self) -> bool {
        self.emit.policy != EmitPolicy::Changes || self.mode_written
    }

    pub fn retracts(&self) -> bool {
        self.emit.accumulation == Accumulation::AccumulatingAndRetracting
    }

    /// The columns that tell one pane from the next.
    pub fn pane_list(&self) -> String {
        let bounds = if self.windowed() { "window_start, window_end, " } else { "" };
        format!("k, {bounds}n, s, hi, {}", PANE_COLUMNS.join(", "))
    }

    /// The statement that makes it over the source `e`.
    pub fn create(&self, name: &str, e: &str) -> String {
        let ms = |n: i64| format!("INTERVAL '{n} milliseconds'");
        let relation = match self.kind {
            Kind::None => e.to_string(),
            Kind::Tumble { size, offset } => format!("TUMBLE({e}, ts, {}, {})", ms(size), ms(offset)),
            Kind::Hop { slide, size, offset } => {
                format!("HOP({e}, ts, {}, {}, {})", ms(slide), ms(size), ms(offset))
            }
            Kind::Cumulate { step, size } => format!("CUMULATE({e}, ts, {}, {})", ms(step), ms(size)),
            Kind::Kept { inner, gap } => {
                let small = format!(
                    "(SELECT k, window_time, max(v) AS v FROM TUMBLE({e}, ts, {}) \
                     GROUP BY k, window_start, window_end, window_time HAVING max(v) < {SMALL})",
                    ms(inner)
                );
                format!("SESSION({small} PARTITION BY k, window_time, {})", ms(gap))
            }
            Kind::Session { gap } => format!("SESSION({e} PARTITION BY k, ts, {})", ms(gap)),
            Kind::Nested { inner, slide, size } => {
                let inner = format!("(SELECT k, v, window_time FROM TUMBLE({e}, ts, {}))", ms(inner));
                format!("HOP({inner}, window_time, {}, {})", ms(slide), ms(size))
            }
            Kind::ProcTumble { size } => format!("TUMBLE({e}, proctime(), {})", ms(size)),
            Kind::ProcSession { gap } => format!("SESSION({e} PARTITION BY k, proctime(), {})", ms(gap)),
        };
        let keys = if self.windowed() { "k, window_start, window_end" } else { "k" };
        format!(
            "CREATE MATERIALIZED VIEW {name} AS SELECT {keys}, count(*) AS n, sum(v) AS s, max(v) AS hi FROM {relation} GROUP BY {keys} {}",
            self.clause()
        )
    }

    fn clause(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        words.push(match &self.emit.policy {
            EmitPolicy::Changes => "EMIT CHANGES".into(),
            EmitPolicy::Final => "EMIT FINAL".into(),
            EmitPolicy::When(trigger) => format!("EMIT WHEN {}", trigger_text(trigger)),
            EmitPolicy::Phases { early, on_time, late } => {
                let mut parts = Vec::new();
                parts.extend(early.as_ref().map(|t| format!("EARLY {}", trigger_text(t))));
                if self.windowed() {
                    let not_empty = on_time.is_some_and(|t| t.if_not_empty);
                    parts.push(if not_empty { "ON TIME IF NOT EMPTY" } else { "ON TIME" }.to_string());
                }
                parts.extend(late.as_ref().map(|t| format!("LATE {}", trigger_text(t))));
                format!("EMIT {}", parts.join(", "))
            }
        });
        if self.emit.lateness_us > 0 {
            words.push(format!("ALLOWED LATENESS INTERVAL '{} milliseconds'", self.emit.lateness_us / MS));
        }
        if self.emit.closing == Closing::Always {
            words.push("CLOSING ALWAYS".into());
        }
        if self.mode_written {
            words.push(match self.emit.accumulation {
                Accumulation::Accumulating => "ACCUMULATING".into(),
                Accumulation::AccumulatingAndRetracting => "ACCUMULATING AND RETRACTING".into(),
                Accumulation::Discarding => "DISCARDING".into(),
            });
        }
        words.join(" ")
    }
}

fn trigger_text(trigger: &TriggerSpec) -> String {
    let both = |a: &TriggerSpec, word: &str, b: &TriggerSpec| {
        format!("({} {word} {})", trigger_text(a), trigger_text(b))
    };
    let ms = |micros: &i64| format!("INTERVAL '{} milliseconds'", micros / MS);
    match trigger {
        TriggerSpec::AfterRows(n) => format!("AFTER {n} ROWS"),
        TriggerSpec::Every { interval_us, offset_us } => {
            format!("EVERY {} OFFSET {}", ms(interval_us), ms(offset_us))
        }
        TriggerSpec::AfterDelay { delay_us } => format!("AFTER DELAY {}", ms(delay_us)),
        TriggerSpec::AfterWatermark => "AFTER WATERMARK".into(),
        TriggerSpec::Or(a, b) => both(a, "OR", b),
        TriggerSpec::And(a, b) => both(a, "AND", b),
        TriggerSpec::Then(a, b) => both(a, "THEN", b),
        TriggerSpec::Until(a, b) => both(a, "UNTIL", b),
        TriggerSpec::Repeatedly(a) => format!("REPEATEDLY ({})", trigger_text(a)),
    }
}
