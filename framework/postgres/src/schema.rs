//! The tables, their version, and how they come into being.
//!
//! People may look at them with `psql`. A task is a row of `tasks` for as long as it is kept; it has ended
//! when there is a row of `ends` for it, and waits otherwise. Times are milliseconds since 1970 in UTC
//! (`_ms`), durations of attempts microseconds (`_us`), arguments and results JSON.

use anyhow::{Context, Result, bail};
use tokio_postgres::Client;

/// What the program writes; a schema of a higher version is refused.
pub(crate) const VERSION: i32 = 1;

/// The lock under which one process at a time makes or migrates a schema: "thnk", and the schema's name.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1952542315, hashtext($1))";

/// The statements that lead from each version to the next one, beginning with none.
const MIGRATIONS: [&str; VERSION as usize] = ["
    CREATE TABLE meta (
        one int PRIMARY KEY CHECK (one = 1),
        version int NOT NULL
    );
    INSERT INTO meta VALUES (1, 0);
    -- one row: the process that writes here alone, and until when it is known to live. The epoch is the
    -- fence: each transaction checks it, and who takes over raises it.
    CREATE TABLE owner (
        one int PRIMARY KEY CHECK (one = 1),
        epoch bigint NOT NULL,
        server text,
        until timestamptz NOT NULL
    ) WITH (fillfactor = 50);
    INSERT INTO owner VALUES (1, 0, NULL, now());
    -- the last transactions of the owner, by which it finds out what became of one whose answer was lost
    CREATE TABLE commits (epoch bigint NOT NULL, number bigint NOT NULL, PRIMARY KEY (epoch, number));
    CREATE TABLE tasks (
        id bigint PRIMARY KEY,
        function text NOT NULL,
        queue text NOT NULL,
        priority smallint NOT NULL,
        accepted_ms bigint NOT NULL,
        due_ms bigint,
        batch bigint,
        -- JSON: the options that differ from the defaults of all functions, and those that only few tasks have
        options text,
        args text NOT NULL
    );
    CREATE INDEX tasks_of_batch ON tasks (batch, id) WHERE batch IS NOT NULL;
    CREATE TABLE ends (
        task bigint PRIMARY KEY,
        -- done, failed, cancelled or expired
        state text NOT NULL,
        ended_ms bigint NOT NULL,
        -- the last attempt, if the task ended with one
        attempt int,
        started_ms bigint,
        ran_us bigint,
        pid int,
        -- NULL for a done task: the result is null
        result text,
        error text,
        -- the worker elsewhere that ran the last attempt, under the name that it gave itself
        worker text
    );
    CREATE INDEX ends_that_failed ON ends (task) WHERE state = 'failed';
    -- attempts that were followed by another one
    CREATE TABLE attempts (
        task bigint NOT NULL,
        number int NOT NULL,
        started_ms bigint NOT NULL,
        ran_us bigint,
        pid int NOT NULL,
        error text,
        worker text,
        PRIMARY KEY (task, number)
    );
    -- tasks that have attempts behind them and wait for another one
    CREATE TABLE retries (
        task bigint PRIMARY KEY,
        attempts int NOT NULL,
        failures int NOT NULL,
        crashes int NOT NULL,
        due_ms bigint,
        pause_ms bigint NOT NULL
    );
    -- tasks that were cancelled while they ran
    CREATE TABLE cancels (task bigint PRIMARY KEY);
    -- progress and log, as JSON
    CREATE TABLE notes (task bigint PRIMARY KEY, notes text NOT NULL);
    -- idempotency keys in UTF-8
    CREATE TABLE keys (
        function text NOT NULL,
        key bytea NOT NULL,
        task bigint NOT NULL,
        until_ms bigint NOT NULL,
        PRIMARY KEY (function, key)
    );
    CREATE INDEX keys_of_task ON keys (task);
    -- the tags of the tasks that have some, for searches; they are also among the options of these tasks
    CREATE TABLE tags (
        name text NOT NULL,
        value text NOT NULL,
        task bigint NOT NULL,
        PRIMARY KEY (name, value, task)
    );
    CREATE INDEX tags_of_task ON tags (task);
    CREATE TABLE batches (
        id bigint PRIMARY KEY,
        name text NOT NULL,
        function text NOT NULL,
        -- open, abandoned, running or ended
        state text NOT NULL,
        total bigint NOT NULL,
        done bigint NOT NULL,
        failed bigint NOT NULL,
        cancelled bigint NOT NULL,
        expired bigint NOT NULL,
        opened_ms bigint NOT NULL,
        ended_ms bigint,
        then_function text,
        then_task bigint
    ) WITH (fillfactor = 50);
    CREATE TABLE queues (name text PRIMARY KEY, paused boolean NOT NULL);
    -- the last time that was dealt with, the last that has run, and its task
    CREATE TABLE schedules (
        name text PRIMARY KEY, seen_ms bigint, fired_ms bigint, task bigint, paused boolean NOT NULL
    );
    -- the functions that workers have registered
    CREATE TABLE functions (
        name text PRIMARY KEY,
        -- JSON: the defaults of its tasks, and the schema of their arguments
        registration text NOT NULL,
        -- when a worker was last there that runs it
        seen_ms bigint NOT NULL
    );
    CREATE TABLE history (
        -- the length of the step in milliseconds, and its number since 1970
        step_ms bigint NOT NULL,
        step bigint NOT NULL,
        function text NOT NULL,
        queue text NOT NULL,
        -- JSON
        figures text NOT NULL,
        PRIMARY KEY (step_ms, step, function, queue)
    );
    -- changes of many tasks that are under way: the next process goes on with those that it finds
    CREATE TABLE changes (
        id bigint PRIMARY KEY,
        -- cancel, retry, forget or flush
        kind text NOT NULL,
        -- of this batch, or this queue, or all
        batch bigint,
        queue text,
        -- the tasks between these two ids are to be changed
        after bigint NOT NULL,
        before bigint NOT NULL,
        -- only the failed tasks of this function, and of this cause
        function text,
        cause text
    );
    -- the sums of its rows: how many tasks have ended of which nothing else is kept; and the highest next id
    CREATE TABLE ledger (
        next_id bigint NOT NULL,
        done bigint NOT NULL,
        failed bigint NOT NULL,
        cancelled bigint NOT NULL,
        expired bigint NOT NULL
    );
"];

/// Brings a schema to this version, and makes it if it is not there; one process at a time. Returns the
/// version that it had; 0 for none.
///
/// # Errors
/// When it is of a newer version, or the role may not make it.
pub(crate) async fn migrate(client: &mut Client, schema: &str) -> Result<i32> {
    let transaction = client.transaction().await?;
    transaction.query(LOCK, &[&schema]).await?;
    let exists = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)";
    if !transaction.query_one(exists, &[&schema]).await?.get::<_, bool>(0) {
        let create = format!("CREATE SCHEMA {}", quoted(schema));
        transaction.batch_execute(&create).await.with_context(|| {
            format!(
                "making the schema {schema}: the role needs CREATE on the database, or a schema of its own"
            )
        })?;
    }
    transaction.batch_execute(&format!("SET LOCAL search_path = {}", quoted(schema))).await?;
    let has_meta = "SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'meta')";
    let found = if transaction.query_one(has_meta, &[&schema]).await?.get(0) {
        transaction.query_one("SELECT version FROM meta", &[]).await?.get::<_, i32>(0)
    } else {
        let has_tables = "SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = $1)";
        if transaction.query_one(has_tables, &[&schema]).await?.get(0) {
            bail!("the schema {schema} has tables of another program: choose another one (store_schema)");
        }
        0
    };
    if found > VERSION {
        bail!(
            "the schema {schema} was written by a newer version of the program (schema {found}, this one knows \
             {VERSION}): use that version, or another schema (store_schema)"
        );
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.batch_execute(migration).await?;
    }
    transaction.execute("UPDATE meta SET version = $1", &[&VERSION]).await?;
    transaction
        .commit()
        .await
        .with_context(|| format!("bringing the schema {schema} to version {VERSION}"))?;
    Ok(found)
}

/// A name as an identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
