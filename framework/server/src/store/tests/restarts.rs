//! What a durable store knows after a restart.

use framework_protocol::ErrorCode;
use framework_protocol::task::Due;
use framework_protocol::views::AdminResult;

use super::*;

async fn push(store: &dyn Store) -> TaskId {
    store.push(vec![unknown()]).await[0].clone().unwrap().id
}

#[tokio::test]
async fn queue_that_is_paused_stays_so_across_a_restart() {
    for place in places("paused") {
        let pause = |paused| AdminCommand::Pause { queue: "default".into(), paused };
        let store = place.open();
        store.apply(pause(true)).await.unwrap();
        drop(store);
        let store = place.open();
        push(&*store).await;
        assert!(store.take(0, 1).await.is_empty());
        store.apply(pause(false)).await.unwrap();
        assert_eq!(store.take(0, 1).await.len(), 1);
    }
}

#[tokio::test]
async fn id_of_a_task_of_which_nothing_is_kept_is_not_given_again_after_a_restart() {
    for place in places("ids") {
        let store = place.open();
        let first = push(&*store).await;
        store.apply(AdminCommand::Flush { queue: None }).await.unwrap();
        drop(store);
        if let Place::File(folder) = &place {
            // It has the next id as well.
            std::fs::remove_file(folder.0.join("queue.db.running")).unwrap();
        }
        assert_eq!(push(&*place.open()).await, first + 1);
    }
}

#[tokio::test]
async fn tasks_that_ran_in_a_crash_run_a_few_at_once_also_after_another_restart() {
    for place in places("crashed") {
        let store = place.open();
        for _ in 0..20 {
            push(&*store).await;
        }
        let leases = store.take(0, 20).await;
        leases.iter().for_each(Lease::begin);
        drop((leases, store));
        for restart in 1..=2 {
            let store = place.open();
            assert_eq!(store.take(0, 20).await.len(), 16, "after {restart}");
        }
    }
}

#[tokio::test]
async fn task_that_was_cancelled_while_it_ran_is_cancelled_after_a_crash() {
    for place in places("cancelled") {
        let store = place.open();
        let id = push(&*store).await;
        let lease = store.take(0, 1).await.pop().expect("it is due");
        lease.begin();
        store.apply(AdminCommand::Cancel(TaskSelector::Task(id))).await.unwrap();
        drop((lease, store));
        let store = place.open();
        assert!(store.take(0, 1).await.is_empty());
        assert_eq!(details(&*store, id).await.summary.state, State::Cancelled);
    }
}

#[tokio::test]
async fn pause_of_a_task_goes_on_while_no_process_runs() {
    for place in places("delayed") {
        let clock = Clock::fake(1_000_000);
        let open = || place.open_with(StoreOptions::default(), clock.clone());
        let store = open();
        store.push(vec![NewTask { due: Due::After(Duration::from_secs(60)), ..unknown() }]).await;
        drop(store);
        clock.advance(Duration::from_secs(40));
        let store = open();
        clock.advance(Duration::from_secs(19));
        assert!(store.take(0, 1).await.is_empty(), "a second is left");
        clock.advance(Duration::from_secs(1));
        assert_eq!(store.take(0, 1).await.len(), 1);
    }
}

#[tokio::test]
async fn batch_that_is_sealed_goes_on_after_a_restart_and_an_open_one_waits() {
    for place in places("batches") {
        let store = place.open();
        let mut batches = Vec::new();
        for name in ["sealed", "open"] {
            let open = AdminCommand::OpenBatch { name: name.into(), function: "any".into(), then: None };
            let AdminResult::Batch(batch) = store.apply(open).await.unwrap() else { panic!("it has an id") };
            let mut task = unknown();
            task.extra_mut().batch = Some(batch);
            store.push(vec![task]).await[0].clone().unwrap();
            batches.push(batch);
        }
        store.apply(AdminCommand::SealBatch(batches[0])).await.unwrap();
        drop(store);
        let store = place.open();
        let taken = store.take(0, 2).await;
        assert_eq!(taken.iter().map(|lease| lease.task.new.batch()).collect::<Vec<_>>(), [Some(batches[0])]);
    }
}

#[tokio::test]
async fn push_is_refused_while_the_file_is_not_in_its_place() {
    let folder = Folder::new("moved");
    let store = folder.open();
    push(&store).await;
    let (file, other) = (folder.0.join("queue.db"), folder.0.join("other.db"));
    std::fs::rename(&file, &other).unwrap();
    let refused = store.push(vec![unknown()]).await[0].clone().unwrap_err();
    assert_eq!(refused.code, ErrorCode::StorageFailed, "{refused}");
    std::fs::rename(&other, &file).unwrap();
    store.flush().await;
    push(&store).await;
}
