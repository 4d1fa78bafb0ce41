//! What processes have computed.

use std::fs;

/// Clock ticks in a second (`sysconf(_SC_CLK_TCK)`, which is 100 on every Linux of today).
const TICKS: f64 = 100.0;

/// The seconds of a core that a process has computed so far; `None` if there is no such process.
pub fn of(pid: u32) -> Option<f64> {
    seconds(&format!("/proc/{pid}/stat"), 13)
}

/// The same of the processes that this one has started and waited for.
pub fn of_ended_children() -> f64 {
    seconds("/proc/self/stat", 15).unwrap_or_default()
}

/// The sum of two neighbouring fields of proc(5)'s `stat`, which count from 0 here, in seconds.
fn seconds(stat: &str, field: usize) -> Option<f64> {
    let text = fs::read_to_string(stat).ok()?;
    // The second field is the program's name in parentheses and may hold blanks.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(field - 2).map(str::parse::<f64>);
    Some((fields.next()?.ok()? + fields.next()?.ok()?) / TICKS)
}
