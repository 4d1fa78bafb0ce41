//! `Arriving`: an answer that is read while it arrives, on a thread where reading may wait. It knows no format.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf as _, Bytes};
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;

use crate::source::budget::{Exceeded, MAX_ITEM_BYTES, await_turn};
use crate::source::waits::note_progress;

/// How many pieces of an answer may wait for who reads it; more wait at the server.
const MAX_WAITING_PIECES: usize = 4;

/// An answer of no more bytes is parsed where it was received, once all of it is here: that takes less than to wake a thread for it.
const AT_ONCE_BYTES: usize = 8 << 10;

/// The body of an answer for a parser. An item of it that is larger than [`MAX_ITEM_BYTES`] is an error; [`Meter`] says where one ends.
#[derive(Debug)]
pub(super) struct Arriving {
    /// Those that came first.
    begun: VecDeque<Bytes>,
    /// The others; none if all have come.
    rest: Option<mpsc::Receiver<Bytes>>,
    piece: Bytes,
    meter: Meter,
    tells_its_end: bool,
}

/// Counts the bytes of the item that is being read.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<AtomicUsize>);

impl Meter {
    /// An item has been read; the next begins.
    pub(super) fn next(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Arriving {
    fn new(begun: VecDeque<Bytes>, rest: Option<mpsc::Receiver<Bytes>>, tells_its_end: bool) -> Self {
        Self { begun, rest, piece: Bytes::new(), meter: Meter::default(), tells_its_end }
    }

    /// Counts the bytes that were read.
    pub(super) fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Whether an answer that is cut short on its way is an error of the pieces, so that what comes after no error is all that was sent.
    pub(super) fn tells_its_end(&self) -> bool {
        self.tells_its_end
    }

    /// Reads a little of the rest, which is not needed, so that the connection can be used again.
    fn drain(&mut self) {
        self.meter.next();
        while let Ok(1..) = self.fill_buf().map(<[u8]>::len) {
            self.consume(self.piece.len());
        }
    }
}

impl BufRead for Arriving {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.meter.0.load(Ordering::Relaxed) > MAX_ITEM_BYTES {
            return Err(io::Error::other(Exceeded::Item));
        }
        while self.piece.is_empty() {
            let next = self.begun.pop_front().or_else(|| self.rest.as_mut()?.blocking_recv());
            match next {
                Some(piece) => self.piece = piece,
                None => break,
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, amount: usize) {
        self.meter.0.fetch_add(amount, Ordering::Relaxed);
        self.piece.advance(amount);
    }
}

impl Read for Arriving {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(out.len());
        out[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// The result of `parse`, which reads an answer while it arrives in `pieces`; the inner error is the parser's. Dropped, the parser stops.
/// `tells_its_end`: see [`Arriving::tells_its_end`].
///
/// # Errors
/// That of the pieces, if they end with one: what was parsed until then counts for nothing.
pub(super) async fn parsed<T: Send + 'static, E>(
    pieces: impl Stream<Item = Result<Bytes, E>>,
    tells_its_end: bool,
    parse: impl FnOnce(&mut Arriving) -> Result<T, String> + Send + 'static,
) -> Result<Result<T, String>, E> {
    let parse = move |mut body: Arriving| {
        let parsed = parse(&mut body);
        if parsed.is_ok() {
            body.drain();
        }
        parsed
    };
    let (mut pieces, mut begun, mut arrived) = (std::pin::pin!(pieces), VecDeque::new(), 0);
    while arrived <= AT_ONCE_BYTES {
        let Some(piece) = pieces.next().await else {
            let parsed = catch_unwind(AssertUnwindSafe(|| parse(Arriving::new(begun, None, tells_its_end))));
            return Ok(parsed.unwrap_or_else(|_| Err("reading the answer failed by a fault of this program".into())));
        };
        let piece = piece?;
        note_progress();
        arrived += piece.len();
        begun.push_back(piece);
    }
    await_turn(arrived).await;
    let (sender, receiver) = mpsc::channel(MAX_WAITING_PIECES);
    let body = Arriving::new(begun, Some(receiver), tells_its_end);
    let parsing = tokio::task::spawn_blocking(move || parse(body));
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        note_progress();
        arrived += piece.len();
        await_turn(arrived).await;
        if sender.send(piece).await.is_err() {
            break;
        }
    }
    drop(sender);
    Ok(parsing.await.unwrap_or_else(|lost| Err(lost.to_string())))
}

/// An answer that has arrived, and told its end.
#[cfg(test)]
pub(super) fn read<T>(body: &[u8], parse: impl FnOnce(&mut Arriving) -> Result<T, String>) -> Result<T, String> {
    read_as(body, true, parse)
}

/// An answer that has arrived.
#[cfg(test)]
pub(super) fn read_as<T>(
    body: &[u8],
    tells_its_end: bool,
    parse: impl FnOnce(&mut Arriving) -> Result<T, String>,
) -> Result<T, String> {
    parse(&mut Arriving::new([Bytes::copy_from_slice(body)].into(), None, tells_its_end))
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn lines(body: &mut Arriving) -> Result<usize, String> {
        let (meter, mut count) = (body.meter(), 0);
        let mut line = Vec::new();
        while body.read_until(b'\n', &mut line).map_err(|e| e.to_string())? > 0 {
            line.clear();
            meter.next();
            count += 1;
        }
        Ok(count)
    }

    #[tokio::test]
    async fn an_answer_is_read_as_it_arrives_and_counts_only_if_it_reaches_its_end() {
        let pieces = ["a\nb", "b\n", "", "c"].map(|piece| Ok::<_, &str>(Bytes::from_static(piece.as_bytes())));
        assert_eq!(parsed(stream::iter(pieces.clone()), true, lines).await, Ok(Ok(3)));
        let broken = stream::iter(pieces.into_iter().chain([Err("lost")]));
        assert_eq!(parsed(broken, true, lines).await, Err("lost"));
    }

    /// Counts the pieces that are taken of an answer without end.
    async fn taken_of_endless(piece: &'static [u8]) -> (usize, Result<usize, String>) {
        let mut taken = 0;
        let pieces = stream::iter(std::iter::repeat_with(|| {
            taken += 1;
            Ok::<_, ()>(Bytes::from_static(piece))
        }));
        let parsed = parsed(pieces, true, lines).await.expect("it is never broken");
        (taken, parsed)
    }

    #[tokio::test]
    async fn a_short_answer_is_parsed_where_it_was_received_and_a_long_one_elsewhere() {
        for (length, is_here) in [(AT_ONCE_BYTES, true), (AT_ONCE_BYTES + 1, false)] {
            let here = std::thread::current().id();
            let pieces = stream::iter([Ok::<_, ()>(Bytes::from(vec![b'\n'; length]))]);
            let parse = move |body: &mut Arriving| Ok((lines(body)?, std::thread::current().id() == here));
            assert_eq!(parsed(pieces, true, parse).await, Ok(Ok((length, is_here))));
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_given_up_at_the_limit() {
        let (taken, parsed) = taken_of_endless(&[b'x'; 64 << 10]).await;
        assert!(parsed.expect_err("it never ends").contains("more than 1 MiB"));
        assert!(taken <= MAX_ITEM_BYTES / (64 << 10) + MAX_WAITING_PIECES + 3, "{taken} pieces");
    }

    #[tokio::test]
    async fn who_no_longer_waits_stops_the_parser() {
        let (ended, end) = tokio::sync::oneshot::channel();
        let parse = move |body: &mut Arriving| {
            let count = lines(body);
            let _ = ended.send(());
            count
        };
        let begun = Bytes::from_static(&[b'\n'; AT_ONCE_BYTES + 1]);
        let pieces = stream::iter([Ok::<_, ()>(begun)]).chain(stream::pending());
        let reading = tokio::spawn(parsed(pieces, true, parse));
        tokio::task::yield_now().await;
        reading.abort();
        end.await.expect("the parser comes to an end");
    }
}
