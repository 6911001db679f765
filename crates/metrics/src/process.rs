//! What the kernel knows of this process, under the names that Prometheus' own libraries use.

use std::fs;

use crate::page::Page;

/// Clock ticks a second in `/proc`: 100 on every architecture we run on (`USER_HZ`).
const TICKS: f64 = 100.0;
const KIB: f64 = 1024.0;

/// Writes CPU time, memory, open files and the start, each as `PREFIX_process_…`. What cannot be read is left out.
pub fn write_process(page: &mut Page, prefix: &str) {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let stat = Stat::parse(&read("stat"), &fs::read_to_string("/proc/stat").unwrap_or_default());
    let status = read("status");
    let kib = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>().ok()
    };
    let files = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    let name = |metric: &str| format!("{prefix}_process_{metric}");
    if let Some(stat) = stat {
        page.counter(&name("cpu_seconds_total"), "Total user and system CPU time spent in seconds", stat.cpu);
        page.gauge(
            &name("start_time_seconds"),
            "Start of the process in seconds since the Unix epoch",
            stat.start,
        );
        page.gauge(&name("threads"), "Number of threads", stat.threads);
    }
    let sizes = [
        ("resident_memory_bytes", "Resident memory in bytes", kib("VmRSS")),
        ("virtual_memory_bytes", "Virtual memory in bytes", kib("VmSize")),
    ];
    for (metric, help, size) in sizes {
        if let Some(size) = size {
            page.gauge(&name(metric), help, size * KIB);
        }
    }
    if let Some(files) = files {
        page.gauge(&name("open_fds"), "Number of open file descriptors", files);
    }
}

/// Figures of `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    /// Seconds.
    cpu: f64,
    /// Seconds since the Unix epoch.
    start: f64,
    threads: f64,
}

impl Stat {
    fn parse(own: &str, system: &str) -> Option<Self> {
        // The program's name comes second, in parentheses, and may hold anything.
        let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let booted: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let cpu = (number(14)? + number(15)?) / TICKS;
        Some(Self { cpu, start: booted + number(22)? / TICKS, threads: number(20)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let own = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 12300 1000 20";
        let stat = Stat::parse(own, "cpu 1 2\nbtime 1000\n").expect("figures");
        assert_eq!(stat, Stat { cpu: 3.0, start: 1123.0, threads: 9.0 });
        assert_eq!(Stat::parse("", "btime 1\n"), None);
        let mut page = Page::default();
        write_process(&mut page, "x");
        assert!(page.finish().contains("x_process_resident_memory_bytes "));
    }
}
