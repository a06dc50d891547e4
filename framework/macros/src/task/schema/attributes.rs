//! The attributes of a struct and its fields that concern the schema.

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, Token, Type};

/// The options of serde that the copy cannot have: they concern the struct itself, or require more of a type.
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

    /// The type that is decoded in place of the struct.
    pub(super) fn stand_in(&self) -> Option<Type> {
        let named = self.serde.iter().find(|meta| is(meta, "from") || is(meta, "try_from"))?;
        text(named)?.parse().ok()
    }

    /// Whether omitted fields come from the struct's own `Default`.
    pub(super) fn has_default(&self) -> bool {
        self.serde.iter().any(|meta| matches!(meta, Meta::Path(path) if path.is_ident("default")))
    }

    /// Whether an attribute of serde or schemars has this option.
    pub(super) fn has(&self, name: &str) -> bool {
        let serde_has = self.serde.iter().any(|meta| is(meta, name)) && name != "crate";
        serde_has || schemars_has(self.all, name)
    }

    pub(super) fn kept(&self) -> Vec<TokenStream> {
        let serde = self.serde.iter().filter(|meta| !OF_THE_STRUCT_ALONE.iter().any(|name| is(meta, name)));
        let serde = serde.map(|meta| match meta {
            Meta::Path(path) if path.is_ident("default") => quote!(#[serde(default = "think_default")]),
            meta => quote!(#[serde(#meta)]),
        });
        documentation(self.all).chain(serde).collect()
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

    /// Whether an attribute sets the schema.
    pub(super) fn has_schema(&self) -> bool {
        schemars_has(self.all, "with") || schemars_has(self.all, "schema_with")
    }

    pub(super) fn is_decoded_otherwise(&self) -> bool {
        self.has("with") || self.has("deserialize_with")
    }

    /// Whether the fields of its type are fields of the struct.
    pub(super) fn is_flat(&self) -> bool {
        self.has("flatten")
    }

    /// The other names that serde accepts.
    pub(super) fn aliases(&self) -> Vec<LitStr> {
        self.serde.iter().filter(|meta| is(meta, "alias")).filter_map(text).collect()
    }

    pub(super) fn kept(&self) -> Vec<TokenStream> {
        let serde = self.serde.iter().filter(|meta| !OF_THE_FIELD_ALONE.iter().any(|name| is(meta, name)));
        let serde = serde.map(|meta| quote!(#[serde(#meta)]));
        // The default is not shown: its own form is not the one on the wire.
        let is_encoded_otherwise = self.has("with") || self.has("serialize_with");
        let hidden = (is_encoded_otherwise && !self.has("skip_serializing"))
            .then(|| quote!(#[serde(skip_serializing)]));
        documentation(self.all).chain(serde).chain(hidden).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.serde.iter().any(|meta| is(meta, name))
    }
}

/// Documentation and attributes of schemars.
fn documentation(all: &[Attribute]) -> impl Iterator<Item = TokenStream> + '_ {
    let kept = all.iter().filter(|one| one.path().is_ident("doc") || one.path().is_ident("schemars"));
    kept.map(|attribute| quote!(#attribute))
}

/// The options of serde's attributes; invalid ones are left to serde's own error.
fn serde(all: &[Attribute]) -> Vec<Meta> {
    let lists = all.iter().filter(|attribute| attribute.path().is_ident("serde"));
    let parsed =
        lists.filter_map(|list| list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok());
    parsed.flatten().collect()
}

fn schemars_has(all: &[Attribute], name: &str) -> bool {
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
