//! Pages that keep themselves up to date: server-sent events with the part of a page that has changed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framework_protocol::ErrorCode;
use framework_server::server::{PageBody, PageResponse};
use futures_util::stream::{BoxStream, StreamExt, unfold};
use tokio::time::{Instant, sleep};

use crate::layout;
use crate::screens;
use crate::visit::{Visit, own_address};

/// The least pause between two looks at what a page shows, and how many times as long as a look it is: pages
/// that search cost the server a tenth of its time at most.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_FACTOR: u32 = 9;

/// The stream of a page, whose address is in the query.
pub(crate) fn follow(visit: &Visit) -> PageResponse {
    let address = own_address(visit.query.get("page").unwrap_or_default());
    let page = LivePage {
        visit: Arc::new(visit.elsewhere(address)),
        last: String::new(),
        sent: Instant::now(),
        took: Duration::ZERO,
    };
    let parts: BoxStream<'static, Bytes> = unfold(Some(page), page_part).boxed();
    PageResponse {
        status: 200,
        media_type: "text/event-stream",
        headers: Vec::new(),
        body: PageBody::Stream(parts),
    }
}

struct LivePage {
    visit: Arc<Visit>,
    /// What was sent last.
    last: String,
    sent: Instant,
    /// The time that the last look took.
    took: Duration,
}

/// The next event; the stream ends after one that says that the page is not to be had any more.
async fn page_part(page: Option<LivePage>) -> Option<(Bytes, Option<LivePage>)> {
    let mut page = page?;
    let visit = page.visit.clone();
    loop {
        if !page.last.is_empty() {
            tokio::select! {
                () = visit.server.stopped() => return None,
                () = sleep(PAUSE.max(page.took * PAUSE_FACTOR)) => {}
            }
        }
        let begun = Instant::now();
        let shown = screens::show(&visit).await;
        page.took = begun.elapsed();
        let screen = match shown {
            Ok(screen) => screen,
            // Others search at the moment.
            Err(error) if error.code == ErrorCode::Busy && !page.last.is_empty() => continue,
            Err(_) => return Some((Bytes::from_static(b"event: gone\ndata: \n\n"), None)),
        };
        let main = layout::main(&visit, &screen).into_string();
        if main != page.last {
            let event = event(&main);
            page.last = main;
            page.sent = Instant::now();
            return Some((event, Some(page)));
        }
        if page.sent.elapsed() >= visit.server.keepalive() {
            page.sent = Instant::now();
            return Some((Bytes::from_static(b": here\n\n"), Some(page)));
        }
    }
}

fn event(main: &str) -> Bytes {
    let mut event = String::with_capacity(main.len() + 64);
    event.push_str("event: main\n");
    for line in main.split(['\n', '\r']) {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_has_every_line_as_data() {
        assert_eq!(
            event("a\nb\r\n\nevent: x"),
            "event: main\ndata: a\ndata: b\ndata: \ndata: \ndata: event: x\n\n"
        );
    }
}
