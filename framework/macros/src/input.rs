//! The struct that a derive stands on.

use syn::{Data, DeriveInput, Error, Ident, Result};

/// The struct's name, if it is one that can be registered: a struct without type parameters.
pub(crate) fn subject<'a>(input: &'a DeriveInput, derive: &str) -> Result<&'a Ident> {
    if !matches!(input.data, Data::Struct(_)) {
        let message = format!("{derive} is derived for a struct: its fields are the arguments");
        return Err(Error::new_spanned(&input.ident, message));
    }
    if !input.generics.params.is_empty() {
        let message = format!(
            "{derive} cannot be derived for a generic struct, since one name stands for one type: write a struct without parameters"
        );
        return Err(Error::new_spanned(&input.generics, message));
    }
    Ok(&input.ident)
}
