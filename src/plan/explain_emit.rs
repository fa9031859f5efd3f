//! The emit clause of an aggregate as EXPLAIN prints it, in the words of SQL.

use crate::types::trigger::{Accumulation, Closing, EmitPolicy, EmitSpec, OnTime, TriggerSpec};

/// `emit …` with everything implied spelled out; without windows nothing ever closes.
pub(super) fn emit(spec: &EmitSpec, windowed: bool) -> String {
    let mut text = match &spec.policy {
        EmitPolicy::Final if windowed => "emit on window close".to_string(),
        EmitPolicy::Changes | EmitPolicy::Final => "emit changes".to_string(),
        EmitPolicy::When(t) => format!("emit when {}", trigger(t)),
        EmitPolicy::Phases { early, on_time, late } => {
            let early = early.as_ref().map(|t| format!("early {}", trigger(t)));
            let on_time = on_time.map(|OnTime { if_not_empty }| {
                if if_not_empty { "on time if not empty".to_string() } else { "on time".to_string() }
            });
            let late = late.as_ref().map(|t| format!("late {}", trigger(t)));
            let parts: Vec<String> = [early, on_time, late].into_iter().flatten().collect();
            format!("emit {}", parts.join(", "))
        }
    };
    if spec.lateness_us > 0 {
        text += &format!(", allowed lateness {}", seconds(spec.lateness_us));
    }
    if spec.closing == Closing::Always {
        text += ", closing always";
    }
    match spec.accumulation {
        Accumulation::Accumulating => text,
        Accumulation::AccumulatingAndRetracting => text + ", accumulating and retracting",
        Accumulation::Discarding => text + ", discarding",
    }
}

fn trigger(t: &TriggerSpec) -> String {
    match t {
        TriggerSpec::AfterRows(1) => "after 1 row".into(),
        TriggerSpec::AfterRows(n) => format!("after {n} rows"),
        TriggerSpec::Every { interval_us, offset_us: 0 } => format!("every {}", seconds(*interval_us)),
        TriggerSpec::Every { interval_us, offset_us } => {
            format!("every {} offset {}", seconds(*interval_us), seconds(*offset_us))
        }
        TriggerSpec::AfterDelay { delay_us } => format!("after delay {}", seconds(*delay_us)),
        TriggerSpec::AfterWatermark => "after watermark".into(),
        TriggerSpec::Or(a, b) => format!("({} or {})", trigger(a), trigger(b)),
        TriggerSpec::And(a, b) => format!("({} and {})", trigger(a), trigger(b)),
        TriggerSpec::Then(a, b) => format!("({} then {})", trigger(a), trigger(b)),
        TriggerSpec::Until(a, b) => format!("({} until {})", trigger(a), trigger(b)),
        TriggerSpec::Repeatedly(t) => format!("repeatedly ({})", trigger(t)),
    }
}

fn seconds(us: i64) -> String {
    format!("{}s", us as f64 / 1e6)
}
