//! A process as something that can be found again later: its id together with its start time, because ids are used again.

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// One process of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessId {
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`); 0 where the system does not say.
    pub start_time: u64,
}

// === impl ProcessId ===

impl ProcessId {
    /// The process that now has this id.
    pub fn of(pid: u32) -> Self {
        let pid = i32::try_from(pid).unwrap_or_default();
        Self {
            pid,
            start_time: start_time(pid).unwrap_or_default(),
        }
    }

    pub fn current() -> Self {
        Self::of(std::process::id())
    }

    /// Whether the very process still runs; one that ended but was not waited for counts as ended.
    pub fn is_running(self) -> bool {
        let Some(pid) = self.raw() else { return false };
        match start_time(self.pid) {
            Some(now) => now == self.start_time && !is_zombie(self.pid),
            None => self.start_time == 0 && rustix::process::test_kill_process(pid).is_ok(),
        }
    }

    /// Sends a signal to the process if it still runs.
    pub fn signal(self, signal: Signal) {
        if let (true, Some(pid)) = (self.is_running(), self.raw()) {
            // It may have ended since the check, which is what the signal was to achieve.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Sends a signal to the process and everything it started, for one that leads a process group of its own.
    pub fn signal_group(self, signal: Signal) {
        if let (true, Some(pid)) = (self.is_running(), self.raw()) {
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }

    fn raw(self) -> Option<Pid> {
        Pid::from_raw(self.pid)
    }
}

fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start_time(&stat)
}

fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    after_name(&stat).is_some_and(|rest| rest.starts_with('Z'))
}

/// Field 22; the fields are counted after the name, which stands in brackets and may itself hold spaces and brackets.
fn parse_start_time(stat: &str) -> Option<u64> {
    after_name(stat)?.split(' ').nth(19)?.parse().ok()
}

fn after_name(stat: &str) -> Option<&str> {
    stat.get(stat.rfind(')')? + 2..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_odd_names() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0 0";
        assert_eq!(parse_start_time(stat), Some(987_654));
        assert_eq!(parse_start_time("42 (a"), None);
    }

    #[test]
    fn a_process_is_itself_and_no_other() {
        let this = ProcessId::current();
        assert!(this.is_running());
        let earlier = ProcessId {
            start_time: this.start_time + 1,
            ..this
        };
        assert!(!earlier.is_running(), "an id that was used again is another process");
        assert!(!ProcessId { pid: 0, start_time: 0 }.is_running());
    }
}
