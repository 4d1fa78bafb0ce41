//! `History`: what one status after another says of the last minutes: rates and latencies. It shows nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::status::{OperationStatus, SourceStatus, Status};

/// How many rates are kept of a source: as many as a wide terminal shows.
const MAX_RATES: usize = 200;

/// The past of all sources, by name.
#[derive(Debug, Default)]
pub struct History(BTreeMap<String, Past>);

/// The past of one source.
#[derive(Debug, Default)]
pub struct Past {
    bytes: Option<u64>,
    answered: BTreeMap<String, (u64, f64)>,
    /// Bytes a second, the latest last.
    pub rates: VecDeque<u64>,
    /// Seconds that the latest answers took, on average, by operation.
    pub latencies: BTreeMap<String, f64>,
}

impl History {
    /// Notes a status that came so long after the one before.
    pub fn note(&mut self, status: &Status, after: Duration) {
        self.0.retain(|name, _| status.sources.contains_key(name));
        for (name, source) in &status.sources {
            self.0.entry(name.clone()).or_default().note(source, after);
        }
    }

    /// The past of a source; `None` before its first status.
    pub fn of(&self, source: &str) -> Option<&Past> {
        self.0.get(source)
    }
}

impl Past {
    fn note(&mut self, source: &SourceStatus, after: Duration) {
        if let Some(before) = self.bytes.replace(source.bytes_retrieved)
            && !after.is_zero()
        {
            // A mount that was begun anew counts from 0.
            let more = source.bytes_retrieved.saturating_sub(before);
            self.rates.push_back((more as f64 / after.as_secs_f64()) as u64);
            if self.rates.len() > MAX_RATES {
                self.rates.pop_front();
            }
        }
        for (operation, OperationStatus { latency, .. }) in &source.operations {
            let count = latency.counts.iter().sum::<u64>();
            let before = self.answered.insert(operation.clone(), (count, latency.seconds)).unwrap_or_default();
            if count > before.0 {
                let mean = (latency.seconds - before.1) / (count - before.0) as f64;
                self.latencies.insert(operation.clone(), mean);
            }
        }
    }

    /// Bytes a second now.
    pub fn rate(&self) -> u64 {
        self.rates.back().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::complete;

    #[test]
    fn rates_and_latencies_are_those_between_two_statuses() {
        let (mut history, mut status) = (History::default(), complete());
        history.note(&status, Duration::ZERO);
        let past = |history: &History| {
            let past = history.of("NAME").expect("it was noted");
            (past.rates.iter().copied().collect::<Vec<_>>(), past.latencies["OPERATION"])
        };
        assert_eq!(past(&history), (vec![], 0.25));
        let source = status.sources.get_mut("NAME").expect("it is there");
        source.bytes_retrieved += 4096;
        let latency = &mut source.operations.get_mut("OPERATION").expect("it is there").latency;
        latency.counts[1] += 2;
        latency.seconds += 3.0;
        history.note(&status, Duration::from_secs(2));
        history.note(&status, Duration::from_secs(1));
        assert_eq!(past(&history), (vec![2048, 0], 1.5));
        for _ in 0..2 * MAX_RATES {
            history.note(&status, Duration::from_secs(1));
        }
        assert_eq!(past(&history).0.len(), MAX_RATES);
        status.sources.clear();
        history.note(&status, Duration::from_secs(1));
        assert!(history.of("NAME").is_none());
    }
}
