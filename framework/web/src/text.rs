//! Every text of the pages in English and Chinese, one line each. `{}` stands for a value.

mod table;

use framework_protocol::views::{BatchState, ChangeKind, State};

pub(crate) use self::table::{CHINESE, ENGLISH, Texts};

impl Texts {
    pub(crate) fn state(&self, state: State) -> &'static str {
        match state {
            State::Waiting => self.waiting,
            State::Running => self.running,
            State::Done => self.done,
            State::Failed => self.failed,
            State::Cancelled => self.cancelled,
            State::Expired => self.expired,
        }
    }

    pub(crate) fn batch_state(&self, state: BatchState) -> &'static str {
        match state {
            BatchState::Open => self.batch_open,
            BatchState::Abandoned => self.batch_abandoned,
            BatchState::Running => self.running,
            BatchState::Ended => self.batch_ended,
        }
    }

    pub(crate) fn change_kind(&self, kind: ChangeKind) -> &'static str {
        match kind {
            ChangeKind::Cancel => self.change_cancel,
            ChangeKind::Retry => self.change_retry,
            ChangeKind::Forget => self.change_forget,
            ChangeKind::Flush => self.change_flush,
            ChangeKind::Release => self.change_release,
            ChangeKind::Expire => self.change_expire,
        }
    }

    /// What the action of this name has done.
    pub(crate) fn notice(&self, action: &str) -> Option<&'static str> {
        Some(match action {
            "cancel_task" => self.did_cancel_task,
            "retry_task" => self.did_retry_task,
            "forget_task" => self.did_forget_task,
            "cancel_batch" | "flush_queue" => self.did_cancel_tasks,
            "retry_batch" | "retry_failed" => self.did_retry_tasks,
            "forget_failed" => self.did_forget_tasks,
            "pause_queue" => self.did_pause_queue,
            "resume_queue" => self.did_resume_queue,
            "run_schedule" => self.did_run_schedule,
            "pause_schedule" => self.did_pause_schedule,
            "resume_schedule" => self.did_resume_schedule,
            "drain_worker" => self.did_drain_worker,
            "stop_change" => self.did_stop_change,
            "send" => self.did_send,
            _ => return None,
        })
    }
}
