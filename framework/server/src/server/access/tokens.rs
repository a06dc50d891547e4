//! The valid tokens: read from the settings and from a file, and compared in constant time.

use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, bail, ensure};
use framework_console::files;
use framework_protocol::{ErrorCode, RequestError};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::page_sessions::SealedSession;
use super::{Access, Scope};
use crate::server::reloadable::Reloadable;

/// Shorter ones could be guessed.
const LENGTH_MIN: usize = 16;
/// Every comparison takes so many bytes, however long the token is.
const LENGTH_MAX: usize = 256;
/// The most tokens; each is compared with every guess.
const COUNT_MAX: usize = 1_000;

/// All tokens that are valid at the moment.
pub(crate) struct Tokens {
    /// Those of the settings.
    fixed: Arc<[StoredToken]>,
    file: Option<Reloadable<Vec<StoredToken>>>,
}

/// One token, and its rights.
struct StoredToken {
    /// Padded with zeros, which no token contains.
    secret: [u8; LENGTH_MAX],
    access: Access,
    /// The tasks that it may run as a worker.
    bounds: WorkBounds,
    /// Its place in the list or the file, for errors.
    place: String,
}

/// The tasks that a token may run as a worker: those of its functions, in its queues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct WorkBounds {
    /// The only functions; `None` is all.
    pub(crate) functions: Option<Arc<[Box<str>]>>,
    /// The only queues; `None` is all.
    pub(crate) queues: Option<Arc<[Box<str>]>>,
}

impl WorkBounds {
    /// The queues that a worker may take tasks from who wants only these; `None` is all.
    ///
    /// # Errors
    /// None of them is within the bounds.
    pub(crate) fn queues_of(
        &self,
        wanted: Option<&[Box<str>]>,
    ) -> Result<Option<Arc<[Box<str>]>>, RequestError> {
        let Some(wanted) = wanted else { return Ok(self.queues.clone()) };
        let within =
            wanted.iter().filter(|queue| self.queues.as_ref().is_none_or(|queues| queues.contains(queue)));
        let within: Arc<[Box<str>]> = within.cloned().collect();
        if within.is_empty() {
            let message = "This token lets a worker take no tasks from these \"queues\".";
            return Err(RequestError::new(ErrorCode::Forbidden, message));
        }
        Ok(Some(within))
    }

    /// Parses what stands within `work(..)`: names of functions, and names of queues behind `queue:`.
    fn parse(list: &str) -> Result<Self> {
        let (mut functions, mut queues) = (Vec::new(), Vec::new());
        for name in list.split([',', '+']).map(str::trim) {
            let (names, name) = match name.strip_prefix("queue:") {
                Some(queue) => (&mut queues, queue.trim()),
                None => (&mut functions, name),
            };
            ensure!(!name.is_empty(), "has a \"work(..)\" without a function or a queue");
            names.push(Box::from(name));
        }
        let some = |names: Vec<Box<str>>| (!names.is_empty()).then(|| names.into());
        Ok(Self { functions: some(functions), queues: some(queues) })
    }

    /// Whether the token may run this function.
    pub(crate) fn has_function(&self, function: &str) -> bool {
        has(self.functions.as_deref(), function)
    }

    /// Whether it may run tasks in this queue.
    pub(crate) fn has_queue(&self, queue: &str) -> bool {
        has(self.queues.as_deref(), queue)
    }
}

fn has(names: Option<&[Box<str>]>, wanted: &str) -> bool {
    names.is_none_or(|names| names.iter().any(|name| **name == *wanted))
}

/// Tells a token with its scopes from others, within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenKey(u64);

impl TokenKey {
    fn of(secret: &str, scopes: &[Scope], bounds: &WorkBounds) -> Self {
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let has = |scope| scopes.contains(&scope);
        let rights = [Scope::Send, Scope::Inspect, Scope::Work, Scope::Admin].map(has);
        Self(HASHER.hash_one((secret, rights, bounds)))
    }
}

impl Tokens {
    /// `listed`: the setting `tokens`; `file`: the path of `tokens_file`.
    ///
    /// # Errors
    /// When one is malformed or stands twice with different scopes, or the file cannot be read, or can be
    /// read by others.
    pub(crate) fn open(listed: &str, file: Option<PathBuf>) -> Result<Self> {
        let fixed: Arc<[_]> = parse_list(listed).context("tokens in config/server.toml")?.into();
        let file = file.map(|file| {
            let read = {
                let (file, fixed) = (file.clone(), fixed.clone());
                move || read(&file, &fixed)
            };
            Reloadable::open("tokens_file", vec![file], read)
        });
        Ok(Self { fixed, file: file.transpose()? })
    }

    /// The rights of a token; `None` when it is not valid.
    pub(crate) fn find(&self, guess: &str) -> Option<Access> {
        let of_file = self.file.as_ref().map(Reloadable::current);
        let of_file = of_file.as_deref().map(Vec::as_slice).unwrap_or_default();
        let (guessed, fits) = padded(guess);
        // Compares all tokens in full, so that the time does not depend on which one fits, or how far.
        let mut found = 0_u32;
        let mut has_found = Choice::from(0);
        for (index, token) in (1_u32..).zip(self.fixed.iter().chain(of_file)) {
            let is_it = token.secret.ct_eq(&guessed) & fits;
            found.conditional_assign(&index, is_it);
            has_found |= is_it;
        }
        let index = bool::from(has_found).then(|| found as usize - 1)?;
        self.fixed.iter().chain(of_file).nth(index).map(|token| token.access)
    }

    /// The rights of the token that a session of a page was sealed with; `None` when no valid one is it.
    pub(crate) fn of_session(&self, session: &SealedSession) -> Option<Access> {
        let of_file = self.file.as_ref().map(Reloadable::current);
        let of_file = of_file.as_deref().map(Vec::as_slice).unwrap_or_default();
        let is_it = |token: &&StoredToken| {
            let length = token.secret.iter().position(|byte| *byte == 0).unwrap_or(LENGTH_MAX);
            session.is_of(&token.secret[..length])
        };
        self.fixed.iter().chain(of_file).find(is_it).map(|token| token.access)
    }

    /// The tasks that the token of this key may run as a worker; `None` when it is not valid any more.
    pub(crate) fn bounds(&self, key: TokenKey) -> Option<WorkBounds> {
        let of_file = self.file.as_ref().map(Reloadable::current);
        let of_file = of_file.as_deref().map(Vec::as_slice).unwrap_or_default();
        let token = self.fixed.iter().chain(of_file).find(|token| token.access.token() == Some(key));
        token.map(|token| token.bounds.clone())
    }

    /// Waits until the token of this key is not valid any more, or has other scopes.
    pub(crate) async fn revoked(&self, key: TokenKey) {
        let Some(file) = &self.file else { return pending().await };
        let mut changes = file.changes();
        loop {
            let of_file = file.current();
            if !self.fixed.iter().chain(of_file.iter()).any(|token| token.access.token() == Some(key)) {
                return;
            }
            drop(of_file);
            if changes.changed().await.is_err() {
                return pending().await;
            }
        }
    }

    /// Reads the file now if it has changed.
    pub(crate) fn reload(&self) {
        if let Some(file) = &self.file {
            file.reload();
        }
    }
}

/// Checks the setting `tokens`; the sentence of an error quotes none.
pub(crate) fn check_list(listed: &str) -> Result<()> {
    parse_list(listed).map(drop)
}

/// Parses a list such as `SECRET:send+inspect,SECRET:admin`.
fn parse_list(listed: &str) -> Result<Vec<StoredToken>> {
    let entries = split_outside(listed, ',').into_iter().map(str::trim).filter(|entry| !entry.is_empty());
    let parse = |(number, entry): (usize, &str)| {
        let (secret, scopes) = entry.split_once(':').unwrap_or((entry, ""));
        StoredToken::new(secret, split_outside(scopes, '+'), format!("the token number {}", number + 1))
    };
    checked(entries.enumerate().map(parse).collect::<Result<_>>()?, &[])
}

/// One token a line: `SECRET send,inspect # what it is for`.
fn parse_file(text: &str, fixed: &[StoredToken]) -> Result<Vec<StoredToken>> {
    let parse = |(number, line): (usize, &str)| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (secret, scopes) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let token = || StoredToken::new(secret, split_outside(scopes, ','), format!("line {}", number + 1));
        (!line.is_empty()).then(token)
    };
    checked(text.lines().enumerate().filter_map(parse).collect::<Result<_>>()?, fixed)
}

/// Splits a text at a separator outside of parentheses.
fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let mut depth = 0_usize;
    let is_outside = |letter: char| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && letter == separator
    };
    text.split(is_outside).collect()
}

/// Refuses too many tokens, and one that stands twice with different scopes.
fn checked(tokens: Vec<StoredToken>, fixed: &[StoredToken]) -> Result<Vec<StoredToken>> {
    ensure!(tokens.len() <= COUNT_MAX, "at most {COUNT_MAX} tokens may be valid, not {}", tokens.len());
    for (index, token) in tokens.iter().enumerate() {
        let earlier = fixed.iter().chain(&tokens[..index]).find(|earlier| earlier.secret == token.secret);
        if let Some(earlier) = earlier.filter(|earlier| earlier.access != token.access) {
            let is_fixed = fixed.iter().any(|fixed| std::ptr::eq(fixed, earlier));
            let origin = if is_fixed { " of the setting `tokens`" } else { "" };
            bail!("{} repeats {}{origin} with other scopes", token.place, earlier.place);
        }
    }
    Ok(tokens)
}

fn read(file: &Path, fixed: &[StoredToken]) -> Result<Vec<StoredToken>> {
    let bytes = files::read_secret(file)?;
    let text = std::str::from_utf8(&bytes).with_context(|| format!("reading {}", file.display()))?;
    parse_file(text, fixed).with_context(|| file.display().to_string())
}

impl StoredToken {
    fn new(secret: &str, scopes: Vec<&str>, place: String) -> Result<Self> {
        let (access, bounds) = access(secret, &scopes).with_context(|| place.clone())?;
        Ok(Self { secret: padded(secret).0, access, bounds, place })
    }
}

/// The rights of a token, checked.
fn access(secret: &str, scopes: &[&str]) -> Result<(Access, WorkBounds)> {
    let length = secret.len();
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    ensure!(secret.bytes().all(good), "is not made of letters, digits and -._~+/= alone");
    ensure!(length >= LENGTH_MIN, "has {length} characters, and must have at least {LENGTH_MIN}");
    ensure!(length <= LENGTH_MAX, "has {length} characters, and may have at most {LENGTH_MAX}");
    let names = scopes.iter().map(|scope| scope.trim()).filter(|scope| !scope.is_empty());
    let mut scopes = Vec::new();
    let mut bounds = None;
    for name in names {
        if let Some(list) = name.strip_prefix("work(").and_then(|rest| rest.strip_suffix(')')) {
            ensure!(bounds.is_none(), "has two \"work(..)\": write one with all names");
            bounds = Some(WorkBounds::parse(list)?);
            scopes.push(Scope::Work);
        } else {
            scopes.push(name.parse().map_err(anyhow::Error::msg::<String>)?);
        }
    }
    ensure!(!scopes.is_empty(), "has no scope: add send, inspect, work or admin");
    let bounds = bounds.unwrap_or_default();
    let key = TokenKey::of(secret, &scopes, &bounds);
    Ok((Access::of(&scopes, Some(key)), bounds))
}

/// The bytes of a text, padded with zeros, and whether its length is one of a token.
fn padded(text: &str) -> ([u8; LENGTH_MAX], Choice) {
    let mut bytes = [0; LENGTH_MAX];
    let length = text.len().min(LENGTH_MAX);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    (bytes, Choice::from(u8::from((1..=LENGTH_MAX).contains(&text.len()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_needs_the_whole_token() {
        let longest = "x".repeat(LENGTH_MAX);
        let listed = format!("first-0123456789:send, second-0123456789:inspect+admin,{longest}:send");
        let tokens = Tokens::open(&listed, None).unwrap();
        let scopes = |token: &str| tokens.find(token).map(Access::scopes);
        assert_eq!(scopes("first-0123456789"), Some(vec![Scope::Send]));
        assert_eq!(scopes("second-0123456789"), Some(vec![Scope::Inspect, Scope::Admin]));
        assert_eq!(scopes(&longest), Some(vec![Scope::Send]));
        for wrong in ["", "first", "first-01234567890", "First-0123456789", &format!("{longest}x")] {
            assert_eq!(tokens.find(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn check_list_names_a_malformed_token_by_its_place() {
        for (listed, says) in [
            ("first-0123456789", "has no scope"),
            ("first-0123456789:send,second:send", "the token number 2: has 6 characters"),
            ("first-0123456789:sent", "did you mean \"send\"?"),
            ("first 0123456789:send", "is not made of letters"),
            (
                "first-0123456789:send,first-0123456789:admin",
                "the token number 2 repeats the token number 1 with other scopes",
            ),
        ] {
            let said = format!("{:#}", check_list(listed).unwrap_err());
            assert!(said.contains(says) && !said.contains("0123456789"), "{said}");
        }
        assert!(check_list("").is_ok());
        assert!(check_list("first-0123456789:send,first-0123456789:send").is_ok());
    }

    #[test]
    fn bounds_are_the_functions_and_queues_of_a_token() {
        let listed = "first-0123456789:work(resize,thumbnail)+send,second-0123456789:work";
        let tokens = Tokens::open(listed, None).unwrap();
        let bounds = |token: &str| tokens.bounds(tokens.find(token).unwrap().token().unwrap()).unwrap();
        let functions = |token: &str| bounds(token).functions;
        let bound: Vec<_> = functions("first-0123456789").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(bound, ["resize", "thumbnail"]);
        assert_eq!(tokens.find("first-0123456789").unwrap().scopes(), [Scope::Send, Scope::Work]);
        assert_eq!(functions("second-0123456789"), None);
        let file = "first-0123456789 work(resize, queue:mail, queue: app:images), send # cron\n";
        let bounds = parse_file(file, &[]).unwrap().remove(0).bounds;
        assert!(bounds.has_function("resize") && !bounds.has_function("pay"));
        assert!(bounds.has_queue("mail") && bounds.has_queue("app:images") && !bounds.has_queue("pay"));
        assert!(check_list("first-0123456789:work(queue:)").is_err());
        assert!(check_list("first-0123456789:work(a)+work(b)").is_err());
        assert!(check_list("first-0123456789:work()").is_err());
        assert!(check_list("first-0123456789:work(a,first-0123456789:send").is_err());
    }

    #[test]
    fn parse_file_refuses_a_token_of_the_settings_with_other_scopes() {
        let fixed = parse_list("first-0123456789:send").unwrap();
        let said = parse_file("# web\nfirst-0123456789 admin\n", &fixed).err().unwrap().to_string();
        assert_eq!(said, "line 2 repeats the token number 1 of the setting `tokens` with other scopes");
        assert!(parse_file("first-0123456789 send\n", &fixed).is_ok());
    }
}
