//! The registry of all functions: those of this program, and those that workers outside of it register.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use anyhow::{Result, bail};
use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::handler::Handler;
use super::new_task::NewTask;
use super::registered::RegisteredFunction;
use super::schema::HandlerInfo;
use super::task_type::TaskOptions;
use crate::error::{ErrorCode, RequestError, ShownName};

/// The functions that tasks can call: the handlers of this program, and those that workers outside of it have
/// registered, which may change at any time.
#[derive(Debug, Default)]
pub struct Handlers {
    by_name: FxHashMap<&'static str, CompiledFunction>,
    registered: RwLock<BTreeMap<Arc<str>, Arc<RegisteredFunction>>>,
}

/// A function that tasks can call.
#[derive(Debug, Clone)]
pub enum Function<'a> {
    /// This program has its code.
    Compiled(&'a CompiledFunction),
    /// Workers outside of it have.
    Registered(Arc<RegisteredFunction>),
}

/// A handler with the names that its tasks share.
#[derive(Debug)]
pub struct CompiledFunction {
    pub handler: &'static Handler,
    function: Arc<str>,
    queue: Arc<str>,
}

impl Function<'_> {
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Compiled(compiled) => &compiled.function,
            Self::Registered(registered) => registered.name(),
        }
    }

    /// Checks that `args` fit the function.
    ///
    /// # Errors
    /// What does not fit, and where.
    pub fn check(&self, args: &[u8]) -> Result<(), RequestError> {
        match self {
            Self::Compiled(compiled) => compiled.handler.check(args),
            Self::Registered(registered) => registered.check(args),
        }
    }

    /// The function as it is described to clients.
    pub fn describe(&self) -> HandlerInfo {
        match self {
            Self::Compiled(compiled) => compiled.handler.describe(),
            Self::Registered(registered) => registered.describe(),
        }
    }

    /// A task with the function's own options; `args` are not checked.
    pub(super) fn task(&self, args: Bytes) -> NewTask {
        match self {
            Self::Compiled(compiled) => compiled.task(args),
            Self::Registered(registered) => registered.task(args),
        }
    }
}

impl CompiledFunction {
    /// A task with the handler's own options; `args` are not checked.
    pub(super) fn task(&self, args: Bytes) -> NewTask {
        NewTask::with_options(self.function.clone(), self.queue.clone(), &self.handler.options, args)
    }
}

impl Handlers {
    /// Every handler that a `#[derive(Task)]` in this program registered.
    ///
    /// # Errors
    /// When two handlers have one name: both places are named.
    pub fn collect() -> Result<Self> {
        inventory::iter::<Handler>.into_iter().try_fold(Self::default(), Self::with)
    }

    /// Adds a handler by hand, where registration before `main` is not to be had.
    ///
    /// # Errors
    /// When its name is taken: both places are named.
    pub fn with(mut self, handler: &'static Handler) -> Result<Self> {
        let Handler { name, file, line, .. } = handler;
        let queue = handler.options.queue;
        let known = self.by_name.values().find(|other| *other.queue == *queue);
        let queue = known.map_or_else(|| queue.into(), |other| other.queue.clone());
        let compiled = CompiledFunction { handler, function: (*name).into(), queue };
        if let Some(CompiledFunction { handler: other, .. }) = self.by_name.insert(name, compiled) {
            bail!("two handlers are named \"{name}\": {}:{} and {file}:{line}", other.file, other.line);
        }
        Ok(self)
    }

    /// The handler of a function, if this program contains it.
    pub fn get(&self, function: &str) -> Option<&'static Handler> {
        self.by_name.get(function).map(|registered| registered.handler)
    }

    /// # Errors
    /// When this program has no handler of this name; the error suggests the nearest one.
    pub fn find(&self, name: &str) -> Result<&'static Handler, RequestError> {
        self.compiled(name).map(|compiled| compiled.handler)
    }

    pub(super) fn compiled(&self, name: &str) -> Result<&CompiledFunction, RequestError> {
        self.by_name.get(name).ok_or_else(|| unknown_function(name, self.by_name.keys().copied()))
    }

    /// # Errors
    /// When there is no function of this name, here or registered; the error suggests the nearest one.
    pub fn function(&self, name: &str) -> Result<Function<'_>, RequestError> {
        if let Some(compiled) = self.by_name.get(name) {
            return Ok(Function::Compiled(compiled));
        }
        let registered = self.registered();
        match registered.get(name) {
            Some(function) => Ok(Function::Registered(function.clone())),
            None => {
                let all = self.by_name.keys().copied().chain(registered.keys().map(|name| &**name));
                Err(unknown_function(name, all))
            }
        }
    }

    /// All functions in the order of their names.
    pub fn functions(&self) -> Vec<Function<'_>> {
        let registered = self.registered();
        let compiled = self.by_name.values().map(Function::Compiled);
        let mut all: Vec<_> =
            compiled.chain(registered.values().cloned().map(Function::Registered)).collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Adds a function that runs outside of this program, or replaces what was registered of it. Handlers of
    /// this program go before registered functions.
    pub fn register(&self, function: RegisteredFunction) {
        let mut registered = self.registered.write().expect("no one panics while holding the functions");
        registered.insert(function.name().clone(), Arc::new(function));
    }

    /// Removes a registered function.
    pub fn unregister(&self, name: &str) {
        self.registered.write().expect("no one panics while holding the functions").remove(name);
    }

    fn registered(&self) -> RwLockReadGuard<'_, BTreeMap<Arc<str>, Arc<RegisteredFunction>>> {
        self.registered.read().expect("no one panics while holding the functions")
    }

    /// A task of a function with the function's own options, or, if this program does not contain it, with
    /// [`TaskOptions::DEFAULT`]; `args` are not checked.
    pub fn task(&self, function: &str, args: Bytes) -> NewTask {
        match self.function(function) {
            Ok(known) => known.task(args),
            Err(_) => NewTask::without_handler(function, args),
        }
    }

    /// # Errors
    /// When no function belongs to a queue of this name; the error suggests the nearest one.
    pub fn queue(&self, name: &str) -> Result<(), RequestError> {
        let all = self.all_queues();
        if all.contains(name) {
            return Ok(());
        }
        Err(unknown_queue(name, all.iter().map(|queue| &**queue)))
    }

    /// The queue that a task of a function is to wait in instead of the function's own one.
    ///
    /// # Errors
    /// When there is no such queue, or the function is a registered one, whose tasks wait by themselves.
    pub(super) fn queue_for(&self, function: &Function, name: &str) -> Result<Arc<str>, RequestError> {
        match function {
            Function::Registered(registered) if **registered.queue() == *name => {
                Ok(registered.queue().clone())
            }
            Function::Registered(registered) => Err(RequestError::bad_request(format!(
                "Tasks of {} run elsewhere, and wait in the queue {} alone.",
                ShownName(registered.name()),
                ShownName(registered.queue())
            ))),
            Function::Compiled(_) => match self.by_name.values().find(|compiled| *compiled.queue == *name) {
                Some(compiled) => Ok(compiled.queue.clone()),
                None if name == TaskOptions::DEFAULT.queue => Ok(name.into()),
                None => Err(unknown_queue(name, self.queues())),
            },
        }
    }

    /// The queues of all handlers of this program, and `default`; some of them more than once.
    pub fn queues(&self) -> impl Iterator<Item = &'static str> {
        self.by_name
            .values()
            .map(|compiled| compiled.handler.options.queue)
            .chain([TaskOptions::DEFAULT.queue])
    }

    /// The queues of all functions, and `default`.
    pub fn all_queues(&self) -> BTreeSet<Arc<str>> {
        let registered = self.registered();
        let of_registered = registered.values().map(|function| function.queue().clone());
        self.queues().map(Into::into).chain(of_registered).collect()
    }

    /// All handlers of this program in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &'static Handler> {
        let mut all: Vec<_> = self.by_name.values().map(|compiled| compiled.handler).collect();
        all.sort_by_key(|handler| handler.name);
        all.into_iter()
    }
}

fn unknown_function<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> RequestError {
    let message = format!("There is no function {}.", ShownName(name));
    RequestError::new(ErrorCode::UnknownFunction, message).suggesting(name, known)
}

fn unknown_queue<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> RequestError {
    let message = format!("There is no queue {}.", ShownName(name));
    RequestError::new(ErrorCode::UnknownQueue, message).suggesting(name, known)
}
