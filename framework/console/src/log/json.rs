//! The JSON format: one object per line.

use std::fmt::{self, Debug};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::task_scope::current_task;
use crate::output::escape_json;

/// The formatter of JSON lines.
pub(super) struct Json;

/// A line of the log about itself.
pub(super) fn own_line(text: &str) -> Vec<u8> {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    let message = quoted(text);
    format!("{{\"time\":\"{time}\",\"level\":\"WARN\",\"target\":\"log\",\"message\":{message}}}\n").into()
}

impl<S, N> FormatEvent<S, N> for Json
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
        let mut members = Members::default();
        event.record(&mut members);
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        write!(writer, "{{\"time\":\"{time}\",\"level\":\"{}\"", metadata.level())?;
        write!(writer, ",\"target\":{}", quoted(metadata.target()))?;
        if let Some(task) = current_task() {
            write!(writer, ",\"task\":{task}")?;
        }
        write!(writer, ",\"message\":{}", members.message.as_deref().unwrap_or("\"\""))?;
        if !members.others.is_empty() {
            write!(writer, ",\"fields\":{{{}}}", members.others)?;
        }
        let mut opening = ",\"spans\":[";
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            write!(writer, "{opening}{{\"name\":{}", quoted(span.name()))?;
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<N>>().filter(|fields| !fields.is_empty()) {
                write!(writer, ",{fields}")?;
            }
            writer.write_char('}')?;
            opening = ",";
        }
        writer.write_str(if opening == "," { "]}\n" } else { "}\n" })
    }
}

impl<'writer> FormatFields<'writer> for Json {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut members = Members::default();
        fields.record(&mut members);
        writer.write_str(&members.others)
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let mut members = Members::default();
        fields.record(&mut members);
        let separator = if current.is_empty() || members.others.is_empty() { "" } else { "," };
        write!(current.as_writer(), "{separator}{}", members.others)
    }
}

/// The fields as JSON: the message, and the others as `"name":value,"name":value`.
#[derive(Default)]
struct Members {
    message: Option<String>,
    others: String,
}

impl Members {
    fn add(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = Some(value);
            return;
        }
        let separator = if self.others.is_empty() { "" } else { "," };
        self.others.extend([separator, &quoted(field.name()), ":", &value]);
    }
}

impl Visit for Members {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, quoted(&format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, quoted(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinities and no NaN.
        let number = if value.is_finite() { value.to_string() } else { quoted(&value.to_string()) };
        self.add(field, number);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.to_string());
    }
}

/// A text as a JSON string without control characters.
pub(super) fn quoted(text: &str) -> String {
    escape_json(&serde_json::Value::from(text).to_string()).into_owned()
}
