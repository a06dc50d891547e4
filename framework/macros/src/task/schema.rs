//! The JSON Schema of a task's arguments, generated from the struct's fields and attributes.

mod attributes;
mod field_types;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Field, Fields, Ident};

use self::attributes::{Attributes, OfField};
use self::field_types::{ANY_VALUE, FieldTypes};

/// The body of the function that makes the schema.
///
/// A copy of the struct derives it, so that the struct itself does not have to: with the same documentation
/// and the same attributes for serde, but with types that all have a schema (see [`FieldTypes`]).
pub(super) fn body(input: &DeriveInput) -> TokenStream {
    let copy = format_ident!("ThinkArguments");
    let attributes = Attributes::of(&input.attrs);
    let mut types = FieldTypes::new(&input.ident, &copy);
    let fields = match (attributes.stand_in(), &input.data) {
        // `#[serde(from = ..)]`: the struct is decoded as another type.
        (Some(other), _) => {
            let part = types.whole(&other);
            quote!((#[schemars(with = #part)] #other);)
        }
        (None, Data::Struct(data)) => fields(&data.fields, &mut types),
        (None, _) => quote!(;),
    };
    let header = header(&input.ident, &attributes);
    let default = attributes.has_default().then(|| default(&input.ident));
    let declarations = types.declarations();
    quote! {
        #default
        #declarations
        #[derive(::framework::schemars::JsonSchema)]
        #header
        #[allow(dead_code, reason = "never constructed, only described")]
        struct #copy #fields
        ::framework::task::schema_of::<#copy>()
    }
}

/// The struct's attributes, and the copy's own.
fn header(task: &Ident, attributes: &Attributes) -> TokenStream {
    let name = task.to_string();
    let kept = attributes.kept();
    let rename = (!attributes.has("rename")).then(|| quote!(#[schemars(rename = #name)]));
    let library = (!attributes.has("crate")).then(|| quote!(#[schemars(crate = "::framework::schemars")]));
    quote!(#(#kept)* #rename #library)
}

/// Defaults of omitted fields come from the struct itself, since the copy cannot have them.
fn default(task: &Ident) -> TokenStream {
    quote!(
        fn think_default() -> #task {
            ::core::default::Default::default()
        }
    )
}

fn fields(fields: &Fields, types: &mut FieldTypes) -> TokenStream {
    let all: Vec<_> = fields.iter().map(|one| field(one, types)).collect();
    match fields {
        Fields::Named(_) => quote!({ #(#all),* }),
        Fields::Unnamed(_) => quote!((#(#all),*);),
        Fields::Unit => quote!(;),
    }
}

fn field(field: &Field, types: &mut FieldTypes) -> TokenStream {
    let attributes = OfField::of(&field.attrs);
    let kept = attributes.kept();
    let schema = (!attributes.has_schema()).then(|| {
        // The values that a function of the user accepts do not follow from the type.
        let part = if attributes.is_decoded_otherwise() {
            ANY_VALUE.to_owned()
        } else {
            types.replacement(&field.ty, attributes.is_flat())
        };
        quote!(#[schemars(with = #part)])
    });
    let aliases = attributes.aliases();
    let aliases = (!aliases.is_empty()).then(|| quote!(#[schemars(extend("x-aliases" = [#(#aliases),*]))]));
    let name = field.ident.as_ref().map(|name| quote!(#name:));
    let ty = &field.ty;
    quote!(#(#kept)* #schema #aliases #name #ty)
}
