//! What the server itself takes, under the names that Prometheus' own libraries give it.

use std::fmt::Write as _;

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

use super::table::{Metric, OWN_CPU, OWN_MAX_FDS, OWN_OPEN_FDS, OWN_RESIDENT, OWN_START_TIME, OWN_VIRTUAL};

/// Appends what the system tells of this process; what it does not tell is left out.
///
/// They are written here because a counter of the recorder takes whole numbers only, and CPU time is none.
pub(super) fn write(text: &mut String) {
    let pid = Pid::from_u32(std::process::id());
    let mut system = System::new();
    let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
    let Some(process) = system.process(pid) else { return };
    let open_files = |of: fn(&Process) -> Option<usize>| of(process).map(|files| files.to_string());
    let milliseconds = process.accumulated_cpu_time();
    let cpu = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    for (metric, value) in [
        (OWN_CPU, Some(cpu)),
        (OWN_RESIDENT, Some(process.memory().to_string())),
        (OWN_VIRTUAL, Some(process.virtual_memory().to_string())),
        (OWN_OPEN_FDS, open_files(Process::open_files)),
        (OWN_MAX_FDS, open_files(Process::open_files_limit)),
        (OWN_START_TIME, Some(process.start_time().to_string())),
    ] {
        let Metric { name, kind, help, .. } = metric;
        if let Some(value) = value {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}\n{name} {value}\n", kind.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn it_is_told_in_seconds_and_bytes() {
        let mut text = String::new();
        write(&mut text);
        let value = |metric: Metric| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(metric.name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{} in {text}", metric.name)).parse().unwrap()
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - 3600.0..=now + 1.0).contains(&value(OWN_START_TIME)), "{text}");
        assert!((0.0..3600.0).contains(&value(OWN_CPU)), "{text}");
        assert!(value(OWN_RESIDENT) > f64::from(1 << 20), "{text}");
        assert!(value(OWN_VIRTUAL) >= value(OWN_RESIDENT), "{text}");
        assert!((3.0..=value(OWN_MAX_FDS)).contains(&value(OWN_OPEN_FDS)), "{text}");
    }
}
