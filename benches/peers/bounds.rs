//! The bounds that kitovufs is to keep, and whether it did, as a table.

use super::figure::Figure;
use super::participant::Participant::{self, Client, Kitovufs, Native};
use super::results::{Measured, Results};
use super::stage::Protocol::{self, S3, Sftp, TaggedS3, Webdav};

/// A quantity that is bounded, of medians.
#[derive(Clone, Copy)]
enum Quantity {
    /// Seconds that the reader waits.
    Seconds,
    /// The same in those of another participant.
    Times(Participant),
    /// HTTP requests.
    Requests,
    /// MiB that come from the server.
    Moved,
    /// Seconds of a core that the daemon computes.
    CoreSeconds,
    /// MiB of memory that it has at the most.
    Memory,
}

impl Quantity {
    fn of(self, results: &Results, protocol: Protocol) -> Option<f64> {
        match self {
            Self::Seconds => results.seconds(protocol, Kitovufs),
            Self::Times(other) => Some(results.seconds(protocol, Kitovufs)? / results.seconds(protocol, other)?),
            Self::Requests => results.median(protocol, Kitovufs, Figure::asked),
            Self::Moved => results.median(protocol, Kitovufs, Figure::moved),
            Self::CoreSeconds => results.median(protocol, Kitovufs, Figure::computed),
            Self::Memory => results.median(protocol, Kitovufs, Figure::resident),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Seconds => "seconds".into(),
            Self::Times(other) => format!("times as long as {other}"),
            Self::Requests => "requests".into(),
            Self::Moved => "MiB moved".into(),
            Self::CoreSeconds => "core-s".into(),
            Self::Memory => "memory, MiB".into(),
        }
    }

    /// The measured value and the most that is allowed, in bold where it is more.
    fn shown(self, measured: f64, most: f64) -> String {
        let digits = match self {
            Self::Seconds => 3,
            Self::Times(_) | Self::CoreSeconds => 2,
            Self::Requests | Self::Moved | Self::Memory => 0,
        };
        if measured <= most {
            format!("{measured:.digits$} ≤ {most}")
        } else {
            format!("**{measured:.digits$} > {most}**")
        }
    }
}

/// The most that is allowed of a case at each server.
struct Bound {
    case: &'static str,
    quantity: Quantity,
    most: &'static [(Protocol, f64)],
}

impl Bound {
    /// Its cell for a server: empty where nothing is bounded.
    fn cell(&self, results: &Results, server: Protocol) -> String {
        let Some((_, most)) = self.most.iter().find(|(of, _)| *of == server) else { return String::new() };
        match self.quantity.of(results, server) {
            Some(measured) => self.quantity.shown(measured, *most),
            None => "not done".into(),
        }
    }
}

/// The columns of the table.
const SERVERS: [Protocol; 4] = [S3, TaggedS3, Webdav, Sftp];

/// The most memory in any case, in MiB.
const MEMORY: f64 = 64.0;

const fn bound(case: &'static str, quantity: Quantity, most: &'static [(Protocol, f64)]) -> Bound {
    Bound { case, quantity, most }
}

/// They were set by the least that a case can take: its round trips, the line's bandwidth, what plain clients and the best of the others took.
const BOUNDS: [Bound; 14] = [
    bound("copy-500", Quantity::Seconds, &[(S3, 1.5), (TaggedS3, 1.5), (Webdav, 1.5), (Sftp, 1.5)]),
    bound("copy-10000", Quantity::Seconds, &[(S3, 3.0), (Webdav, 3.0), (Sftp, 3.0)]),
    bound("find-far", Quantity::Seconds, &[(S3, 0.9), (Webdav, 0.9), (Sftp, 0.9)]),
    bound("find-many", Quantity::Times(Client), &[(S3, 1.3), (Webdav, 1.3)]),
    bound("find-again", Quantity::Times(Native), &[(S3, 1.5), (Webdav, 1.5), (Sftp, 1.5)]),
    bound("head", Quantity::Seconds, &[(S3, 0.135), (Webdav, 0.135), (Sftp, 0.135)]),
    bound("tail", Quantity::Seconds, &[(S3, 0.14), (Webdav, 0.14), (Sftp, 0.14)]),
    bound("random", Quantity::Seconds, &[(S3, 2.4), (Webdav, 2.4), (Sftp, 2.4)]),
    bound("readers", Quantity::Seconds, &[(S3, 2.5), (Webdav, 2.5), (Sftp, 2.5)]),
    bound("stream", Quantity::Seconds, &[(S3, 3.2), (Webdav, 3.2), (Sftp, 4.0)]),
    bound("stream", Quantity::Moved, &[(S3, 280.0), (Webdav, 280.0), (Sftp, 280.0)]),
    bound("whole", Quantity::CoreSeconds, &[(TaggedS3, 2.2), (Webdav, 1.4), (Sftp, 1.6)]),
    bound("warm", Quantity::Times(Native), &[(S3, 4.0), (Webdav, 4.0), (Sftp, 4.0)]),
    bound("stat-one", Quantity::Requests, &[(S3, 2.0)]),
];

/// The most memory that any case took at a server; empty where there is none.
fn most_memory(measured: &Measured, server: Protocol) -> String {
    let peaks = measured.iter().filter_map(|(_, results)| Quantity::Memory.of(results, server));
    peaks.max_by(f64::total_cmp).map(|peak| Quantity::Memory.shown(peak, MEMORY)).unwrap_or_default()
}

fn row(case: &str, quantity: Quantity, cells: [String; SERVERS.len()]) -> String {
    format!("\n| {case} | {} | {} |", quantity.name(), cells.join(" | "))
}

/// The bounds as a table in Markdown.
pub fn table(measured: &Measured) -> String {
    let mut text = format!("| | of | {} |\n|---|---|", SERVERS.map(|server| server.to_string()).join(" | "));
    text += &"---|".repeat(SERVERS.len());
    for bound in &BOUNDS {
        if let Some(results) = measured.of(bound.case) {
            text += &row(bound.case, bound.quantity, SERVERS.map(|server| bound.cell(results, server)));
        }
    }
    text + &row("the most of all cases", Quantity::Memory, SERVERS.map(|server| most_memory(measured, server)))
}
