//! The JSON Schema of a task's arguments, read off the struct's own fields and attributes.

mod attributes;
mod field_types;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Field, Fields, Ident};

use self::attributes::{Attributes, OfField};
use self::field_types::{ANYTHING, Parts};

/// The body of the function that makes the schema.
///
/// A copy of the struct derives it, so that nobody has to: with the same documentation and the same attributes
/// for serde, but with types of which each has a schema (see [`Parts`]).
pub(super) fn body(input: &DeriveInput) -> TokenStream {
    let copy = format_ident!("ThinkArguments");
    let attributes = Attributes::of(&input.attrs);
    let mut parts = Parts::new(&input.ident, &copy);
    let fields = match (attributes.stand_in(), &input.data) {
        // Such a struct is read as another type, and then made of it.
        (Some(other), _) => {
            let part = parts.whole(&other);
            quote!((#[schemars(with = #part)] #other);)
        }
        (None, Data::Struct(data)) => fields(&data.fields, &mut parts),
        (None, _) => quote!(;),
    };
    let header = header(&input.ident, &attributes);
    let default = attributes.has_default().then(|| default(&input.ident));
    let parts = parts.declarations();
    quote! {
        #default
        #parts
        #[derive(::framework::schemars::JsonSchema)]
        #header
        #[allow(dead_code, reason = "it is never made, only described")]
        struct #copy #fields
        ::framework::task::schema_of::<#copy>()
    }
}

/// The struct's attributes, and the copy's own.
fn header(task: &Ident, attributes: &Attributes) -> TokenStream {
    let name = task.to_string();
    let kept = attributes.kept();
    let rename = (!attributes.says("rename")).then(|| quote!(#[schemars(rename = #name)]));
    let library = (!attributes.says("crate")).then(|| quote!(#[schemars(crate = "::framework::schemars")]));
    quote!(#(#kept)* #rename #library)
}

/// Values of fields that are left out come from the struct itself: the copy has none.
fn default(task: &Ident) -> TokenStream {
    quote!(
        fn think_default() -> #task {
            ::core::default::Default::default()
        }
    )
}

fn fields(fields: &Fields, parts: &mut Parts) -> TokenStream {
    let all: Vec<_> = fields.iter().map(|one| field(one, parts)).collect();
    match fields {
        Fields::Named(_) => quote!({ #(#all),* }),
        Fields::Unnamed(_) => quote!((#(#all),*);),
        Fields::Unit => quote!(;),
    }
}

fn field(field: &Field, parts: &mut Parts) -> TokenStream {
    let attributes = OfField::of(&field.attrs);
    let kept = attributes.kept();
    let schema = (!attributes.says_schema()).then(|| {
        let part = match attributes.is_decoded_otherwise() {
            // What a function of the user's accepts cannot be told from the type.
            true => ANYTHING.to_owned(),
            false => parts.replaced(&field.ty, attributes.is_flat()),
        };
        quote!(#[schemars(with = #part)])
    });
    let aliases = attributes.aliases();
    let aliases = (!aliases.is_empty()).then(|| quote!(#[schemars(extend("x-aliases" = [#(#aliases),*]))]));
    let name = field.ident.as_ref().map(|name| quote!(#name:));
    let ty = &field.ty;
    quote!(#(#kept)* #schema #aliases #name #ty)
}
