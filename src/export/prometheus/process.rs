//! The process itself, under the names that every dashboard knows.
//!
//! Read from `/proc/self` at each scrape. What cannot be read keeps its last value; a machine without `/proc` has none.

use std::fs;
use std::sync::Mutex;

use ::prometheus::core::Collector;
use ::prometheus::{Counter, Gauge, IntGauge, Opts, Registry};

#[derive(Debug)]
pub(super) struct Process {
    figures: Option<Figures>,
    ticks_per_second: f64,
    page_bytes: u64,
}

#[derive(Debug)]
struct Figures {
    cpu: Counter,
    /// What `cpu` has been told; held while it is told more.
    told: Mutex<f64>,
    resident: IntGauge,
    virtual_: IntGauge,
    threads: IntGauge,
    open_files: IntGauge,
}

/// What `/proc/self/stat` says, in its own units.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    started_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Process {
    pub(super) fn new(registry: &Registry) -> Process {
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        let mut process = Process {
            figures: None,
            ticks_per_second,
            page_bytes: u64::try_from(rustix::param::page_size()).unwrap_or(4_096),
        };
        let Some(stat) = read_stat() else {
            return process;
        };
        let gauge = |name: &str, help: &str| {
            registered(registry, IntGauge::with_opts(Opts::new(name, help)))
        };
        let real =
            |name: &str, help: &str| registered(registry, Gauge::with_opts(Opts::new(name, help)));
        if let Some(booted) = booted_at() {
            real(
                "process_start_time_seconds",
                "When the process started, from /proc.",
            )
            .set(booted + stat.started_ticks as f64 / ticks_per_second);
        }
        if let Some(limit) = open_files_limit() {
            gauge(
                "process_max_fds",
                "Most files that the process may have open, from /proc.",
            )
            .set(limit);
        }
        process.figures = Some(Figures {
            cpu: registered(
                registry,
                Counter::with_opts(Opts::new(
                    "process_cpu_seconds_total",
                    "User and system CPU time spent, from /proc.",
                )),
            ),
            told: Mutex::new(0.0),
            resident: gauge(
                "process_resident_memory_bytes",
                "Resident memory, from /proc.",
            ),
            virtual_: gauge(
                "process_virtual_memory_bytes",
                "Virtual memory, from /proc.",
            ),
            threads: gauge("process_threads", "Threads, from /proc."),
            open_files: gauge("process_open_fds", "Open files, from /proc."),
        });
        process.refresh();
        process
    }

    pub(super) fn refresh(&self) {
        let (Some(figures), Some(stat)) = (&self.figures, read_stat()) else {
            return;
        };
        let cpu = stat.cpu_ticks as f64 / self.ticks_per_second;
        if let Ok(mut told) = figures.told.lock()
            && cpu > *told
        {
            figures.cpu.inc_by(cpu - *told);
            *told = cpu;
        }
        set(&figures.threads, stat.threads);
        set(&figures.virtual_, stat.virtual_bytes);
        set(
            &figures.resident,
            stat.resident_pages.saturating_mul(self.page_bytes),
        );
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder being read.
            let count = files.count().saturating_sub(1);
            set(&figures.open_files, u64::try_from(count).unwrap_or(0));
        }
    }
}

fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: ::prometheus::Result<C>,
) -> C {
    let metric = made.expect("the name is valid, as the tests show");
    registry
        .register(Box::new(metric.clone()))
        .expect("each name is given once, as the tests show");
    metric
}

fn read_stat() -> Option<Stat> {
    parse_stat(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The second field is the program's name in brackets and may hold anything, brackets too.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // `rest` begins with the third field of proc(5).
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu_ticks: field(14)?.saturating_add(field(15)?),
        threads: field(20)?,
        started_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

/// When the machine booted, in seconds since the epoch.
fn booted_at() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

/// `None` where there is no limit.
fn open_files_limit() -> Option<i64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_full_of_brackets_does_not_shift_the_fields() {
        let text =
            "7 (a) b (c)) S 1 7 7 0 -1 4194560 10 0 0 0 30 12 0 0 20 0 5 0 900 1048576 256 1 2";
        let stat = parse_stat(text).expect("all fields are there");
        assert_eq!(
            stat,
            Stat {
                cpu_ticks: 42,
                threads: 5,
                started_ticks: 900,
                virtual_bytes: 1_048_576,
                resident_pages: 256,
            }
        );
        assert_eq!(parse_stat("7 (short) S 1"), None);
    }
}
