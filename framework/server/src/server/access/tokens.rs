//! The valid tokens: read from the settings and from a file, and compared in constant time.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

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
    fixed: Vec<StoredToken>,
    file: Option<Reloadable<Vec<StoredToken>>>,
}

/// One token, and its rights.
struct StoredToken {
    /// Padded with zeros, which no token contains.
    secret: [u8; LENGTH_MAX],
    access: Access,
}

impl Tokens {
    /// `listed`: the setting `tokens`; `file`: the path of `tokens_file`.
    ///
    /// # Errors
    /// When one is malformed, or the file cannot be read, or can be read by others.
    pub(crate) fn open(listed: &str, file: Option<PathBuf>) -> Result<Self> {
        let fixed = parse_list(listed).context("tokens in config/server.toml")?;
        let file = file.map(|file| {
            let read = {
                let file = file.clone();
                move || read(&file)
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
    let entries = listed.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let parse = |(number, entry): (usize, &str)| {
        let (secret, scopes) = entry.split_once(':').unwrap_or((entry, ""));
        StoredToken::new(secret, scopes.split('+'))
            .with_context(|| format!("the token number {}", number + 1))
    };
    limited(entries.enumerate().map(parse).collect::<Result<_>>()?)
}

/// One token a line: `SECRET send,inspect # what it is for`.
fn parse_file(text: &str) -> Result<Vec<StoredToken>> {
    let parse = |(number, line): (usize, &str)| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (secret, scopes) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let token = || StoredToken::new(secret, scopes.split(','));
        (!line.is_empty()).then(|| token().with_context(|| format!("line {}", number + 1)))
    };
    limited(text.lines().enumerate().filter_map(parse).collect::<Result<_>>()?)
}

fn limited(tokens: Vec<StoredToken>) -> Result<Vec<StoredToken>> {
    ensure!(tokens.len() <= COUNT_MAX, "at most {COUNT_MAX} tokens may be valid, not {}", tokens.len());
    Ok(tokens)
}

fn read(file: &Path) -> Result<Vec<StoredToken>> {
    use std::os::unix::fs::PermissionsExt;
    let reading = || format!("reading {}", file.display());
    let mode = fs::metadata(file).with_context(reading)?.permissions().mode();
    if mode & 0o077 != 0 {
        let file = file.display();
        bail!("{file} can be opened by others than its owner, and holds secrets; run: chmod 600 {file}");
    }
    parse_file(&fs::read_to_string(file).with_context(reading)?).with_context(|| file.display().to_string())
}

impl StoredToken {
    fn new<'a>(secret: &str, scopes: impl Iterator<Item = &'a str>) -> Result<Self> {
        let length = secret.len();
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        ensure!(secret.bytes().all(good), "is not made of letters, digits and -._~+/= alone");
        ensure!(length >= LENGTH_MIN, "has {length} characters, and must have at least {LENGTH_MIN}");
        ensure!(length <= LENGTH_MAX, "has {length} characters, and may have at most {LENGTH_MAX}");
        let scopes = scopes.map(str::trim).filter(|scope| !scope.is_empty());
        let scopes: Vec<Scope> =
            scopes.map(str::parse).collect::<Result<_, String>>().map_err(anyhow::Error::msg)?;
        ensure!(!scopes.is_empty(), "has no scope: add send, inspect or admin");
        Ok(Self { secret: padded(secret).0, access: Access::of(&scopes) })
    }
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
        assert_eq!(tokens.find("first-0123456789"), Some(Access::of(&[Scope::Send])));
        assert_eq!(tokens.find("second-0123456789"), Some(Access::of(&[Scope::Inspect, Scope::Admin])));
        assert_eq!(tokens.find(&longest), Some(Access::of(&[Scope::Send])));
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
        ] {
            let said = format!("{:#}", check_list(listed).unwrap_err());
            assert!(said.contains(says) && !said.contains("0123456789"), "{said}");
        }
        assert!(check_list("").is_ok());
    }
}
