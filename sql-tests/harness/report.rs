//! Prints results as the standard test harness does, so that its readers understand them.

use std::time::Instant;

/// Counts of a test program.
pub struct Report {
    started: Instant,
    passed: usize,
    failed: Vec<(String, String)>,
    ignored: usize,
    filtered: usize,
}

impl Report {
    pub fn new(tests: usize, filtered: usize) -> Report {
        println!("\nrunning {tests} tests");
        Report { started: Instant::now(), passed: 0, failed: Vec::new(), ignored: 0, filtered }
    }

    pub fn add(&mut self, name: &str, result: Result<(), String>) {
        match result {
            Ok(()) => {
                println!("test {name} ... ok");
                self.passed += 1;
            }
            Err(why) => {
                println!("test {name} ... FAILED");
                self.failed.push((name.to_string(), why));
            }
        }
    }

    pub fn ignore(&mut self, name: &str, why: &str) {
        println!("test {name} ... ignored, {why}");
        self.ignored += 1;
    }

    /// Prints the failures and the summary; the exit code of the process.
    pub fn finish(self) -> i32 {
        if !self.failed.is_empty() {
            println!("\nfailures:\n");
            for (name, why) in &self.failed {
                println!("---- {name} ----\n{why}\n");
            }
            println!("\nfailures:");
            self.failed.iter().for_each(|(name, _)| println!("    {name}"));
        }
        let word = if self.failed.is_empty() { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
            self.passed,
            self.failed.len(),
            self.ignored,
            self.filtered,
            self.started.elapsed().as_secs_f64()
        );
        if self.failed.is_empty() { 0 } else { 101 }
    }
}

/// The name filters on the command line; options of the standard harness are skipped.
pub fn filters() -> Vec<String> {
    let mut filters = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--test-threads" | "--format" | "--color" | "--skip" | "-Z" => drop(arguments.next()),
            option if option.starts_with('-') => (),
            _ => filters.push(argument),
        }
    }
    filters
}

/// Whether the command line only asks for the names.
pub fn only_list() -> bool {
    std::env::args().any(|a| a == "--list")
}
