//! Substitutes for the types of the fields, each with a schema.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{GenericArgument, Ident, PathArguments, Type};

/// A type whose schema allows any value.
pub(super) const ANY_VALUE: &str = "::framework::serde_json::Value";

/// The containers whose schemas are made of those of their items.
const CONTAINERS: [&str; 11] = [
    "Option",
    "Vec",
    "VecDeque",
    "Box",
    "Rc",
    "Arc",
    "HashMap",
    "BTreeMap",
    "HashSet",
    "BTreeSet",
    "LinkedList",
];

/// A substitute for each type in a field, which has the schema of that type or, if it has none, allows any
/// value: the user's types need not have a schema.
pub(super) struct FieldTypes<'a> {
    task: &'a Ident,
    copy: &'a Ident,
    declared: Vec<TokenStream>,
}

impl<'a> FieldTypes<'a> {
    pub(super) fn new(task: &'a Ident, copy: &'a Ident) -> Self {
        Self { task, copy, declared: Vec::new() }
    }

    /// The substitute of a type, as text; `is_flat` if the fields of the type are fields of the struct.
    pub(super) fn replacement(&mut self, ty: &Type, is_flat: bool) -> String {
        self.replace(ty, is_flat).to_token_stream().to_string()
    }

    /// The substitute of a whole type, which describes it in place.
    pub(super) fn whole(&mut self, ty: &Type) -> String {
        self.declare(ty, true).to_token_stream().to_string()
    }

    pub(super) fn declarations(self) -> TokenStream {
        self.declared.into_iter().collect()
    }

    fn replace(&mut self, ty: &Type, is_flat: bool) -> Type {
        match ty {
            Type::Paren(inner) => self.replace(&inner.elem, is_flat),
            Type::Group(inner) => self.replace(&inner.elem, is_flat),
            Type::Array(array) => {
                let mut array = array.clone();
                *array.elem = self.replace(&array.elem, false);
                Type::Array(array)
            }
            Type::Tuple(tuple) if !tuple.elems.is_empty() => {
                let mut tuple = tuple.clone();
                tuple.elems.iter_mut().for_each(|part| *part = self.replace(part, false));
                Type::Tuple(tuple)
            }
            Type::Path(path) if path.path.is_ident(self.task) || path.path.is_ident("Self") => {
                self.copy_of_task()
            }
            Type::Path(path) => {
                let mut path = path.clone();
                let is_container = |last: &syn::PathSegment| {
                    CONTAINERS.iter().any(|name| last.ident == name) && !last.arguments.is_empty()
                };
                match path.path.segments.last_mut().filter(|last| is_container(last)) {
                    Some(last) => {
                        // A flattened map or list has its own schema; only `Option` and `Box` pass flattening
                        // on.
                        let is_flat = is_flat && matches!(last.ident.to_string().as_str(), "Option" | "Box");
                        self.replace_arguments(&mut last.arguments, is_flat);
                        Type::Path(path)
                    }
                    None => self.declare(&path, is_flat),
                }
            }
            other => self.declare(other, is_flat),
        }
    }

    fn replace_arguments(&mut self, arguments: &mut PathArguments, is_flat: bool) {
        let PathArguments::AngleBracketed(arguments) = arguments else { return };
        for argument in &mut arguments.args {
            if let GenericArgument::Type(ty) = argument {
                *ty = self.replace(ty, is_flat);
            }
        }
    }

    fn copy_of_task(&self) -> Type {
        let copy = self.copy;
        Type::Verbatim(quote!(#copy))
    }

    fn declare(&mut self, ty: &impl ToTokens, is_flat: bool) -> Type {
        let part = format_ident!("ThinkType{}", self.declared.len());
        let name = part.to_string();
        let verb = if is_flat { quote!(flat_schema) } else { quote!(schema) };
        self.declared.push(quote! {
            struct #part;
            impl ::framework::schemars::JsonSchema for #part {
                fn inline_schema() -> bool {
                    true
                }
                fn schema_name() -> ::std::borrow::Cow<'static, str> {
                    ::std::borrow::Cow::Borrowed(#name)
                }
                fn json_schema(
                    generator: &mut ::framework::schemars::SchemaGenerator,
                ) -> ::framework::schemars::Schema {
                    #[allow(unused_imports, reason = "only types without a schema of their own need it")]
                    use ::framework::task::AnyValue as _;
                    ::framework::task::SchemaOf::<#ty>::new().#verb(generator)
                }
            }
        });
        Type::Verbatim(quote!(#part))
    }
}
