//! `#[derive(Command)]`: validates the name, and submits an entry to the registry.

mod asks;
mod docs;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::punctuated::Punctuated;
use syn::{Attribute, DeriveInput, Error, Expr, ExprLit, Lit, LitStr, Meta, MetaNameValue, Result, Token};

use crate::input::struct_name;

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let command = struct_name(input, "Command")?;
    let name = name(&input.attrs)?.ok_or_else(|| {
        Error::new(
            command.span(),
            "this command has no name: write #[command(name = \"demo:hello\")] above the struct",
        )
    })?;
    check(&name)?;
    let texts = docs::formatted(input).into_iter().map(|(field, text)| quote!((#field, #text)));
    let asks = asks::asks(input)?;
    Ok(quote_spanned! { command.span() =>
        impl ::framework::command::CommandMeta for #command {
            const ENTRY: &'static ::framework::command::CommandEntry = {
                static ENTRY: ::framework::command::CommandEntry = ::framework::command::CommandEntry::of::<#command, _>(
                    #name,
                    ::core::env!("CARGO_PKG_NAME"),
                    ::core::file!(),
                    ::core::line!(),
                )
                .with_help(&[#(#texts),*])
                .with_asks(&[#(#asks),*]);
                &ENTRY
            };
        }
        ::framework::inventory::submit! {
            ::framework::command::CommandRegistration(<#command as ::framework::command::CommandMeta>::ENTRY)
        }
    })
}

/// The `name` in `#[command(..)]`; the other options are clap's.
fn name(attributes: &[Attribute]) -> Result<Option<LitStr>> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("command")) {
        let options = attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?;
        if let Some(option) = options.iter().find(|option| option.path().is_ident("name")) {
            return literal(option).map(Some);
        }
    }
    Ok(None)
}

fn literal(option: &Meta) -> Result<LitStr> {
    match option {
        Meta::NameValue(MetaNameValue { value: Expr::Lit(ExprLit { lit: Lit::Str(name), .. }), .. }) => {
            Ok(name.clone())
        }
        _ => Err(Error::new_spanned(option, "the name must be a string: name = \"demo:hello\"")),
    }
}

fn check(name: &LitStr) -> Result<()> {
    let text = name.value();
    if text.split(':').all(is_part) {
        return Ok(());
    }
    let suggestion = suggestion(&text);
    Err(Error::new(
        name.span(),
        format!(
            "\"{text}\" is not a valid command name: use parts of lower case letters, digits and `-`, each beginning with a letter, joined by `:`, such as \"{suggestion}\""
        ),
    ))
}

fn is_part(part: &str) -> bool {
    part.starts_with(|first: char| first.is_ascii_lowercase())
        && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// A similar name that is valid.
fn suggestion(text: &str) -> String {
    let lower = text.trim().to_ascii_lowercase().replace(['_', ' ', '.'], "-");
    let parts: Vec<&str> = lower.split(':').filter(|part| is_part(part)).collect();
    if parts.is_empty() { "demo:hello".to_owned() } else { parts.join(":") }
}
