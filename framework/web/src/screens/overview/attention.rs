//! What needs attention, in words; nothing when all is well.

use framework_protocol::views::{QueueInfo, ScheduleInfo, ServerStatus};
use maud::{Markup, html};

use crate::format::{self, fill};
use crate::json_view::visible;
use crate::text::Texts;
use crate::visit::encode;

/// Due tasks that have waited for longer are worth a look, in milliseconds.
const LONG_WAIT_MS: u64 = 5 * 60 * 1_000;

/// One sentence, and the page that shows more.
struct Point {
    is_bad: bool,
    text: String,
    link: String,
}

impl Point {
    fn bad(text: impl Into<String>, link: impl Into<String>) -> Self {
        Self { is_bad: true, text: text.into(), link: link.into() }
    }

    fn odd(text: impl Into<String>, link: impl Into<String>) -> Self {
        Self { is_bad: false, text: text.into(), link: link.into() }
    }
}

/// The sentences about what is wrong or odd, or that nothing is.
pub(super) fn panel(
    status: &ServerStatus,
    queues: &[QueueInfo],
    schedules: Vec<ScheduleInfo>,
    texts: &Texts,
) -> Markup {
    let mut points = of_server(status, texts);
    points.extend(queues.iter().flat_map(|queue| of_queue(queue, texts)));
    points.extend(schedules.into_iter().filter_map(|schedule| {
        let error = schedule.error?;
        Some(Point::bad(fill(texts.schedule_error, &[&schedule.name, &error]), "schedules"))
    }));
    points.sort_by_key(|point| !point.is_bad);
    html! {
        section.attention aria-label=(texts.attention) {
            @if points.is_empty() {
                p.well { i.dot {} (texts.all_well) }
            } @else {
                ul {
                    @for point in points {
                        li class=(if point.is_bad { "bad" } else { "odd" }) {
                            a href=(point.link) { (visible(&point.text)) }
                        }
                    }
                }
            }
        }
    }
}

fn of_server(status: &ServerStatus, texts: &Texts) -> Vec<Point> {
    let mut points = Vec::new();
    if status.stopping {
        points.push(Point::bad(texts.stopping, "server"));
    }
    points.extend(
        status.storage_error.iter().map(|error| Point::bad(fill(texts.storage_error, &[error]), "server")),
    );
    points.extend(status.storage_warning.iter().map(|warning| Point::odd(warning.as_str(), "server")));
    points.extend(status.unserved.iter().map(|unserved| {
        let text = fill(texts.unserved, &[&unserved.function]);
        Point::bad(text, format!("functions/{}", encode(&unserved.function)))
    }));
    points.extend(status.programs.iter().filter_map(|program| {
        let error = program.error.as_ref()?;
        Some(Point::bad(fill(texts.program_error, &[&program.name, error]), "workers"))
    }));
    if status.workers.total > 0 && status.workers.idle == 0 && status.ledger.waiting > 0 {
        let waiting = format::number(status.ledger.waiting);
        points.push(Point::odd(fill(texts.all_busy, &[&waiting]), "workers"));
    }
    if status.connections.refused > 0 {
        let refused = format::number(status.connections.refused);
        points.push(Point::odd(fill(texts.refused_connections, &[&refused]), "server"));
    }
    points
}

fn of_queue(queue: &QueueInfo, texts: &Texts) -> Vec<Point> {
    let link = format!("tasks?state=waiting&queue={}", encode(&queue.name));
    let waiting = queue.depth.waiting + queue.depth.parked;
    let mut points = Vec::new();
    if queue.depth.paused {
        points.push(Point::odd(fill(texts.queue_paused, &[&queue.name, &format::number(waiting)]), &link));
    } else if let Some(oldest) = queue.oldest_waiting_ms.filter(|oldest| *oldest > LONG_WAIT_MS) {
        points.push(Point::odd(fill(texts.queue_late, &[&queue.name, &format::span(oldest)]), &link));
    }
    points
}
