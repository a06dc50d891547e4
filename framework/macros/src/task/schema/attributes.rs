//! Which attributes of a struct and its fields say something about its schema.

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, Token, Type};

/// Those of serde that a copy cannot bear: they speak of the struct itself, or ask more of a type than it can do.
const OF_THE_STRUCT_ALONE: [&str; 6] = ["crate", "bound", "remote", "into", "from", "try_from"];
const OF_THE_FIELD_ALONE: [&str; 7] =
    ["bound", "borrow", "getter", "alias", "with", "deserialize_with", "serialize_with"];

/// The attributes of the struct.
pub(super) struct Attributes<'a> {
    all: &'a [Attribute],
    serde: Vec<Meta>,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(all: &'a [Attribute]) -> Self {
        Self { all, serde: serde(all) }
    }

    /// The type that is read in place of the struct.
    pub(super) fn stand_in(&self) -> Option<Type> {
        let named = self.serde.iter().find(|meta| is(meta, "from") || is(meta, "try_from"))?;
        text(named)?.parse().ok()
    }

    /// Whether fields that are left out come from the struct's own `Default`.
    pub(super) fn has_default(&self) -> bool {
        self.serde.iter().any(|meta| matches!(meta, Meta::Path(path) if path.is_ident("default")))
    }

    /// Whether serde or schemars are told this.
    pub(super) fn says(&self, name: &str) -> bool {
        let is_told = self.serde.iter().any(|meta| is(meta, name)) && name != "crate";
        is_told || schemars_say(self.all, name)
    }

    pub(super) fn kept(&self) -> Vec<TokenStream> {
        let serde = self.serde.iter().filter(|meta| !OF_THE_STRUCT_ALONE.iter().any(|name| is(meta, name)));
        let serde = serde.map(|meta| match meta {
            Meta::Path(path) if path.is_ident("default") => quote!(#[serde(default = "think_default")]),
            meta => quote!(#[serde(#meta)]),
        });
        described(self.all).chain(serde).collect()
    }
}

/// The attributes of a field.
pub(super) struct OfField<'a> {
    all: &'a [Attribute],
    serde: Vec<Meta>,
}

impl<'a> OfField<'a> {
    pub(super) fn of(all: &'a [Attribute]) -> Self {
        Self { all, serde: serde(all) }
    }

    /// Whether its schema is written there.
    pub(super) fn says_schema(&self) -> bool {
        schemars_say(self.all, "with") || schemars_say(self.all, "schema_with")
    }

    pub(super) fn is_decoded_otherwise(&self) -> bool {
        self.says("with") || self.says("deserialize_with")
    }

    /// Whether its fields are those of the struct around it.
    pub(super) fn is_flat(&self) -> bool {
        self.says("flatten")
    }

    /// Further names that serde reads it by.
    pub(super) fn aliases(&self) -> Vec<LitStr> {
        self.serde.iter().filter(|meta| is(meta, "alias")).filter_map(text).collect()
    }

    pub(super) fn kept(&self) -> Vec<TokenStream> {
        let serde = self.serde.iter().filter(|meta| !OF_THE_FIELD_ALONE.iter().any(|name| is(meta, name)));
        let serde = serde.map(|meta| quote!(#[serde(#meta)]));
        // The default's own form is not the one on the wire: better say none.
        let is_encoded_otherwise = self.says("with") || self.says("serialize_with");
        let silent = (is_encoded_otherwise && !self.says("skip_serializing"))
            .then(|| quote!(#[serde(skip_serializing)]));
        described(self.all).chain(serde).chain(silent).collect()
    }

    fn says(&self, name: &str) -> bool {
        self.serde.iter().any(|meta| is(meta, name))
    }
}

/// Documentation and what is said to schemars.
fn described(all: &[Attribute]) -> impl Iterator<Item = TokenStream> + '_ {
    let kept = all.iter().filter(|one| one.path().is_ident("doc") || one.path().is_ident("schemars"));
    kept.map(|attribute| quote!(#attribute))
}

/// What is said to serde; what cannot be read is left to serde's own complaint.
fn serde(all: &[Attribute]) -> Vec<Meta> {
    let lists = all.iter().filter(|attribute| attribute.path().is_ident("serde"));
    let parsed =
        lists.filter_map(|list| list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok());
    parsed.flatten().collect()
}

fn schemars_say(all: &[Attribute], name: &str) -> bool {
    let lists = all.iter().filter(|attribute| attribute.path().is_ident("schemars"));
    let mut tokens =
        lists.filter_map(|list| list.meta.require_list().ok()).flat_map(|list| list.tokens.clone());
    tokens.any(|token| matches!(token, TokenTree::Ident(ident) if ident == name))
}

fn is(meta: &Meta, name: &str) -> bool {
    meta.path().is_ident(name)
}

fn text(meta: &Meta) -> Option<LitStr> {
    match &meta.require_name_value().ok()?.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.clone()),
        _ => None,
    }
}
