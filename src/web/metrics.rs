//! The status as Prometheus reads it. Labels have names of sources and words of ours, never a path.

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::status::{CacheStatus, LatencyStatus, SHARED_STATES, STATES, SharedStatus, SourceStatus, Status};

pub(super) use prometheus_text::CONTENT_TYPE;

/// The metrics of a status, in the text format of Prometheus.
pub(super) fn text(status: Arc<Status>) -> String {
    let (mut registry, mut text) = (Registry::default(), String::new());
    registry.register_collector(Box::new(Metrics(status)));
    prometheus_text::encode(&mut text, &registry).expect("writing to a string cannot fail");
    text
}

#[derive(Debug)]
struct Metrics(Arc<Status>);

/// One source, by its name.
type Source<'a> = (&'a String, &'a SourceStatus);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Status { version, inodes, sources, cache, shared, .. } = &*self.0;
        let mut write = Writer(&mut encoder);
        write.info("kitovufs_build", "The program that serves the mount", &[[("version", version.as_str())]])?;
        let types: Vec<_> =
            sources.iter().map(|(name, source)| [("source", name.as_str()), ("type", &*source.source_type)]).collect();
        write.info("kitovufs_source", "The type of a source", &types)?;
        write.states(sources.iter())?;
        write.requests(sources.iter())?;
        write.latencies(sources.iter())?;
        for (name, help, value) in COUNTERS {
            write.counters(
                name,
                help,
                sources.iter().map(|(name, source)| ([("source", name.as_str())], value(source))),
            )?;
        }
        for (name, help, value) in GAUGES {
            write.gauges(
                name,
                help,
                sources.iter().map(|(name, source)| ([("source", name.as_str())], value(source))),
            )?;
        }
        let known = [(NO_LABELS, *inodes as f64)].into_iter();
        write.gauges("kitovufs_inodes", "Files, directories and links that the kernel knows", known)?;
        for (name, help, value) in CACHE_COUNTERS {
            write.counters(name, help, [(NO_LABELS, value(cache))].into_iter())?;
        }
        for (name, help, value) in CACHE_GAUGES {
            write.gauges(name, help, [(NO_LABELS, value(cache))].into_iter())?;
        }
        if let Some(shared) = shared {
            for (name, help, value) in SHARED_COUNTERS {
                write.counters(name, help, [(NO_LABELS, value(shared))].into_iter())?;
            }
            let states = SHARED_STATES.map(|state| ([("state", state)], f64::from(u8::from(shared.state == state))));
            write.gauges("kitovufs_shared_state", "Whether the shared store is in that state", states.into_iter())?;
        }
        Ok(())
    }
}

const NO_LABELS: [(&str, &str); 0] = [];

/// A name without its ending, a sentence, and where the number comes from.
type Number<S, N> = (&'static str, &'static str, fn(&S) -> N);

const COUNTERS: [Number<SourceStatus, u64>; 7] = [
    ("kitovufs_source_retrieved_bytes", "Content that arrived", |source| source.bytes_retrieved),
    ("kitovufs_source_files_ahead", "Files retrieved before a program opened them", |source| source.files_ahead),
    ("kitovufs_source_files_ahead_used", "How many of these were opened then", |source| source.files_ahead_used),
    ("kitovufs_source_ends_ahead", "Large files whose ends were asked for when they were opened", |source| {
        source.ends_ahead
    }),
    ("kitovufs_source_ends_ahead_used", "How many of these ends were read first", |source| source.ends_ahead_used),
    ("kitovufs_source_listings_ahead", "Directories listed before a program opened them", |source| {
        source.listings_ahead
    }),
    ("kitovufs_source_listings_ahead_used", "How many of these were opened then", |source| source.listings_ahead_used),
];

const GAUGES: [Number<SourceStatus, f64>; 5] = [
    ("kitovufs_source_transfers", "Retrievals under way", |source| source.transfers_under_way as f64),
    ("kitovufs_source_waiting_programs", "Programs that wait for the source, which is silent", |source| {
        source.waiting.as_ref().map_or(0.0, |waiting| waiting.programs as f64)
    }),
    ("kitovufs_source_waiting_requests", "Requests that wait for the source, which is silent", |source| {
        source.waiting.as_ref().map_or(0.0, |waiting| waiting.requests as f64)
    }),
    ("kitovufs_source_waiting_seconds", "For how long the source has been silent", |source| {
        source.waiting.as_ref().map_or(0.0, |waiting| waiting.seconds)
    }),
    ("kitovufs_source_left_out_names", "Names that listings left out", |source| source.left_out as f64),
];

const CACHE_COUNTERS: [Number<CacheStatus, u64>; 5] = [
    ("kitovufs_cache_hits", "Opens that found a whole copy", |cache| cache.hits),
    ("kitovufs_cache_misses", "Opens that did not", |cache| cache.misses),
    ("kitovufs_cache_evictions", "Copies removed to make room", |cache| cache.evicted),
    ("kitovufs_cache_verified_blocks", "Blocks that were hashed and found sound", |cache| cache.verified),
    ("kitovufs_cache_quarantined", "Copies and remote files found damaged", |cache| cache.quarantined),
];

const CACHE_GAUGES: [Number<CacheStatus, f64>; 6] = [
    ("kitovufs_cache_size_bytes", "What the cache takes on the disk", |cache| cache.bytes as f64),
    ("kitovufs_cache_limit_bytes", "What it may take at most", |cache| cache.max_bytes as f64),
    ("kitovufs_cache_pinned_bytes", "What pinned copies take of it", |cache| cache.pinned_bytes as f64),
    ("kitovufs_cache_copies", "Copies of files, those in part included", |cache| cache.copies as f64),
    ("kitovufs_cache_pinned_copies", "Copies that are pinned", |cache| cache.pinned_copies as f64),
    ("kitovufs_cache_has_room", "Whether more can be kept", |cache| f64::from(u8::from(cache.no_room.is_none()))),
];

const SHARED_COUNTERS: [Number<SharedStatus, u64>; 11] = [
    ("kitovufs_shared_hits", "Reads that the shared store answered", |shared| shared.hits),
    ("kitovufs_shared_misses", "Reads for which it had nothing", |shared| shared.misses),
    ("kitovufs_shared_received_bytes", "Content that came from it", |shared| shared.bytes_in),
    ("kitovufs_shared_given_bytes", "Content that was given to it", |shared| shared.bytes_out),
    ("kitovufs_shared_refused", "Values of it that were damaged or forged", |shared| shared.refused),
    ("kitovufs_shared_hedged", "Reads that it did not answer in time", |shared| shared.hedged),
    ("kitovufs_shared_leases_won", "Extents that this mount retrieved for the others", |shared| shared.leases_won),
    ("kitovufs_shared_leases_waited", "Extents that it waited for, as another machine retrieved them", |shared| {
        shared.leases_waited
    }),
    ("kitovufs_shared_listings", "Listings that came from another machine", |shared| shared.listings),
    ("kitovufs_shared_audited", "Reads that were compared with the source", |shared| shared.audited),
    ("kitovufs_shared_lies", "Reads for which another machine had given wrong bytes", |shared| shared.lies),
];

struct Writer<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Writer<'_, '_> {
    fn info(&mut self, name: &str, help: &str, all: &[impl EncodeLabelSet]) -> Result<(), Error> {
        let name = format!("{name}_info");
        let mut metric = self.0.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        all.iter().try_for_each(|labels| metric.encode_family(labels)?.encode_gauge(&1_u32))
    }

    /// `name` is without its ending.
    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        mut all: impl Iterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        all.try_for_each(|(labels, value)| {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        mut all: impl Iterator<Item = (L, f64)>,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        all.try_for_each(|(labels, value)| metric.encode_family(&labels)?.encode_gauge(&value))
    }

    fn states<'s>(&mut self, sources: impl Iterator<Item = Source<'s>>) -> Result<(), Error> {
        let all = sources.flat_map(|(name, source)| {
            STATES.map(|state| {
                ([("source", name.as_str()), ("state", state)], f64::from(u8::from(source.state == state)))
            })
        });
        self.gauges("kitovufs_source_state", "Whether the source is in that state", all)
    }

    fn requests<'s>(&mut self, sources: impl Iterator<Item = Source<'s>>) -> Result<(), Error> {
        let all = sources.flat_map(|(name, source)| {
            source.operations.iter().flat_map(move |(operation, status)| {
                status.outcomes.iter().map(move |(outcome, count)| {
                    ([("source", name.as_str()), ("operation", operation), ("outcome", outcome)], *count)
                })
            })
        });
        self.counters("kitovufs_source_requests", "Requests that have ended, by how", all)
    }

    fn latencies<'s>(&mut self, sources: impl Iterator<Item = Source<'s>>) -> Result<(), Error> {
        const HELP: &str = "How long the source's answers took; of a retrieval, its first bytes";
        let name = "kitovufs_source_request_duration_seconds";
        let mut metric = self.0.encode_descriptor(name, HELP, None, MetricType::Histogram)?;
        for (name, source) in sources {
            for (operation, status) in &source.operations {
                let LatencyStatus { bounds, counts, seconds } = &status.latency;
                let bounds = bounds.iter().copied().chain([f64::INFINITY]);
                let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
                let labels = [("source", name.as_str()), ("operation", operation)];
                let mut family = metric.encode_family(&labels)?;
                family.encode_histogram::<NoLabelSet>(*seconds, counts.iter().sum(), &buckets, None)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::status::tests::complete;

    #[test]
    fn a_status_becomes_metrics_without_a_path() {
        let text = text(Arc::new(complete()));
        for line in [
            "kitovufs_build_info{version=\"0.1.0\"} 1",
            "kitovufs_source_info{source=\"NAME\",type=\"webdav\"} 1",
            "kitovufs_source_state{source=\"NAME\",state=\"slow\"} 1.0",
            "kitovufs_source_state{source=\"NAME\",state=\"ok\"} 0.0",
            "kitovufs_source_requests_total{source=\"NAME\",operation=\"OPERATION\",outcome=\"OUTCOME\"} 1",
            "# TYPE kitovufs_source_request_duration_seconds histogram",
            "kitovufs_source_request_duration_seconds_bucket{le=\"0.5\",source=\"NAME\",operation=\"OPERATION\"} 1",
            "kitovufs_source_request_duration_seconds_bucket{le=\"+Inf\",source=\"NAME\",operation=\"OPERATION\"} 1",
            "kitovufs_source_request_duration_seconds_sum{source=\"NAME\",operation=\"OPERATION\"} 0.25",
            "kitovufs_source_retrieved_bytes_total{source=\"NAME\"} 5",
            "kitovufs_source_waiting_seconds{source=\"NAME\"} 1.5",
            "kitovufs_inodes 15.0",
            "kitovufs_cache_hits_total 4",
            "kitovufs_cache_has_room 1.0",
            "kitovufs_shared_refused_total 5",
            "kitovufs_shared_state{state=\"resting\"} 1.0",
        ] {
            assert!(text.lines().any(|found| sorted(found) == sorted(line)), "{line} is not in\n{text}");
        }
        // Of a transfer, a pin, the cache's directory, the mount point and the programs that wait.
        for named in ["/a/b", "PATH", "/cache", "/mnt", "less"] {
            assert!(!text.contains(named), "{named} is in\n{text}");
        }
    }

    /// The names of metrics in a text.
    fn names(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        words.filter(|word| word.starts_with("kitovufs_")).collect()
    }

    #[test]
    fn every_metric_is_documented_and_the_dashboard_asks_for_no_other() {
        let text = text(Arc::new(complete()));
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let there: BTreeSet<_> = types.collect();
        assert_eq!(names(include_str!("../../docs/looking.md")), there);
        for name in names(include_str!("../../packaging/grafana/kitovufs.json")) {
            assert!(there.contains(name.trim_end_matches("_bucket")), "{name}");
        }
    }

    /// A line whose labels have an order of their own.
    fn sorted(line: &str) -> (String, Vec<String>) {
        let Some((name, (labels, value))) =
            line.split_once('{').and_then(|(name, rest)| Some((name, rest.split_once('}')?)))
        else {
            return (line.to_owned(), Vec::new());
        };
        let mut labels: Vec<_> = labels.split(',').map(str::to_owned).collect();
        labels.sort();
        (format!("{name}{value}"), labels)
    }

    #[test]
    fn a_name_that_is_no_word_stays_in_its_quotes() {
        let mut status = complete();
        let source = status.sources.remove("NAME").expect("it is there");
        status.sources.insert("a\"b\\c".into(), source);
        assert!(text(Arc::new(status)).contains(r#"source="a\"b\\c""#));
    }
}
