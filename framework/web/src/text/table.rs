//! The table of texts.

macro_rules! texts {
    ($($name:ident: $english:literal, $chinese:literal;)*) => {
        /// The texts in one language.
        #[derive(Debug)]
        pub(crate) struct Texts {
            $(pub(crate) $name: &'static str,)*
        }

        pub(crate) static ENGLISH: Texts = Texts { $($name: $english,)* };
        pub(crate) static CHINESE: Texts = Texts { $($name: $chinese,)* };

        /// Each text in both languages.
        #[cfg(test)]
        const ALL: &[[&str; 2]] = &[$([$english, $chinese],)*];
    };
}

texts! {
    language: "en", "zh-CN";
    other_language: "zh", "en";
    other_language_name: "简体中文", "English";

    overview: "Overview", "概览";
    queues: "Queues", "队列";
    tasks: "Tasks", "任务";
    failures: "Failures", "失败";
    batches: "Batches", "批次";
    schedules: "Schedules", "定时";
    workers: "Workers", "工作进程";
    functions: "Functions", "函数";
    server: "Server", "服务器";
    navigation: "Sections", "栏目";
    skip: "Skip to the content", "跳到内容";
    live: "Live", "实时";
    live_about: "This page keeps itself up to date", "本页自动更新";
    search: "Search", "搜索";
    search_hint: "Number, text", "任务编号或文本";
    theme: "Light or dark", "浅色或深色";
    keys: "Keys", "快捷键";
    key_search: "Search", "搜索";
    key_rows: "Next or previous row", "下一行或上一行";
    key_open: "Open the row", "打开该行";
    key_list: "This list", "本列表";
    key_close: "Close", "关闭";
    close: "Close", "关闭";
    copy: "Copy", "复制";
    copied: "Copied", "已复制";

    sign_in: "Sign in", "登录";
    sign_out: "Sign out", "退出登录";
    sign_in_about: "This server requires a token.", "此服务器需要令牌。";
    sign_in_advice: "A token of the file tokens_file in config/server.toml. Its scopes say what you can do: inspect sees, send sends tasks, admin does everything.", "config/server.toml 中 tokens_file 文件里的令牌。其权限决定可以做什么：inspect 查看，send 发送任务，admin 可做一切。";
    token: "Token", "令牌";
    no_token: "none", "无";

    error: "Error", "错误";
    error_forbidden: "Not allowed", "没有权限";
    error_unknown: "Not found", "未找到";
    error_unavailable: "Not possible now", "暂时不可用";
    error_refused: "Refused", "被拒绝";
    did_you_mean: "Did you mean", "您是不是要找";
    back_to_overview: "Back to the overview", "返回概览";
    no_back: "No, back", "不，返回";

    waiting: "Waiting", "等待";
    running: "Running", "运行中";
    done: "Done", "完成";
    failed: "Failed", "失败";
    cancelled: "Cancelled", "已取消";
    expired: "Expired", "已过期";
    parked: "Nobody runs it", "无人执行";
    paused: "Paused", "已暂停";
    delayed: "Delayed", "延迟";
    batch_open: "Open", "开放";
    batch_abandoned: "Abandoned", "已放弃";
    batch_ended: "Ended", "已结束";
    draining: "Draining", "正在排空";

    attention: "What needs attention", "需要关注";
    all_well: "All is well: nothing needs attention.", "一切正常，无需关注。";
    stopping: "The server is stopping: running tasks may finish, and nothing more is accepted.", "服务器正在停止：运行中的任务可以完成，不再接受新任务。";
    storage_error: "Tasks are not accepted: {}", "不接受任务：{}";
    unserved: "Nobody runs the function {}, although tasks of it wait.", "没有工作进程执行函数 {}，但有任务在等待。";
    program_error: "The program {} cannot be started: {}", "程序 {} 无法启动：{}";
    all_busy: "All workers are busy, and {} {task waits|tasks wait}.", "所有工作进程都忙，{} 个任务在等待。";
    refused_connections: "{} {connection was|connections were} refused because a limit was reached.", "因达到上限，拒绝了 {} 个连接。";
    queue_paused: "The queue {} is paused; {} {task waits|tasks wait} in it.", "队列 {} 已暂停，其中有 {} 个任务等待。";
    queue_late: "The oldest task of the queue {} has waited for {}.", "队列 {} 中最早的任务已等待 {}。";
    schedule_error: "The schedule {} has no task for its last time: {}", "定时 {} 上次没有生成任务：{}";

    oldest: "Oldest", "最久等待";
    oldest_about: "has waited so long", "已等待";
    accepted_rate: "Accepted", "接受";
    finished_rate: "Finished", "结束";
    last_10_s: "last 10 s", "最近 10 秒";
    busy_workers: "Busy workers", "忙碌";
    ledger: "Ledger", "账目";
    accepted_count: "{} accepted", "共接受 {}";
    last_failed: "Last failed", "最近失败";
    history: "History", "历史";
    hours_1: "1 hour", "1 小时";
    hours_24: "24 hours", "24 小时";
    hours_168: "7 days", "7 天";
    hours_2160: "90 days", "90 天";
    no_history: "Nothing yet; it is written every minute.", "暂无；每分钟写入一次。";
    chart_ended: "Ended", "结束";
    chart_times: "95% within", "95% 耗时";
    chart_waiting: "Waiting", "等待";
    chart_most: "up to {}", "最多 {}";
    times: "Times", "耗时";
    last_minutes: "last 1 to 2 min", "最近 1–2 分钟";
    wait_time: "Waiting", "等待";
    run_time: "Running", "运行";
    worker_group: "Queue", "队列";
    all_queues: "all other queues", "其他所有队列";
    busy: "Busy", "忙碌";
    total: "Total", "总数";
    changes: "Changes under way", "正在进行的更改";
    change_cancel: "Cancelling", "正在取消";
    change_retry: "Retrying", "正在重试";
    change_forget: "Removing", "正在删除";
    change_flush: "Emptying", "正在清空";
    change_release: "Releasing", "正在放行";
    change_expire: "Expiring", "正在过期";

    queue: "Queue", "队列";
    weight: "Weight", "权重";
    rate: "Rate limit", "速率上限";
    no_queues: "No queue has had a task yet.", "还没有队列收到过任务。";
    no_queues_advice: "A queue appears with its first task.", "队列随第一个任务出现。";

    task: "Task", "任务";
    state_head: "State", "状态";
    function: "Function", "函数";
    attempts: "Attempts", "尝试次数";
    accepted_at: "Accepted", "接受时间";
    ended_at: "Ended", "结束时间";
    due: "Due", "到期";
    batch: "Batch", "批次";
    any: "any", "不限";
    filter: "Filter", "筛选";
    clear: "Clear", "清除";
    newest: "Newest", "最新";
    older: "Older", "更早";
    next: "Next", "下一页";
    task_range: "Tasks {} to {}", "任务 {} 至 {}";
    no_tasks: "There are no tasks.", "还没有任务。";
    no_tasks_advice: "Send one: ./think task:send echo hello", "发送一个：./think task:send echo hello";
    text: "Text", "文本";
    tags: "Tags", "标签";
    since: "Since", "时间范围";
    search_on: "Search on", "继续搜索";
    none_so_far: "Nothing found so far.", "目前没有找到。";
    none_so_far_advice: "There are many tasks: the search goes on from here.", "任务很多：可从此处继续搜索。";
    no_such_tasks: "No task fits.", "没有符合条件的任务。";
    no_such_tasks_advice: "Ended tasks are kept for a while (retention_time); clear the filter to see all.", "已结束的任务只保留一段时间（retention_time）；清除筛选可查看全部。";

    priority: "Priority", "优先级";
    expires: "Expires", "过期时间";
    timeout: "Timeout", "超时";
    backoff: "Backoff", "退避";
    key: "Key", "幂等键";
    concurrency_key: "Concurrency key", "并发键";
    crashes: "Crashes", "崩溃次数";
    then: "Then", "随后";
    progress: "Progress", "进度";
    timeline: "Attempts", "尝试";
    timeline_about: "From the acceptance to the last end: {}", "从接受到最后结束：{}";
    no_attempts: "No attempt is over yet.", "还没有结束的尝试。";
    process: "Process", "进程";
    arguments: "Arguments", "参数";
    result: "Result", "结果";
    log: "Log", "日志";
    send_again: "Send the same task", "发送相同任务";
    too_long_to_copy: "The arguments are too long for a command.", "参数太长，无法放入命令。";
    as_text: "As text", "文本";
    as_json: "As JSON", "以 JSON 填写";
    json_cut: "Only the first {} values are shown, of {}.", "仅显示前 {} 个值，共 {}。";

    causes: "Causes", "原因";
    count: "Count", "数量";
    first_time: "First", "首次";
    last_time: "Last", "最近";
    of_all_failed: "of all {} failed {task that is|tasks that are} kept", "保留的全部 {} 个失败任务";
    of_last_failed: "of the last {} failed {task|tasks}", "最近 {} 个失败任务";
    other_causes: "{} more failed for other causes.", "还有 {} 个因其他原因失败。";
    all_causes: "All causes", "所有原因";
    cause: "Cause", "原因";
    pattern: "What the errors have in common", "错误的共同部分";
    by_day: "By day", "按天";
    all_failed: "All failed tasks", "全部失败任务";
    no_failures: "No failed task is kept.", "没有保留的失败任务。";
    no_failures_advice: "A task has failed once all its attempts have.", "任务的所有尝试都失败后才算失败。";

    name: "Name", "名称";
    opened_at: "Opened", "开启时间";
    to_come: "To come", "未完成";
    no_batches: "There are no batches.", "还没有批次。";
    no_batches_advice: "Send a file as one: ./think task:batch echo FILE", "把文件作为批次发送：./think task:batch echo FILE";

    cron: "Times", "时间";
    next_run: "Next run", "下次运行";
    last_run: "Last run", "上次运行";
    not_in_server: "not in this server", "不在此服务器中";
    no_schedules: "Nothing runs by the clock.", "没有定时任务。";
    no_schedules_advice: "Schedules stand in config/schedule.toml, or in #[task(cron = \"..\")].", "定时写在 config/schedule.toml 或 #[task(cron = \"..\")] 中。";

    worker: "Worker", "工作进程";
    language_head: "Language", "语言";
    credit: "Credit", "额度";
    connected_for: "Connected", "已连接";
    silent_for: "Silent", "静默";
    own_workers: "Workers of this server", "本服务器的工作线程";
    no_own_workers: "This server runs no tasks itself (task_worker_num = 0).", "本服务器不执行任务（task_worker_num = 0）。";
    programs: "Programs", "程序";
    command: "Command", "命令";
    processes: "Processes", "进程数";
    restarts: "Restarts", "重启次数";
    last_exit: "Last end", "上次退出";
    remote_workers: "Connected workers", "已连接的工作进程";
    no_workers: "No worker is connected.", "没有已连接的工作进程。";
    connections: "Connections", "连接";
    peer: "Client", "客户端";
    protocol: "Protocol", "协议";
    received: "Received", "已收";
    sent: "Sent", "已发";
    queued: "Unread", "未读";
    in_flight: "Awaited", "等待中";
    idle_for: "Idle", "空闲";

    description: "Description", "说明";
    runs_in: "Runs in", "运行于";
    this_server: "this server", "本服务器";
    child_process: "child processes", "子进程";
    nobody: "nobody", "无";
    workers_unit: "workers", "个工作进程";
    code: "Code", "代码";
    list: "List", "列表";
    schema: "Schema", "模式";
    send_task: "Send a task", "发送任务";
    send: "Send", "发送";
    options: "Options", "选项";
    required: "required", "必填";
    no_arguments: "It takes no arguments.", "不需要参数。";
    no_functions: "There are no functions.", "还没有函数。";
    no_functions_advice: "Write one with ./think make:task, or connect a worker.", "用 ./think make:task 编写，或连接工作进程。";

    version: "Version", "版本";
    uptime: "Uptime", "运行时间";
    storage: "Storage", "存储";
    threads: "Threads", "线程";
    for_tasks: "for tasks", "执行任务";
    connections_total: "Accepted connections", "已接受连接";
    connections_refused: "Refused connections", "已拒绝连接";
    open_files: "Open files", "打开的文件";
    listeners: "Listeners", "监听";
    address: "Address", "地址";
    tls_only: "only", "仅 TLS";
    limits: "Limits that were reached", "达到的上限";
    limits_about: "since the start", "自启动以来";
    limits_never: "Limits that were never reached", "从未达到的上限";
    no_limits: "None.", "无。";
    for_programs: "For programs", "供程序使用";

    cancel_task: "Cancel", "取消";
    cancel_task_about: "It ends as cancelled. If it runs, it is asked to stop.", "任务以“已取消”结束；若正在运行，则要求其停止。";
    retry_task: "Retry", "重试";
    retry_task_about: "It waits again, with all its attempts before it.", "任务重新等待，尝试次数重新计算。";
    forget_task: "Remove", "删除";
    forget_task_about: "All that is kept of it is removed. It cannot be undone.", "删除该任务的所有记录，无法撤销。";
    cancel_batch: "Cancel the batch", "取消批次";
    cancel_batch_about: "Those that wait end as cancelled; those that run are asked to stop.", "等待中的任务以“已取消”结束；运行中的任务被要求停止。";
    retry_batch: "Retry the batch", "重试批次";
    retry_batch_about: "The tasks of the batch that have not succeeded wait again.", "批次中未成功的任务重新等待。";
    pause_queue: "Pause", "暂停";
    pause_queue_about: "None of its tasks starts until it is resumed; those that run go on.", "恢复之前不启动其中的任务；运行中的任务继续。";
    resume_queue: "Resume", "恢复";
    resume_queue_about: "Its tasks start again.", "其中的任务重新开始启动。";
    flush_queue: "Empty", "清空";
    flush_queue_about: "They end as cancelled and never run. It cannot be undone.", "它们以“已取消”结束，不再运行，无法撤销。";
    retry_failed: "Retry all", "全部重试";
    retry_failed_about: "They wait again, each with all its attempts before it.", "它们重新等待，尝试次数重新计算。";
    forget_failed: "Remove all", "全部删除";
    forget_failed_about: "All that is kept of them is removed. It cannot be undone.", "删除它们的所有记录，无法撤销。";
    run_schedule: "Run now", "立即运行";
    run_schedule_about: "One task of it is made now; its times stay as they are.", "现在生成一个任务；定时不变。";
    pause_schedule: "Pause", "暂停";
    pause_schedule_about: "Its times are skipped until it is resumed.", "恢复之前跳过其时间。";
    resume_schedule: "Resume", "恢复";
    resume_schedule_about: "It makes tasks at its times again.", "重新按时间生成任务。";
    drain_worker: "Drain", "排空";
    drain_worker_about: "It finishes what it runs and gets no further tasks.", "它完成正在执行的任务，不再获得新任务。";
    stop_change: "End", "结束";
    stop_change_about: "What is changed by now stays so; the rest is left as it is.", "已更改的保持不变，其余不再更改。";

    waiting_in: "{} {task that waits|tasks that wait} in the queue {}", "等待中的 {} 个任务，队列 {}";
    failed_in: "{} failed {task|tasks} of the queue {}", "{} 个失败任务，队列 {}";
    failed_of_cause: "{} failed {task|tasks} of the cause {}", "{} 个失败任务，原因 {}";
    first_task: "Oldest", "最早";
    last_task: "Newest", "最新";
    failed_in_all: "{} failed {task|tasks} of all queues", "所有队列的 {} 个失败任务";
    tasks_of_batch: "{} {task|tasks} of batch {}", "{} 个任务，批次 {}";
    one_task: "Task {}: {}, {}", "任务 {}：{}，{}";
    one_worker: "The worker {}", "工作进程 {}";
    one_change: "Change {}", "更改 {}";

    did_cancel_task: "The task is cancelled, or was asked to stop.", "任务已取消，或已要求停止。";
    did_retry_task: "The task waits again.", "任务重新等待。";
    did_forget_task: "The task was removed.", "任务已删除。";
    did_cancel_tasks: "{} {task was|tasks were} cancelled.", "已取消 {} 个任务。";
    did_retry_tasks: "{} {task waits|tasks wait} again.", "{} 个任务重新等待。";
    did_forget_tasks: "{} {task was|tasks were} removed.", "已删除 {} 个任务。";
    did_pause_queue: "The queue is paused.", "队列已暂停。";
    did_resume_queue: "The queue is resumed.", "队列已恢复。";
    did_run_schedule: "The schedule has made this task.", "定时生成了此任务。";
    did_pause_schedule: "The schedule is paused.", "定时已暂停。";
    did_resume_schedule: "The schedule is resumed.", "定时已恢复。";
    did_drain_worker: "The worker gets no further tasks.", "工作进程不再获得新任务。";
    did_stop_change: "The change was ended.", "更改已结束。";
    did_send: "The task was accepted.", "任务已被接受。";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn text_has_the_same_values_in_both_languages() {
        for [english, chinese] in ALL {
            let values = |text: &str| text.matches("{}").count();
            assert!(!english.is_empty() && !chinese.is_empty());
            assert_eq!(values(english), values(chinese), "{english}");
        }
    }
}
