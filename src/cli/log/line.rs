//! `Line`: the form of a log line: time, level, source, message. Nothing in it can steer a terminal.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::limit::Limit;
use crate::path::Printable;
use crate::revealed::concealed;

/// The most bytes of a line before characters that cannot be shown are replaced by pictures.
const MAX_LINE_BYTES: usize = 4096;

/// The one style of log lines, as far as they are within the limit.
pub(super) struct Line(pub(super) Limit);

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, Fields> for Line {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Fields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let source = context.event_scope().into_iter().flatten().find(|span| span.name() == "source");
        let source = source.and_then(|span| Some(span.extensions().get::<FormattedFields<Fields>>()?.fields.clone()));
        let mut words = Words::default();
        event.record(&mut words);
        if !self.0.admits(event.metadata(), source.as_deref(), &words.0) {
            return Ok(());
        }
        let mut text = String::new();
        SystemTime.format_time(&mut Writer::new(&mut text))?;
        write!(text, " {:>5} ", event.metadata().level().as_str())?;
        if let Some(source) = source {
            write!(text, "source {source}: ")?;
        }
        text += &concealed(words.0);
        let end = text.floor_char_boundary(MAX_LINE_BYTES);
        let cut = if end < text.len() { "…" } else { "" };
        writeln!(writer, "{}{cut}", Printable(&text.as_bytes()[..end]))
    }
}

/// Writes the fields of a span or an event as text: the name of a source, a message.
pub(super) struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut words = Words::default();
        fields.record(&mut words);
        writer.write_str(&words.0)
    }
}

#[derive(Default)]
struct Words(String);

impl Words {
    fn part(&mut self, text: fmt::Arguments<'_>) {
        let space = if self.0.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{space}{text}");
    }
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Events of libraries that log through the crate `log` have fields that tell the place in their code.
        if !field.name().starts_with("log.") {
            self.part(format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, _: &Field, value: &str) {
        self.part(format_args!("{value}"));
    }
}
