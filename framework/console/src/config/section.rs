//! A file of settings as a struct.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::validation::Invalid;

/// The settings of `config/NAME.toml`.
///
/// The struct derives `Serialize` and `Deserialize` with `#[serde(default)]`; its defaults live in `impl
/// Default` and nowhere else. Every field has to be serialized: the known keys are read off a serialized
/// default.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a section of the configuration",
    label = "this has no config/NAME.toml",
    note = "write `impl Section for {Self} {{ const NAME: &'static str = \"..\"; }}` and `framework::section!({Self});`"
)]
pub trait Section: Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The file's name without `.toml`; lower case, digits and `_`.
    const NAME: &'static str;

    /// Keys of other programs that are refused, each with a sentence that says what to do instead.
    const REPLACED: &'static [(&'static str, &'static str)] = &[];

    /// The noun for one table of the file, such as `schedule`, if the user chooses the keys and each is a
    /// table. The struct is then a transparent map.
    const TABLE: Option<&'static str> = None;

    /// Validates the values. Called after reading; call it again after options have changed a value.
    ///
    /// # Errors
    /// The keys with invalid values; [`Validator`](super::Validator) collects them.
    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}
