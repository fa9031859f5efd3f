//! Runs `sql-tests/**/*.slt` and the examples in `docs/` and holds them to the invariances:
//! the same answers with two workers, after a crash before every query, from the query run
//! over all rows, from other cuts, and from the queries as views.
//!
//! `cargo test --release --test sql -- windows` runs what has "windows" in its name.

mod harness;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};

use harness::report::{Report, filters, only_list};
use harness::run::{Mode, run_script};
use harness::script::{Script, read_page, read_slt};

/// Scripts run at the same time.
const THREADS: usize = 2;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (scripts, broken) = read_all(root);
    let filters = filters();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
    let tests: Vec<(Arc<Script>, Vec<Mode>)> =
        scripts.into_iter().map(|s| (modes(&s), s)).map(|(m, s)| (s, m)).collect();
    if only_list() {
        tests.iter().for_each(|(s, m)| m.iter().for_each(|mode| println!("{}: test", test_name(s, *mode))));
        return;
    }
    let all = tests.iter().map(|(_, m)| m.len()).sum::<usize>() + broken.len();
    let tests: Vec<_> = tests
        .into_iter()
        .map(|(s, m)| {
            (s.clone(), m.into_iter().filter(|mode| wanted(&test_name(&s, *mode))).collect::<Vec<_>>())
        })
        .collect();
    let count = tests.iter().map(|(_, m)| m.len()).sum::<usize>() + broken.len();
    let mut report = Report::new(count, all - count);
    for (name, why) in broken {
        report.add(&name, Err(why));
    }
    run_tests(tests, &mut report);
    if let Some(line) = harness::as_views::totals() {
        println!("{line}");
    }
    std::process::exit(report.finish());
}

fn test_name(script: &Script, mode: Mode) -> String {
    format!("{} ({})", script.name, mode.name())
}

/// Examples run as written; scripts run in every mode that applies.
fn modes(script: &Script) -> Vec<Mode> {
    if script.file.starts_with("docs/") {
        return vec![Mode::AsWritten];
    }
    Mode::ALL.into_iter().filter(|m| m.applies(script)).collect()
}

fn run_tests(tests: Vec<(Arc<Script>, Vec<Mode>)>, report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = Arc::new(runtime.expect("the clients' runtime starts"));
    let queue = Arc::new(Mutex::new(VecDeque::from(tests)));
    let (sender, results) = mpsc::sync_channel(64);
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (queue, sender, runtime) = (queue.clone(), sender.clone(), runtime.clone());
            std::thread::spawn(move || {
                loop {
                    let next = queue.lock().expect("no holder panics").pop_front();
                    let Some((script, modes)) = next else { return };
                    for mode in modes {
                        let result = caught(|| run_script(&runtime, &script, mode));
                        let failed = result.is_err();
                        let _ = sender.send((test_name(&script, mode), result));
                        // The other modes would repeat the same report.
                        if failed && mode == Mode::AsWritten {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    drop(sender);
    results.iter().for_each(|(name, result)| report.add(&name, result));
    threads.into_iter().for_each(|t| drop(t.join()));
}

fn caught(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|_| Err("panicked".into()))
}

/// All scripts, and the files that cannot be read as such.
fn read_all(root: &Path) -> (Vec<Arc<Script>>, Vec<(String, String)>) {
    let (mut scripts, mut broken) = (Vec::new(), Vec::new());
    let mut keep = |path: &Path, read: Result<Vec<Script>, String>| match read {
        Ok(read) => scripts.extend(read.into_iter().map(Arc::new)),
        Err(why) => broken.push((path.display().to_string(), why)),
    };
    for path in files(&root.join("sql-tests"), "slt") {
        keep(&path, read_slt(root, &path).map(|s| vec![s]));
    }
    for path in files(&root.join("docs"), "md") {
        keep(&path, read_page(root, &path));
    }
    (scripts, broken)
}

/// Files below `dir` with this extension, in order of their names.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
