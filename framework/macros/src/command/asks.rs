//! `#[ask]` on a field: an argument that a person is asked for if it is missing.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Data, DeriveInput, Error, Ident, LitStr, Meta, Result, Token};

/// The questions of a command, as expressions of `Ask`.
///
/// # Errors
/// When an attribute is not `#[ask]`, `#[ask("Question")]` or `#[ask("Question", secret)]`.
pub(super) fn asks(input: &DeriveInput) -> Result<Vec<TokenStream>> {
    let Data::Struct(data) = &input.data else { return Ok(Vec::new()) };
    let mut asks = Vec::new();
    for field in &data.fields {
        let Some(name) = &field.ident else { continue };
        let name = name.to_string();
        let name = name.trim_start_matches("r#");
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("ask")) {
            let AskOptions { question, secret } = options(attribute)?;
            let question = question.map_or_else(|| quote!(None), |text| quote!(Some(#text)));
            asks.push(
                quote!(::framework::command::Ask { argument: #name, question: #question, secret: #secret }),
            );
        }
    }
    Ok(asks)
}

fn options(attribute: &Attribute) -> Result<AskOptions> {
    match &attribute.meta {
        Meta::Path(_) => Ok(AskOptions { question: None, secret: false }),
        _ => attribute.parse_args(),
    }
}

/// What stands in the parentheses.
struct AskOptions {
    question: Option<LitStr>,
    secret: bool,
}

impl Parse for AskOptions {
    fn parse(input: ParseStream) -> Result<Self> {
        let mut options = Self { question: None, secret: false };
        while !input.is_empty() {
            if input.peek(LitStr) {
                options.question = Some(input.parse()?);
            } else {
                let word: Ident = input.parse()?;
                if word != "secret" {
                    let message = "write #[ask], #[ask(\"Password:\")] or #[ask(\"Password:\", secret)]";
                    return Err(Error::new(word.span(), message));
                }
                options.secret = true;
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}
