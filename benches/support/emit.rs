//! What emit clauses cost: Nexmark's windowed counts (q5 and q11 shapes) with and without.
//!
//! For each shape the plain view (`EMIT CHANGES`) runs beside the same view with one pane at
//! the close, and with early, on-time and late panes that retract, in the same rounds over the
//! same batches. Printed: events per CPU-second of the best round, rows emitted, and the CPU
//! time over that of the plain view: the median of the ratios of the rounds, each of two runs
//! side by side, and all of them; goal 1.5. A last epoch ends the input, so that all of them
//! must end with the same number of rows. The clock goes as fast as event time.

use std::sync::Arc;

use headwater::engine::database::Database;
use headwater::sql::emit::bind_stored;

use super::{BoxError, Events, Measured, Settings, headwater, load_average, plan_emitting};

const RATIO_GOAL: f64 = 1.5;

const SHAPES: [(&str, &str); 2] = [
    (
        "q5",
        "SELECT auction, window_start, window_end, count(*) AS num
         FROM HOP(bid, date_time, INTERVAL '2' SECOND, INTERVAL '10' SECOND)
         GROUP BY auction, window_start, window_end",
    ),
    (
        "q11",
        "SELECT bidder, count(*) AS bid_count, window_start, window_end
         FROM SESSION(bid PARTITION BY bidder, date_time, INTERVAL '10' SECOND)
         GROUP BY bidder, window_start, window_end",
    ),
];

const CLAUSES: [(&str, Option<&str>); 4] = [
    ("changes", None),
    ("final", Some("EMIT FINAL")),
    (
        "early every second, on time, late",
        Some(
            "EMIT EARLY EVERY INTERVAL '1 second', ON TIME, LATE AFTER 1 ROW \
             ALLOWED LATENESS INTERVAL '2 seconds' ACCUMULATING AND RETRACTING",
        ),
    ),
    (
        "early each epoch, on time, late",
        Some(
            "EMIT EARLY AFTER 1 ROW, ON TIME, LATE AFTER 1 ROW \
             ALLOWED LATENESS INTERVAL '2 seconds' ACCUMULATING AND RETRACTING",
        ),
    ),
];

pub async fn measure(database: &Arc<Database>, events: &Events, settings: &Settings) -> Result<(), BoxError> {
    for (shape, sql) in SHAPES {
        let mut best = [Measured::NONE; CLAUSES.len()];
        let mut ratios = [const { Vec::new() }; CLAUSES.len()];
        let mut plans = Vec::new();
        for (_, clause) in CLAUSES {
            plans.push(plan_emitting(database, sql, &bind_stored(clause)?).await?);
        }
        for _ in 0..settings.rounds {
            let mut plain = None;
            for ((best, ratios), plan) in best.iter_mut().zip(&mut ratios).zip(&plans) {
                let run = headwater(plan, events, 1, settings.epoch_batches, true)?;
                ratios.push(run.cpu / *plain.get_or_insert(run.cpu));
                *best = best.best(run);
            }
        }
        for (((name, _), measured), ratios) in CLAUSES.iter().zip(&best).zip(&mut ratios) {
            ratios.sort_by(f64::total_cmp);
            let ratio = ratios[ratios.len() / 2];
            let all: Vec<String> = ratios.iter().map(|r| format!("{r:.2}")).collect();
            println!(
                "{shape:<4} {name:<34} {:>6.2} M/CPU-s | {ratio:.2} times the plain view (goal {RATIO_GOAL}) {} | \
                 rounds {} | emitted {} rows, net {} | load {}",
                events.rows as f64 / measured.cpu / 1e6,
                if ratio <= RATIO_GOAL { "met" } else { "MISSED" },
                all.join(" "),
                measured.rows,
                measured.net,
                load_average(),
            );
            if measured.net != best[0].net {
                return Err(format!("{shape}, {name}: {} rows, not {}", measured.net, best[0].net).into());
            }
        }
    }
    Ok(())
}
