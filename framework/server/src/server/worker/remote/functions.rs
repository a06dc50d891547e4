//! The functions that workers register: checked, kept across restarts, and forgotten after a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::{
    Function, FunctionWorkers, Handler, HandlerInfo, Handlers, RegisteredFunction, Registration, now_ms,
};
use framework_protocol::views::{FunctionRecord, UnservedFunction};
use framework_protocol::{ErrorCode, RequestError, ShownName};
use rustc_hash::FxHashMap;
use serde_json::Value;

use super::session::{JoinRequest, WorkerSession};
use super::{RemoteLimits, RemoteState, RemoteWorkers};
use crate::arguments::argument_check;
use crate::server::metrics::Limit;
use crate::store::{AdminCommand, Query, QueryResult, Store};

/// The time after which it is kept anew that a function was seen, in milliseconds.
const SEEN_INTERVAL_MS: u64 = 10 * 60 * 1_000;

/// The functions that workers have registered with an earlier process, and when each was last run by one, in
/// milliseconds since 1970.
#[derive(Default)]
pub(crate) struct KeptFunctions(BTreeMap<Arc<str>, u64>);

impl KeptFunctions {
    /// Reads them from the store, and makes them known.
    pub(crate) async fn read(store: &dyn Store, handlers: &Handlers) -> Self {
        match store.query(Query::Functions).await {
            Ok(QueryResult::Functions(kept)) => Self::register(kept, handlers),
            Ok(_) => Self::default(),
            Err(error) => {
                tracing::warn!("the functions of workers cannot be read: {error}");
                Self::default()
            }
        }
    }

    /// Makes functions known. Damaged ones are left out, with a warning each; a worker that registers such a
    /// function replaces what is kept of it.
    pub(crate) fn register(kept: Vec<FunctionRecord>, handlers: &Handlers) -> Self {
        let mut seen = BTreeMap::new();
        for FunctionRecord { name, registration, seen_ms } in kept {
            match Registration::of_record(&name, &registration).and_then(function_of) {
                Ok(function) if handlers.get(&name).is_none() => {
                    seen.insert(function.name().clone(), seen_ms);
                    handlers.register(function);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(
                    function = name,
                    "what is kept of a function of workers is damaged and set aside: {error}"
                ),
            }
        }
        Self(seen)
    }
}

impl KeptFunctions {
    /// Makes the functions of other systems' protocols known, which workers cannot register.
    ///
    /// # Errors
    /// One is not valid.
    pub(crate) fn register_foreign(
        functions: Vec<Registration>,
        handlers: &Handlers,
    ) -> Result<(), RequestError> {
        for function in functions {
            handlers.register(function_of(function)?);
        }
        Ok(())
    }
}

impl RemoteWorkers {
    /// Goes on with the functions that workers have registered with an earlier process.
    pub(crate) async fn restore(&self, kept: KeptFunctions) {
        self.state().seen.extend(kept.0);
        self.keep_seen().await;
    }

    /// Registers the functions of a worker that joins, and returns their names.
    pub(super) async fn register(&self, request: &JoinRequest) -> Result<Arc<[Arc<str>]>, RequestError> {
        let mut checked = Vec::new();
        let mut names = Vec::new();
        for registration in &request.functions {
            self.check_bounds(request, registration)?;
            if request.poll.is_some() && registration.is_bare() {
                match self.resources.handlers.function(&registration.name) {
                    // It has only said the name of what is known.
                    Ok(_) => {
                        names.push(registration.name.as_str().into());
                        continue;
                    }
                    // A typing error would be known as a function for long.
                    Err(unknown) if unknown.suggestion.is_some() => return Err(unknown),
                    Err(_) => {}
                }
            }
            match self.check(registration)? {
                Some(function) => checked.push(function),
                None => names.push(registration.name.as_str().into()),
            }
        }
        self.check_room(&checked)?;
        for function in checked {
            let name = function.name().clone();
            self.keep(&function).await?;
            self.state().seen.insert(name.clone(), now_ms());
            self.resources.handlers.register(function);
            names.push(name);
        }
        names.sort();
        names.dedup();
        Ok(names.into())
    }

    /// Checks that the token of a worker lets it run a function, in the queue where its tasks wait. Nor may
    /// it move them from a queue that is not one of its own.
    fn check_bounds(&self, request: &JoinRequest, registration: &Registration) -> Result<(), RequestError> {
        let (bounds, name) = (&request.bounds, &registration.name);
        let forbidden = |message: String| Err(RequestError::new(ErrorCode::Forbidden, message));
        if !bounds.has_function(name) {
            return forbidden(format!("The token may not run the function {}.", ShownName(name)));
        }
        let known = self.resources.handlers.function(name);
        let known_queue = match &known {
            Ok(Function::Compiled(compiled)) => Some(compiled.handler.options.queue),
            // It stays as it is known.
            Ok(Function::Registered(known)) if request.poll.is_some() && registration.is_bare() => {
                Some(&**known.queue())
            }
            _ => None,
        };
        let queue = known_queue.or(registration.queue.as_deref()).unwrap_or(name);
        if !bounds.has_queue(queue) {
            return forbidden(format!("The token may not run tasks in the queue {}.", ShownName(queue)));
        }
        match &known {
            Ok(Function::Registered(known)) if !bounds.has_queue(known.queue()) => forbidden(format!(
                "The token may not run the function {}, whose tasks wait in another queue.",
                ShownName(name)
            )),
            _ => Ok(()),
        }
    }

    /// Whether a function is that of another system's protocol.
    fn is_foreign(&self, name: &str) -> bool {
        let others = self.resources.others.iter().flat_map(|scope| scope.functions.iter());
        others.into_iter().any(|function| **function == *name)
    }

    /// The function to register; `None` for one of the server's own program, which is known already.
    fn check(&self, registration: &Registration) -> Result<Option<RegisteredFunction>, RequestError> {
        registration.validate()?;
        let (name, limits) = (&registration.name, &self.resources.limits);
        if let Some(handler) = self.resources.handlers.get(name) {
            return check_own(handler, registration).map(|()| None);
        }
        if self
            .resources
            .others
            .as_ref()
            .is_some_and(|scope| scope.functions.iter().any(|own| **own == **name))
        {
            let message = format!("{} is the function of a protocol of the server.", ShownName(name));
            return Err(RequestError::new(ErrorCode::Conflict, message));
        }
        let schema = registration.schema.as_ref().map(Value::to_string).unwrap_or_default();
        if schema.len() > limits.schema_bytes {
            self.resources.hits.hit(Limit::MaxFunctionSchema);
            let most = limits.schema_bytes;
            let message = format!("A function's \"schema\" has at most {most} bytes (max_function_schema).");
            return Err(RequestError::too_long(message));
        }
        let state = self.state();
        if let Ok(Function::Registered(known)) = self.resources.handlers.function(name) {
            let is_same = known.registration.schema == registration.schema;
            if !is_same && !registration.replaces && state.knows(name) {
                let message = format!(
                    "Other workers run {} with another \"schema\": let them go first, or say \"replaces\":true.",
                    ShownName(name)
                );
                return Err(RequestError::new(ErrorCode::SchemaConflict, message));
            }
        }
        drop(state);
        function_of(registration.clone()).map(Some)
    }

    /// Checks that a worker may join which the server has not started itself.
    pub(super) fn check_limits(&self, request: &JoinRequest) -> Result<(), RequestError> {
        let limits = &self.resources.limits;
        if request.functions.len() > limits.functions_per_worker {
            self.resources.hits.hit(Limit::MaxWorkerFunctions);
            let most = limits.functions_per_worker;
            let message = format!("A worker registers at most {most} functions (max_worker_functions).");
            return Err(RequestError::bad_request(message));
        }
        let state = self.state();
        let others = state.sessions().filter(|worker| worker.child.is_none());
        let resumes =
            |worker: &&WorkerSession| request.session.is_some() && worker.session == request.session;
        if others.filter(|worker| !resumes(worker)).count() >= limits.workers {
            self.resources.hits.hit(Limit::MaxWorkers);
            let message = format!("There are {} workers already (max_workers).", limits.workers);
            return Err(RequestError::new(ErrorCode::Busy, message));
        }
        Ok(())
    }

    /// Checks that these functions may be registered beside those that are.
    fn check_room(&self, functions: &[RegisteredFunction]) -> Result<(), RequestError> {
        let most = self.resources.limits.functions;
        let mut names: BTreeSet<_> = functions.iter().map(|function| function.name().clone()).collect();
        names.extend(self.state().seen.keys().cloned());
        if names.len() <= most {
            return Ok(());
        }
        self.resources.hits.hit(Limit::MaxRegisteredFunctions);
        let message =
            format!("Workers may register {most} functions all together (max_registered_functions).");
        Err(RequestError::new(ErrorCode::Busy, message))
    }

    async fn keep(&self, function: &RegisteredFunction) -> Result<(), RequestError> {
        let registration = serde_json::to_string(&function.registration);
        let registration = registration.map_err(|error| RequestError::bad_request(error.to_string()))?;
        let name = function.name().as_ref().to_owned();
        let record = FunctionRecord { name, registration, seen_ms: now_ms() };
        self.resources.store.apply(AdminCommand::KeepFunction(record)).await.map(drop)
    }

    /// Keeps that functions were seen, now and then, and forgets those that were not for too long.
    pub(super) async fn keep_seen(&self) {
        let now_ms = now_ms();
        let retention_ms = Duration::as_millis(&self.resources.limits.retention) as u64;
        let mut served = Vec::new();
        let mut forgotten = Vec::new();
        {
            let state = &mut *self.state();
            let old = state.seen.iter().filter(|(_, seen_ms)| now_ms >= **seen_ms + SEEN_INTERVAL_MS);
            for (name, seen_ms) in old {
                if state.serves(name) {
                    served.push(name.clone());
                } else if now_ms.saturating_sub(*seen_ms) >= retention_ms {
                    forgotten.push(name.clone());
                }
            }
            state.seen.extend(served.iter().map(|name| (name.clone(), now_ms)));
            state.seen.retain(|name, _| !forgotten.contains(name));
        }
        for name in served {
            if let Ok(Function::Registered(function)) = self.resources.handlers.function(&name) {
                let kept = self.keep(&function).await;
                kept.unwrap_or_else(|error| tracing::warn!(function = &*name, "it cannot be kept: {error}"));
            }
        }
        for name in forgotten {
            tracing::info!(function = &*name, "no worker has run it for long; it is forgotten");
            self.resources.handlers.unregister(&name);
            let name = name.as_ref().to_owned();
            let _ = self.resources.store.apply(AdminCommand::ForgetFunction { name }).await;
        }
    }

    /// Adds to the functions that workers run, and not this process, who does so at the moment.
    pub(crate) fn describe_workers(&self, infos: &mut [HandlerInfo]) {
        let state = self.state();
        let mut running = state.running();
        let RemoteLimits { local, isolated, .. } = &self.resources.limits;
        for info in infos.iter_mut().filter(|info| info.registered || !local.contains(&info.name)) {
            info.isolated = isolated.contains(&info.name.as_str());
            if self.is_foreign(&info.name) {
                let names = vec![format!("clients of {}", info.name)];
                info.workers = Some(FunctionWorkers { count: 1, names, ..FunctionWorkers::default() });
                continue;
            }
            let mut workers = running.remove(info.name.as_str()).unwrap_or_default();
            if workers.count == 0 {
                let seen = state.seen.get(info.name.as_str()).or(state.gone.get(info.name.as_str()));
                workers.unserved_since_ms = seen.copied();
            }
            info.workers = Some(workers);
        }
    }

    /// The functions that no worker runs at the moment, apart from those that run in this process.
    pub(crate) fn unserved(&self) -> Vec<UnservedFunction> {
        let state = self.state();
        let handlers = &self.resources.handlers;
        let describe = |function: &Arc<str>, queue: &str, since_ms| UnservedFunction {
            function: function.as_ref().to_owned(),
            queue: queue.to_owned(),
            since_ms,
        };
        let registered = state.seen.iter().filter_map(|(name, since_ms)| match handlers.function(name) {
            Ok(Function::Registered(function)) => Some(describe(name, function.queue(), *since_ms)),
            _ => None,
        });
        let own = handlers.iter().filter(|handler| !self.resources.limits.local.contains(handler.name)).map(
            |handler| {
                let since_ms = state.gone.get(handler.name).copied().unwrap_or(self.started_ms);
                describe(&handler.name.into(), handler.options.queue, since_ms)
            },
        );
        let is_served = |of: &UnservedFunction| state.serves_in(&of.function, &of.queue);
        registered.chain(own).filter(|function| !is_served(function)).collect()
    }
}

impl RemoteState {
    /// The workers of each function that some run at the moment.
    fn running(&self) -> FxHashMap<&str, FunctionWorkers> {
        let mut workers: Vec<_> = self.sessions().collect();
        workers.sort_by(|a, b| a.name.cmp(&b.name));
        let mut running: FxHashMap<&str, FunctionWorkers> = FxHashMap::default();
        for worker in workers.into_iter().filter(|worker| !worker.is_silent) {
            for function in worker.functions().iter() {
                let of_function = running.entry(function).or_default();
                of_function.count += 1;
                if of_function.names.len() < FunctionWorkers::NAMES_MAX {
                    of_function.names.push(worker.name.as_ref().to_owned());
                }
            }
        }
        running
    }

    /// Whether a worker runs the tasks of a function in this queue at the moment.
    fn serves_in(&self, function: &str, queue: &str) -> bool {
        self.sessions().any(|worker| !worker.is_silent && worker.scope.covers(function, queue))
    }

    /// Whether a worker runs a function at the moment.
    fn serves(&self, name: &str) -> bool {
        self.sessions().any(|worker| !worker.is_silent && worker.knows(name))
    }

    /// Whether a worker is connected that runs a function, or did so before it was silent.
    fn knows(&self, name: &str) -> bool {
        self.workers.values().any(|worker| worker.knows(name))
    }
}

/// Checks that a worker's function of a name is that of the server's own program, by its arguments.
fn check_own(handler: &Handler, registration: &Registration) -> Result<(), RequestError> {
    if registration.schema == Some(Value::from(handler.schema())) {
        return Ok(());
    }
    let message = format!(
        "The server has a function {} of its own, at {}:{}, with another \"schema\": run the same version there and \
         here, or choose another name.",
        ShownName(handler.name),
        handler.file,
        handler.line
    );
    Err(RequestError::new(ErrorCode::SchemaConflict, message))
}

fn function_of(registration: Registration) -> Result<RegisteredFunction, RequestError> {
    let check = argument_check(&registration)?;
    Ok(RegisteredFunction::new(registration, check))
}
