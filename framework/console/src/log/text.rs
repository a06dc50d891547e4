//! The text format: time, level, target, message and fields.

use std::fmt::{self, Debug, Write};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::APP_LOG;
use super::task_scope::current_task;
use crate::output::EscapeControl;

/// The formatter of text lines.
#[derive(Clone, Copy)]
pub(super) struct Text {
    /// Whether lines of the application have time and level, too.
    pub(super) is_stamped: bool,
}

/// A line of the log about itself.
pub(super) fn own_line(text: &str) -> Vec<u8> {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    let mut line = format!("{time}  WARN log: ");
    write!(EscapeControl(&mut line), "{text}").expect("writing to a string cannot fail");
    line.push('\n');
    line.into_bytes()
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'fields> FormatFields<'fields> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if metadata.target() == APP_LOG && !self.is_stamped {
            self.format_fields(writer.by_ref(), event)?;
            return writer.write_char('\n');
        }
        let target = metadata.target().rsplit("::").next().unwrap_or_default();
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        write!(writer, "{time} {:>5} {target}: ", metadata.level())?;
        self.format_fields(writer.by_ref(), event)?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                writer.write_str(fields)?;
            }
        }
        if let Some(task) = current_task() {
            write!(writer, " task={task}")?;
        }
        writer.write_char('\n')
    }
}

impl<'writer> FormatFields<'writer> for Text {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut pairs = Pairs { writer, result: Ok(()) };
        fields.record(&mut pairs);
        pairs.result
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        self.format_fields(current.as_writer(), fields)
    }
}

/// Writes the message as it is and every other field as ` name=value`.
struct Pairs<'writer> {
    writer: Writer<'writer>,
    result: fmt::Result,
}

impl Pairs<'_> {
    fn name(&mut self, field: &Field) -> fmt::Result {
        if field.name() == "message" { Ok(()) } else { write!(self.writer, " {}=", field.name()) }
    }

    fn pair(&mut self, field: &Field, value: &dyn Debug) -> fmt::Result {
        self.name(field)?;
        write!(EscapeControl(&mut self.writer), "{value:?}")
    }
}

impl Visit for Pairs<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.result = self.result.and_then(|()| self.pair(field, value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            // Without the quotes of a value.
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }
}
