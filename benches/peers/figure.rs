//! `Figure`: what one turn took.

use std::fmt::{self, Display};
use std::fs;
use std::time::Duration;

use kit::cpu;
use serde::{Deserialize, Serialize};

/// The cost of one turn. A figure that cannot be counted is `None`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Figure {
    /// `None` if it was not done within the time that everybody has, or failed.
    pub seconds: Option<f64>,
    /// A program of the reader's got an error.
    #[serde(default)]
    pub failed: bool,
    /// HTTP requests.
    pub requests: Option<u64>,
    /// Bytes that came from the server.
    pub bytes: Option<u64>,
    /// The most memory that the processes that serve the mount had resident, in bytes.
    pub memory: Option<u64>,
    /// Seconds of a core that those processes, or the plain client, computed.
    pub cpu: Option<f64>,
}

impl Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seconds {
            Some(seconds) => write!(f, "{seconds:.3} s")?,
            None if self.failed => write!(f, "failed")?,
            None => write!(f, "not done")?,
        }
        if let Some(requests) = self.requests {
            write!(f, ", {requests} requests")?;
        }
        if let Some(bytes) = self.bytes {
            write!(f, ", {:.1} MiB", mebibytes(bytes))?;
        }
        if let Some(memory) = self.memory {
            write!(f, ", {:.0} MiB of memory", mebibytes(memory))?;
        }
        self.cpu.map_or(Ok(()), |cpu| write!(f, ", {cpu:.2} core-s"))
    }
}

/// Bytes as MiB.
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A process and all that it has started, by the process's number.
#[derive(Debug, Clone, Copy)]
pub struct Processes(pub u32);

impl Processes {
    fn all(self) -> Vec<u32> {
        let mut all = vec![self.0];
        let mut next = 0;
        while let Some(&pid) = all.get(next) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            next += 1;
        }
        all
    }

    /// Their highest resident memory, added up, in bytes.
    pub fn memory(self) -> u64 {
        let peak = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        self.all().into_iter().filter_map(peak).sum::<u64>() * 1024
    }

    /// The seconds of a core that they have computed so far.
    pub fn cpu(self) -> f64 {
        self.all().into_iter().filter_map(cpu::of).sum()
    }
}

/// A number that is read off a figure; `None` where it could not be counted.
pub type Value = fn(&Figure) -> Option<f64>;

impl Figure {
    /// Seconds that the reader waited.
    pub fn waited(&self) -> Option<f64> {
        self.seconds
    }

    /// HTTP requests.
    pub fn asked(&self) -> Option<f64> {
        self.requests.map(|requests| requests as f64)
    }

    /// MiB that came from the server.
    pub fn moved(&self) -> Option<f64> {
        self.bytes.map(mebibytes)
    }

    /// The most MiB of memory.
    pub fn resident(&self) -> Option<f64> {
        self.memory.map(mebibytes)
    }

    /// Seconds of a core.
    pub fn computed(&self) -> Option<f64> {
        self.cpu
    }
}

/// The middle one of these, and the least and the greatest.
pub fn median(mut values: Vec<f64>) -> Option<(f64, f64, f64)> {
    values.sort_by(f64::total_cmp);
    Some((*values.get(values.len() / 2)?, *values.first()?, *values.last()?))
}

/// The median of what these figures have of something; `None` if they have nothing.
pub fn middle(figures: &[Figure], value: Value) -> Option<f64> {
    Some(median(figures.iter().filter_map(value).collect())?.0)
}

/// Why there is no time.
pub fn undone(figures: &[Figure]) -> String {
    match figures.iter().any(|figure| figure.failed) {
        true => "failed".into(),
        false => format!("not done within {} s", PATIENCE.as_secs()),
    }
}

/// How long nobody may take for one turn.
pub const PATIENCE: Duration = Duration::from_secs(150);
