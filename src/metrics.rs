//! Counters of the server, shown at `/metrics` in Prometheus' text format.
//!
//! One [`Metrics`] belongs to one server and is shared by all its layers; it only counts and
//! never decides. Names follow Prometheus: unit last, `_total` for counters. Labels are
//! names of catalog objects; when an object is dropped its series must be forgotten.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// Upper bounds of the epoch latency histogram, in seconds.
const LATENCY_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// All metrics of one server.
pub struct Metrics {
    registry: Registry,
    /// Epochs whose results became visible.
    pub epochs_published: IntCounter,
    /// From a cut to its publication.
    pub epoch_latency_seconds: Histogram,
    /// Rows decoded, by `source`.
    pub rows_in: IntCounterVec,
    /// Records that could not be decoded, by `source`.
    pub dead_letters: IntCounterVec,
    /// Rows too late for every window, by `view`.
    pub late_rows: IntCounterVec,
    /// Client connections open now.
    pub connections: IntGauge,
    /// Statements that ended with an error.
    pub statement_errors: IntCounter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        const VALID: &str = "metric names and labels are valid";
        let counter = |name, help| IntCounter::new(name, help).expect(VALID);
        let labelled = |name, help, label| IntCounterVec::new(Opts::new(name, help), &[label]).expect(VALID);
        let latency = HistogramOpts::new(
            "headwater_epoch_latency_seconds",
            "Time from the cut of an epoch to its publication.",
        )
        .buckets(LATENCY_BUCKETS.to_vec());
        let metrics = Metrics {
            registry: Registry::new(),
            epochs_published: counter("headwater_epochs_published_total", "Epochs published."),
            epoch_latency_seconds: Histogram::with_opts(latency).expect(VALID),
            rows_in: labelled("headwater_rows_in_total", "Rows decoded.", "source"),
            dead_letters: labelled("headwater_dead_letters_total", "Records not decodable.", "source"),
            late_rows: labelled("headwater_late_rows_total", "Rows too late.", "view"),
            connections: IntGauge::new("headwater_connections", "Client connections open.").expect(VALID),
            statement_errors: counter("headwater_statement_errors_total", "Statements that failed."),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let collectors: [Box<dyn prometheus::core::Collector>; 7] = [
            Box::new(self.epochs_published.clone()),
            Box::new(self.epoch_latency_seconds.clone()),
            Box::new(self.rows_in.clone()),
            Box::new(self.dead_letters.clone()),
            Box::new(self.late_rows.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.statement_errors.clone()),
        ];
        for collector in collectors {
            self.registry.register(collector).expect("metric names are unique");
        }
    }

    /// Drops the series of a dropped source or view.
    pub fn forget(&self, object: &str) {
        for family in [&self.rows_in, &self.dead_letters, &self.late_rows] {
            // An object without a series is not an error.
            let _ = family.remove_label_values(&[object]);
        }
    }

    /// Everything in Prometheus' text format, with the CPU time and memory of the process.
    pub fn render(&self) -> String {
        let mut text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default();
        let process = ProcessUsage::now();
        let mut push = |name: &str, kind: &str, help: &str, value: f64| {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
        };
        push("process_cpu_seconds_total", "counter", "CPU time of the process.", process.cpu_seconds);
        let resident = process.resident_bytes as f64;
        push("process_resident_memory_bytes", "gauge", "Memory of the process.", resident);
        text
    }
}

/// What the operating system says this process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessUsage {
    /// User and system time of all threads.
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
}

impl ProcessUsage {
    pub fn now() -> ProcessUsage {
        ProcessUsage { cpu_seconds: cpu_seconds(), resident_bytes: resident_bytes().unwrap_or(0) }
    }
}

fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    if status == 0 { time.tv_sec as f64 + time.tv_nsec as f64 / 1e9 } else { 0.0 }
}

/// `VmRSS` of /proc, absent outside Linux.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_counts_and_forgets_dropped_objects() {
        let metrics = Metrics::new();
        metrics.epochs_published.inc_by(3);
        metrics.rows_in.with_label_values(&["bid"]).inc_by(42);
        metrics.epoch_latency_seconds.observe(0.004);
        let text = metrics.render();
        for line in [
            "headwater_epochs_published_total 3",
            "headwater_rows_in_total{source=\"bid\"} 42",
            "headwater_epoch_latency_seconds_bucket{le=\"0.005\"} 1",
            "headwater_connections 0",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
        assert!(ProcessUsage::now().resident_bytes > 0 && ProcessUsage::now().cpu_seconds > 0.0);
        metrics.forget("bid");
        assert!(!metrics.render().contains("bid"));
    }
}
