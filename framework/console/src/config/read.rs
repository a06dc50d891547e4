//! Reads one section: its file and its variables over its defaults.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::names::Names;
use super::problem::{Origin, Problems};
use super::schema_fields::fields;
use super::validation::Invalid;
use super::{Config, Section, serde_messages};

/// One effective value; secrets are hidden.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    pub key: String,
    /// `null` if the setting is not set.
    pub value: serde_json::Value,
    pub origin: Origin,
}

/// A section and the origins of its values.
pub(super) struct Reading<S> {
    pub(super) settings: S,
    /// The origin of each key that is not at its default.
    pub(super) origins: BTreeMap<String, Origin>,
}

/// Reads a section as keys and values, with the origin of each.
pub(super) fn settings<S: Section>(config: &Config) -> Result<Vec<Setting>, Problems> {
    let sections = config.section_names();
    let reading = read::<S>(config, &sections, |_| Ok(()))?;
    let origin = |key: &str| reading.origins.get(key).cloned().unwrap_or(Origin::Default);
    let settings = fields(&reading.settings).into_iter();
    Ok(settings.map(|(key, value)| Setting { origin: origin(&key), key, value }).collect())
}

/// Reads a section, of which there are also `sections`, and validates it with `check` as well.
pub(super) fn read<S: Section>(
    config: &Config,
    sections: &[&str],
    check: impl FnOnce(&S) -> Result<(), Invalid>,
) -> Result<Reading<S>, Problems> {
    let name = format!("config/{}.toml", S::NAME);
    let file = config.read_file(&name);
    let mut reader = Reader::<S>::new();
    match &file {
        Ok(text) => reader.file(&name, text),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => reader.problems.add(Origin::File(name), format!("cannot be read: {error}")),
    }
    reader.environment(config, sections);
    reader.finish(check)
}

type Entry<'text> = Spanned<DeValue<'text>>;

/// Collects values and problems. Each value is decoded alone first, so that an error belongs to one key.
struct Reader<'text, S> {
    names: Names,
    given: DeTable<'text>,
    origins: BTreeMap<String, Origin>,
    problems: Problems,
    section: PhantomData<S>,
}

impl<'text, S: Section> Reader<'text, S> {
    fn new() -> Self {
        Self {
            names: Names::of::<S>(),
            given: DeTable::new(),
            origins: BTreeMap::new(),
            problems: Problems::default(),
            section: PhantomData,
        }
    }

    fn file(&mut self, name: &str, text: &'text str) {
        match DeTable::parse(text) {
            Ok(table) => self.table(name, text, table.into_inner()),
            Err(error) => {
                let (line, column) = position(text, error.span().unwrap_or_default());
                let message = format!("not valid TOML at column {column}: {}", error.message());
                self.problems.add(Origin::Line(name.to_owned(), line), message);
            }
        }
    }

    fn table(&mut self, name: &str, text: &str, table: DeTable<'text>) {
        let mut keys = BTreeSet::new();
        for (key, value) in entries::<S>(table) {
            let place = |span| Origin::Line(name.to_owned(), position(text, span).0);
            let (span, key) = (key.span(), key.into_inner());
            if !keys.insert(key.clone()) {
                let message = format!("[{key}] and [{}.{key}] are the same: remove one of them", S::NAME);
                self.problems.add(place(span), message);
            } else if let Err(message) = self.names.check_key(&key, value.get_ref().is_table()) {
                self.problems.add(place(span), message);
            } else if let Err(error) = alone::<S>(&key, &value) {
                // A list or table may be wrong in one of its later lines.
                let span = error.span().filter(|inner| !inner.is_empty()).unwrap_or(span);
                self.problems
                    .add(place(span), format!("`{key}` {}", serde_messages::explain(error.message())));
            } else {
                self.insert(&key, value, place(span));
            }
        }
    }

    fn environment(&mut self, config: &'text Config, sections: &[&str]) {
        for (name, key, text) in config.sources.environment.of_section(S::NAME, sections) {
            let place = Origin::Environment(name.to_owned());
            if let Err(message) = self.names.check_variable(&key) {
                self.problems.add(place, message);
                continue;
            }
            match from_text::<S>(&key, text) {
                Ok(value) => self.insert(&key, value, place),
                Err(error) => {
                    let message = format!("`{key}` {}", serde_messages::explain(error.message()));
                    self.problems.add(place, message);
                }
            }
        }
    }

    fn insert(&mut self, key: &str, value: Entry<'text>, origin: Origin) {
        self.given.insert(Spanned::new(0..0, Cow::Owned(key.to_owned())), value);
        self.origins.insert(key.to_owned(), origin);
    }

    /// Validates the values that could be read even if others could not, to report all problems at once.
    fn finish(mut self, check: impl FnOnce(&S) -> Result<(), Invalid>) -> Result<Reading<S>, Problems> {
        let settings = match deserialize::<S>(self.given) {
            Ok(settings) => settings,
            Err(error) => {
                self.problems.add(Origin::File(format!("config/{}.toml", S::NAME)), error.message());
                return Err(self.problems);
            }
        };
        if let Err(invalid) = settings.check().and_then(|()| check(&settings)) {
            for (key, sentence) in invalid.iter() {
                let origin = self.origins.get(key).cloned().unwrap_or(Origin::Default);
                self.problems.add(origin, format!("`{key}` {sentence}"));
            }
        }
        if self.problems.is_empty() {
            Ok(Reading { settings, origins: self.origins })
        } else {
            Err(self.problems)
        }
    }
}

/// The entries of a file. The tables of a section of tables may also stand below its own name, such as
/// `[functions.resize]`.
fn entries<S: Section>(table: DeTable<'_>) -> impl Iterator<Item = (Spanned<Cow<'_, str>>, Entry<'_>)> {
    let is_table = |value: &Entry| value.get_ref().is_table();
    table.into_iter().flat_map(move |(key, value)| {
        let is_own = S::TABLE.is_some() && *key.get_ref() == S::NAME;
        let holds_tables = |own: &DeTable| own.values().all(is_table);
        match value.get_ref() {
            DeValue::Table(own) if is_own && holds_tables(own) => match value.into_inner() {
                DeValue::Table(own) => own.into_iter().collect(),
                _ => Vec::new(),
            },
            _ => vec![(key, value)],
        }
    })
}

fn deserialize<S: Section>(table: DeTable<'_>) -> Result<S, Error> {
    S::deserialize(toml::Deserializer::from(Spanned::new(0..0, table)))
}

fn alone<S: Section>(key: &str, value: &Entry<'_>) -> Result<(), Error> {
    let key = Spanned::new(0..0, Cow::Owned(key.to_owned()));
    deserialize::<S>(DeTable::from_iter([(key, value.clone())])).map(drop)
}

/// Reads the value of a variable: a string as it is, and any other type as TOML. Two quotes are the empty
/// string, since an empty variable counts as unset.
fn from_text<'text, S: Section>(key: &str, text: &'text str) -> Result<Entry<'text>, Error> {
    let text = if text == "\"\"" { "" } else { text };
    let string = Spanned::new(0..0, DeValue::String(Cow::Borrowed(text)));
    let Err(not_a_string) = alone::<S>(key, &string) else { return Ok(string) };
    let Ok(value) = DeValue::parse(text) else { return Err(not_a_string) };
    alone::<S>(key, &value).map(|()| value)
}

/// Line and column, both counted from 1.
fn position(text: &str, span: Range<usize>) -> (usize, usize) {
    let before = text.get(..span.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Project, Sample};

    /// The problems when `config/sample.toml` is `file` and the environment holds `variables`.
    fn problems(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let project = Project::new();
        project.write("config/sample.toml", file);
        let error = project.config(variables).section::<Sample>().unwrap_err();
        error.to_string().lines().map(str::to_owned).collect()
    }

    fn sample(file: &str, variables: &[(&str, &str)]) -> Sample {
        let project = Project::new();
        project.write("config/sample.toml", file);
        project.config(variables).section().unwrap()
    }

    #[test]
    fn section_has_its_defaults_without_a_file() {
        assert_eq!(Project::new().config(&[]).section::<Sample>().unwrap(), Sample::default());
    }

    #[test]
    fn environment_takes_precedence_over_the_file_and_the_file_over_defaults() {
        let sample = sample("port = 1\nname = \"file\"", &[("THINK_SAMPLE_PORT", "2")]);
        assert_eq!((sample.port, sample.name.as_deref(), sample.verbose), (2, Some("file"), false));
    }

    #[test]
    fn variable_is_text_for_a_string_and_toml_for_any_other_type() {
        let variables = [
            ("THINK_SAMPLE_NAME", "12345"),
            ("THINK_SAMPLE_PORT", "4_000"),
            ("THINK_SAMPLE_VERBOSE", "true"),
            ("THINK_SAMPLE_LIMIT", "64KiB"),
            ("THINK_SAMPLE_HOSTS", "[\"a\", \"b\"]"),
            ("THINK_SAMPLE_WEIGHTS", "{ mail = 8, \"*\" = 4 }"),
            ("THINK_SAMPLE_PASSWORD", "\"quoted\""),
        ];
        let sample = sample("", &variables);
        assert_eq!(sample.name.as_deref(), Some("12345"));
        assert_eq!((sample.port, sample.verbose, sample.limit), (4_000, true, 64 << 10));
        assert_eq!(sample.hosts, ["a", "b"]);
        assert_eq!(sample.weights["mail"], 8);
        assert_eq!(sample.password.reveal(), "\"quoted\"");
    }

    #[test]
    fn unknown_key_names_file_and_line_and_suggests_a_similar_one() {
        assert_eq!(
            problems("# first\nprot = 1\nzzz = 2", &[]),
            [
                "config/sample.toml:2: `prot` is not a setting; did you mean `port`?",
                "config/sample.toml:3: `zzz` is not a setting; the settings are: port, name, verbose, limit, hosts, weights, password",
            ]
        );
    }

    #[test]
    fn key_with_spaces_is_explained() {
        assert_eq!(
            problems("\"port \" = 1\n\"old_way \" = 2", &[]),
            [
                "config/sample.toml:1: \"port \" is `port` with spaces: remove them",
                "config/sample.toml:2: `old_way` (mind the spaces in its quotes) is not supported: use `port`",
            ]
        );
    }

    #[test]
    fn replaced_key_is_refused_with_its_sentence() {
        assert_eq!(
            problems("old_way = 1", &[("THINK_SAMPLE_OLD_WAY", "1")]),
            [
                "config/sample.toml:1: `old_way` is not supported: use `port`",
                "THINK_SAMPLE_OLD_WAY: `old_way` is not supported: use `port`",
            ]
        );
    }

    #[test]
    fn wrong_type_names_the_expected_one() {
        assert_eq!(
            problems(
                "port = \"high\"\nverbose = 1\nhosts = [\n\"a\",\n2]",
                &[("THINK_SAMPLE_PORT", "70000")]
            ),
            [
                "config/sample.toml:1: `port` must be a whole number from 0 to 65535, not the string \"high\"",
                "config/sample.toml:2: `verbose` must be true or false, not the integer `1`",
                "config/sample.toml:5: `hosts` must be a string, not the integer `2`",
                "THINK_SAMPLE_PORT: `port` must be a whole number from 0 to 65535, not the integer `70000`",
            ]
        );
    }

    #[test]
    fn invalid_value_names_its_origin() {
        assert_eq!(
            problems("\nport = 0", &[("THINK_SAMPLE_NAME", "\"\"")]),
            [
                "config/sample.toml:2: `port` must be from 1 to 65535, not 0",
                "THINK_SAMPLE_NAME: `name` must not be empty",
            ]
        );
    }

    #[test]
    fn invalid_toml_names_line_and_column() {
        let problems = problems("port = 1\nname = = 2", &[]);
        assert!(
            problems[0].starts_with("config/sample.toml:2: not valid TOML at column 8: "),
            "{problems:?}"
        );
    }

    #[test]
    fn table_of_the_sections_own_name_is_explained() {
        assert_eq!(
            problems("[sample]\nport = 1", &[]),
            [
                "config/sample.toml:1: all of config/sample.toml is the section `sample`: remove the line `[sample]`"
            ]
        );
    }

    #[test]
    fn file_that_is_not_utf8_is_named() {
        let project = Project::new();
        std::fs::write(project.root.join("config/sample.toml"), b"name = \"\xff\"").unwrap();
        let error = project.config(&[]).section::<Sample>().unwrap_err();
        assert!(error.to_string().starts_with("config/sample.toml: cannot be read: "), "{error}");
    }
}
