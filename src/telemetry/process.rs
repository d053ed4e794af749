//! The process's own numbers, by the names that Prometheus's clients have for them.
//!
//! The prometheus crate's collector lists all open files to count them: with 20,000 connections that
//! keeps a core for four milliseconds at each scrape, in which a worker may wait for it.

use std::fs;
use std::io;
use std::path::Path;

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo, boot_time_secs, ticks_per_second};
use prometheus::proto::MetricFamily;

use crate::base::stretch::Stretch;

use super::exposition::Samples;
use super::metrics::{Family, Kind};

/// All of them that the system tells.
pub(super) fn collect() -> Vec<MetricFamily> {
    let mut families = Vec::new();
    let mut add = |family, value| {
        let mut samples = Samples::of(family);
        samples.number(&[], value);
        families.extend(samples.finish());
    };
    if let Ok(open) = open_files(Path::new("/proc/self/fd")) {
        add(&OPEN_FILES, open as f64);
    }
    if let Ok(most) = most_files() {
        add(&MOST_FILES, most);
    }
    if let Ok(stat) = Process::myself().and_then(|process| process.stat()) {
        let ticks = ticks_per_second() as f64;
        add(&CPU, (stat.utime + stat.stime) as f64 / ticks);
        add(&VIRTUAL_MEMORY, stat.vsize as f64);
        add(&RESIDENT_MEMORY, stat.rss_bytes().get() as f64);
        add(&THREADS, stat.num_threads as f64);
        if let Ok(boot) = boot_time_secs() {
            add(&STARTED, boot as f64 + stat.starttime as f64 / ticks);
        }
    }
    families
}

/// How many files are open. Linux tells it as the size of the folder that lists them (since 6.2); a
/// system that does not is asked for the list.
fn open_files(listed_in: &Path) -> io::Result<u64> {
    let told = fs::metadata(listed_in)?.len();
    if told > 0 {
        return Ok(told);
    }
    let (mut count, stretch) = (0, Stretch::begin());
    for file in fs::read_dir(listed_in)? {
        file?;
        count += 1;
        stretch.step();
    }
    Ok(count)
}

/// How many may be; infinity where there is no bound.
fn most_files() -> ProcResult<f64> {
    Ok(match Process::myself()?.limits()?.max_open_files.soft_limit {
        LimitValue::Value(most) => most as f64,
        LimitValue::Unlimited => f64::INFINITY,
    })
}

const CPU: Family = Family {
    name: "process_cpu_seconds_total",
    help: "User and system CPU time of the process.",
    kind: Kind::Counter,
    labels: &[],
};
const OPEN_FILES: Family = gauge("process_open_fds", "Open file descriptors.");
const MOST_FILES: Family = gauge("process_max_fds", "File descriptors that may be open.");
const VIRTUAL_MEMORY: Family =
    gauge("process_virtual_memory_bytes", "Memory that the process has addresses for.");
const RESIDENT_MEMORY: Family =
    gauge("process_resident_memory_bytes", "Memory that the process has in use.");
const STARTED: Family =
    gauge("process_start_time_seconds", "When the process began, in Unix time.");
const THREADS: Family = gauge("process_threads", "Threads of the process.");

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: Kind::Gauge, labels: &[] }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    fn value(families: &[MetricFamily], name: &str) -> f64 {
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let metric = &family.get_metric()[0];
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    }

    #[test]
    fn the_process_tells_of_itself() {
        let families = collect();

        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let started = value(&families, "process_start_time_seconds");
        assert!((now - 3600.0..now + 60.0).contains(&started), "{started} of {now}");
        assert!(value(&families, "process_cpu_seconds_total") < 3600.0);
        assert!(value(&families, "process_threads") >= 1.0);
        let resident = value(&families, "process_resident_memory_bytes");
        assert!(resident > 1e6 && resident < value(&families, "process_virtual_memory_bytes"));
        let open = value(&families, "process_open_fds");
        assert!(open >= 3.0 && open <= value(&families, "process_max_fds"));
    }

    #[test]
    fn files_are_counted_where_the_system_does_not_tell_how_many_there_are() {
        let counted = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let told = open_files(Path::new("/proc/self/fd")).unwrap();
        // Other tests open and close theirs meanwhile.
        assert!(told.abs_diff(counted) < 1000, "{told} {counted}");
        // It has no size, as the list of open files had none before Linux 6.2.
        let tasks = Path::new("/proc/self/task");
        assert_eq!(fs::metadata(tasks).unwrap().len(), 0);
        assert!(open_files(tasks).unwrap() >= 1);
    }
}
