//! The slow reference model of panes, written from the rules and nothing else.
//!
//! One [`Model`] is one key and window. It is asked in every epoch, keeps every row's arrival
//! until it is no longer needed, and recomputes instead of remembering: no timers, no words,
//! no bits. Numbers in comments are those of the rules in the language contract.

use super::{ENDLESS, EpochTimes, Firing};
use crate::types::trigger::{Closing, EmitPolicy, EmitSpec, PaneTiming, TriggerSpec};

/// A trigger with the arrivals (one entry a row) that it has seen since it was last reset.
#[derive(Clone, Debug)]
pub struct Live {
    spec: TriggerSpec,
    parts: Vec<Live>,
    seen: Vec<i64>,
    finished: bool,
}

/// Whether W has reached the window's end.
#[derive(Clone, Copy)]
enum Ended {
    NotYet,
    Now,
    Before,
}

impl Live {
    pub fn new(spec: &TriggerSpec) -> Live {
        let parts = match spec {
            TriggerSpec::Or(a, b)
            | TriggerSpec::And(a, b)
            | TriggerSpec::Then(a, b)
            | TriggerSpec::Until(a, b) => vec![Live::new(a), Live::new(b)],
            TriggerSpec::Repeatedly(a) => vec![Live::new(a)],
            _ => vec![],
        };
        Live { spec: spec.clone(), parts, seen: Vec::new(), finished: false }
    }

    fn reset(&mut self) {
        *self = Live::new(&self.spec);
    }

    fn turn(&mut self) -> &mut Live {
        let first_done = self.parts[0].finished;
        &mut self.parts[first_done as usize]
    }

    pub fn row(&mut self, arrived: i64) {
        if self.finished {
            return;
        }
        match self.spec {
            TriggerSpec::Then(..) => self.turn().row(arrived),
            _ => {
                self.seen.push(arrived);
                self.parts.iter_mut().for_each(|p| p.row(arrived));
            }
        }
    }

    fn ready(&mut self, now: i64, ended: Ended) -> bool {
        if self.finished {
            return false;
        }
        match self.spec.clone() {
            TriggerSpec::AfterRows(n) => self.seen.len() as u64 >= n,
            TriggerSpec::AfterDelay { delay_us } => {
                self.seen.iter().min().is_some_and(|first| now >= first + delay_us)
            }
            // 7: a boundary at or after the first row, and at or before now.
            TriggerSpec::Every { interval_us, offset_us } => self.seen.iter().min().is_some_and(|first| {
                (*first..=now.min(first + interval_us)).any(|t| (t - offset_us).rem_euclid(interval_us) == 0)
            }),
            // At the end, or with a late row.
            TriggerSpec::AfterWatermark => match ended {
                Ended::NotYet => false,
                Ended::Now => true,
                Ended::Before => !self.seen.is_empty(),
            },
            TriggerSpec::Or(..) | TriggerSpec::Until(..) => {
                let [a, b] = [0, 1].map(|i| self.parts[i].ready(now, ended));
                a || b
            }
            TriggerSpec::And(..) => {
                let [a, b] = [0, 1].map(|i| self.parts[i].ready(now, ended));
                a && b
            }
            TriggerSpec::Then(..) => self.turn().ready(now, ended),
            TriggerSpec::Repeatedly(_) => self.parts[0].ready(now, ended),
        }
    }

    fn fire(&mut self, now: i64, ended: Ended) {
        match self.spec {
            TriggerSpec::Repeatedly(_) => {
                self.parts[0].fire(now, ended);
                if self.parts[0].finished {
                    self.parts[0].reset();
                }
            }
            TriggerSpec::Then(..) => {
                self.turn().fire(now, ended);
                self.finished = self.parts[1].finished;
            }
            TriggerSpec::Until(..) => {
                if self.parts[1].ready(now, ended) {
                    self.parts[1].fire(now, ended);
                    self.finished = self.parts[1].finished;
                    self.parts[0].reset();
                } else {
                    self.parts[0].fire(now, ended);
                    self.finished = self.parts[0].finished;
                }
            }
            _ => self.finished = true,
        }
    }
}

/// What one of several merged sessions had of a trigger: its state if it ran that trigger, and
/// the arrivals of the rows it has not fired.
#[derive(Clone, Copy)]
struct Past<'a> {
    trigger: Option<&'a Live>,
    unfired: &'a [i64],
}

impl Live {
    /// 9: the trigger of a merged session. Arrivals add up; what all have finished stays so;
    /// a session that has finished a part alone brings to it what it has not fired.
    fn merged(spec: &TriggerSpec, pasts: &[Past<'_>]) -> Live {
        let mut live = Live::new(spec);
        live.finished = pasts.iter().all(|p| p.trigger.is_some_and(|t| t.finished));
        if live.finished {
            return live;
        }
        let mut pasts = pasts.to_vec();
        pasts.iter_mut().for_each(|p| p.trigger = p.trigger.filter(|t| !t.finished));
        for past in &pasts {
            live.seen.extend(past.trigger.map_or(past.unfired, |t| t.seen.as_slice()));
        }
        let part = |i: usize| -> Live {
            let mut pasts = pasts.clone();
            pasts.iter_mut().for_each(|p| p.trigger = p.trigger.map(|t| &t.parts[i]));
            Live::merged(&live.parts[i].spec, &pasts)
        };
        let sequence = matches!(spec, TriggerSpec::Then(..));
        let mut parts: Vec<Live> = Vec::new();
        for i in 0..live.parts.len() {
            let waits = sequence && i == 1 && !parts[0].finished;
            parts.push(if waits { live.parts[i].clone() } else { part(i) });
        }
        if let (TriggerSpec::Repeatedly(_), true) = (spec, parts.iter().all(|p| p.finished)) {
            parts[0].reset();
        }
        live.finished = sequence && parts[1].finished;
        live.parts = parts;
        live
    }
}

/// One key and window.
#[derive(Clone, Debug)]
pub struct Model {
    spec: EmitSpec,
    end: i64,
    early: Option<Live>,
    late: Option<Live>,
    free: Option<Live>,
    /// W ≥ end in an earlier epoch, or when the window was created.
    had_ended: bool,
    pub unfired: Vec<i64>,
    pub fired: Vec<Firing>,
    /// 7: a free trigger has finished, or the horizon has passed.
    pub over: bool,
}

impl Model {
    pub fn new(spec: &EmitSpec, end: i64, before: i64) -> Model {
        let forever =
            |t: &Option<TriggerSpec>| t.clone().map(|t| Live::new(&TriggerSpec::Repeatedly(Box::new(t))));
        let (early, late, free) = match &spec.policy {
            EmitPolicy::Phases { early, late, .. } => (forever(early), forever(late), None),
            EmitPolicy::When(t) => (None, None, Some(Live::new(t))),
            _ => (None, None, None),
        };
        let had_ended = end != ENDLESS && before >= end;
        let spec = spec.clone();
        Model { spec, end, early, late, free, had_ended, unfired: vec![], fired: vec![], over: false }
    }

    /// 9: the window `end` that `parts` have become; one of them may have its very bounds.
    pub fn merged(spec: &EmitSpec, end: i64, before: i64, parts: &[(&Model, bool)]) -> Model {
        let mut merged = Model::new(spec, end, before);
        for (part, same_bounds) in parts {
            merged.unfired.extend(&part.unfired);
            if *same_bounds {
                merged.fired = part.fired.clone();
            }
        }
        merged.over = parts.iter().all(|(part, _)| part.over);
        let (is_free, ended) = (merged.free.is_some(), merged.had_ended);
        let trigger_of = |m: &'_ Model| match (is_free, ended) {
            (true, _) => m.free.clone(),
            (false, false) => m.early.clone(),
            (false, true) => m.late.clone(),
        };
        let ran_it = |m: &Model| is_free || m.had_ended == ended;
        let triggers: Vec<Option<Live>> =
            parts.iter().map(|(m, _)| trigger_of(m).filter(|_| ran_it(m))).collect();
        let pasts: Vec<Past<'_>> = (parts.iter().zip(&triggers))
            .map(|((m, _), trigger)| Past { trigger: trigger.as_ref(), unfired: &m.unfired })
            .collect();
        let trigger = trigger_of(&merged).map(|t| Live::merged(&t.spec, &pasts));
        match (is_free, ended) {
            (true, _) => merged.free = trigger,
            (false, false) => merged.early = trigger,
            (false, true) => merged.late = trigger,
        }
        merged
    }

    /// 1: too late iff W ≥ e + L; a free trigger that finished closes its window (7).
    pub fn takes_rows(&self, before: i64) -> bool {
        !self.over && (self.end == ENDLESS || before < self.end.saturating_add(self.spec.lateness_us))
    }

    /// 2: rows, then the watermark, then the clock, then at most one pane.
    pub fn epoch(&mut self, rows: u64, times: &EpochTimes) -> Option<Firing> {
        if self.over {
            return None;
        }
        let now = times.now;
        let ended = self.end != ENDLESS && times.watermark >= self.end;
        let over = self.end != ENDLESS && times.watermark >= self.end.saturating_add(self.spec.lateness_us);
        let ends_now = ended && !self.had_ended;
        for _ in 0..rows {
            self.unfired.push(now);
            let running = match &self.spec.policy {
                EmitPolicy::When(_) => &mut self.free,
                _ if self.had_ended => &mut self.late,
                _ => &mut self.early,
            };
            running.iter_mut().for_each(|t| t.row(now));
        }
        let when = match (ended, ends_now) {
            (false, _) => Ended::NotYet,
            (true, true) => Ended::Now,
            (true, false) => Ended::Before,
        };
        let new = !self.unfired.is_empty();
        let always = self.spec.closing == Closing::Always;
        let mut wanted = match &self.spec.policy {
            EmitPolicy::Changes => new,
            EmitPolicy::Final => false,
            // 3
            EmitPolicy::Phases { on_time, .. } if ends_now => new || on_time.is_none_or(|t| !t.if_not_empty),
            // 4
            EmitPolicy::Phases { .. } => {
                let running = if self.had_ended { &mut self.late } else { &mut self.early };
                running.as_mut().is_some_and(|t| fired(t, now, when)) && new
            }
            EmitPolicy::When(_) => {
                let fires = self.free.as_mut().is_some_and(|t| fired(t, now, when));
                self.over = self.free.as_ref().is_some_and(|t| t.finished);
                fires && (new || ends_now || (self.over && always))
            }
        };
        // 5
        wanted |= over && (new || always);
        self.over |= over;
        self.had_ended |= ended;
        wanted.then(|| self.pane(when))
    }

    /// 6
    fn pane(&mut self, when: Ended) -> Firing {
        let timing = match when {
            Ended::NotYet => PaneTiming::Early,
            Ended::Now => PaneTiming::OnTime,
            Ended::Before => PaneTiming::Late,
        };
        let speculative = self.fired.iter().filter(|f| f.timing == PaneTiming::Early).count() as i64;
        let index = self.fired.len() as i64;
        let pane = Firing {
            timing,
            index,
            nonspeculative_index: if timing == PaneTiming::Early { -1 } else { index - speculative },
            is_first: index == 0,
            is_last: self.over,
        };
        self.unfired.clear();
        self.fired.push(pane);
        pane
    }
}

fn fired(trigger: &mut Live, now: i64, ended: Ended) -> bool {
    let ready = trigger.ready(now, ended);
    if ready {
        trigger.fire(now, ended);
    }
    ready
}
