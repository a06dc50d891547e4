//! What becomes of requests whose connection breaks, and of those that nobody waits for any more.

use std::task::Waker;

use super::super::in_flight::{RequestKind, RetrySafety};
use super::*;

const RETRY_TIME: Duration = Duration::from_secs(60);

fn request(id: u64, kind: RequestKind, safety: RetrySafety) -> OutgoingRequest {
    OutgoingRequest { kind, ..OutgoingRequest::once(id, b"{}\n".to_vec(), safety) }
}

/// A channel whose requests have been sent.
fn sent(requests: impl IntoIterator<Item = OutgoingRequest>) -> ChannelState {
    let mut state = ChannelState::new(RETRY_TIME, 2, false);
    requests.into_iter().for_each(|request| state.push(request));
    state.fill(&mut Vec::new(), &[], &mut Effects::default());
    state
}

fn broken() -> ClientError {
    ClientError::closed("127.0.0.1:9501")
}

/// The error that a request has failed with; `None` while it has not.
fn failure(state: &mut ChannelState, id: u64) -> Option<ClientError> {
    match state.poll_next(id, &Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(ChannelEvent::Failed(error))) => Some(error),
        Poll::Ready(other) => panic!("{other:?}"),
        Poll::Pending => None,
    }
}

#[test]
fn request_that_may_have_been_read_is_sent_again_only_if_that_changes_nothing() {
    let mut state = sent([
        request(1, RequestKind::Once, RetrySafety::ReadOnly),
        request(2, RequestKind::Once, RetrySafety::Keyed),
        request(3, RequestKind::Once, RetrySafety::Unsafe),
    ]);
    state.disconnect(&broken(), &mut Effects::default());
    assert!(failure(&mut state, 1).is_none() && failure(&mut state, 2).is_none());
    let unknown = failure(&mut state, 3);
    assert!(matches!(unknown, Some(ClientError::Unknown { .. })), "it may have been accepted: {unknown:?}");
    let mut again = Vec::new();
    state.fill(&mut again, &[], &mut Effects::default());
    assert_eq!(again, b"{}\n{}\n");
}

#[test]
fn connection_closes_when_it_owes_too_many_ends_that_nobody_waits_for() {
    let mut state = sent((0..4).map(|id| request(id, RequestKind::Awaited, RetrySafety::Unsafe)));
    let mut effects = Effects::default();
    let queued =
        |id: u64| serde_json::from_str(&format!(r#"{{"id":{id},"task_id":{id},"status":"queued"}}"#));
    let replies = (0..4).map(|id| queued(id).unwrap()).collect();
    state.dispatch(replies, "127.0.0.1:9501", &mut effects).unwrap();
    let closes: Vec<_> = (0..4).map(|id| state.abandon(id, &mut effects)).collect();
    assert_eq!(closes, [false, false, true, false], "once, at the third");
}
