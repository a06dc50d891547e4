//! The struct that a derive is applied to.

use syn::{Data, DeriveInput, Error, Ident, Result};

/// The name of the struct.
///
/// # Errors
/// When the input is not a struct, or has type parameters.
pub(crate) fn struct_name<'a>(input: &'a DeriveInput, derive: &str) -> Result<&'a Ident> {
    if !matches!(input.data, Data::Struct(_)) {
        let message = format!("{derive} can only be derived for a struct, whose fields are the arguments");
        return Err(Error::new_spanned(&input.ident, message));
    }
    if !input.generics.params.is_empty() {
        let message =
            format!("{derive} cannot be derived for a generic struct: one name stands for one type");
        return Err(Error::new_spanned(&input.generics, message));
    }
    Ok(&input.ident)
}
