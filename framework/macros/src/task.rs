//! `#[derive(Task)]`: validates name and options, and submits a handler to the registry.

mod cron_spec;
mod options;
mod schema;

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{DeriveInput, Result};

use self::options::Options;
use crate::input::struct_name;

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let task = struct_name(input, "Task")?;
    let options = Options::read(task, &input.attrs)?;
    let name = &options.name;
    let settings = settings(&options);
    let cron = options.cron.tokens(task)?;
    let schema = schema::body(input);
    let schema = quote! {
        fn schema() -> ::framework::schemars::Schema {
            #schema
        }
    };
    let register = if options.blocking { quote!(blocking) } else { quote!(of) };
    Ok(quote_spanned! { task.span() =>
        impl ::framework::task::Task for #task {
            const NAME: &'static str = #name;
            const OPTIONS: ::framework::task::TaskOptions =
                ::framework::task::TaskOptions { #settings #cron ..::framework::task::TaskOptions::DEFAULT };
            #schema
        }
        ::framework::inventory::submit! {
            ::framework::task::Handler::#register::<#task>(
                ::core::env!("CARGO_PKG_NAME"),
                ::core::file!(),
                ::core::line!(),
            )
        }
    })
}

/// The options that differ from the defaults.
fn settings(options: &Options) -> TokenStream {
    let queue = options.queue.as_ref().map(|queue| quote!(queue: #queue,));
    let priority = options.priority.map(|priority| quote!(priority: #priority,));
    let attempts = options.attempts.map(|attempts| quote!(attempts: #attempts,));
    let timeout =
        options.timeout.map(duration).map(|timeout| quote!(timeout: ::core::option::Option::Some(#timeout),));
    let backoff = options.backoff.map(duration).map(|backoff| quote!(backoff: #backoff,));
    let blocking = options.blocking.then(|| quote!(blocking: true,));
    let isolated = options.isolated.then(|| quote!(isolated: true,));
    let concurrency = options.concurrency.map(|concurrency| quote!(concurrency: #concurrency,));
    let retention = options.retention.map(duration);
    let retention = retention.map(|time| quote!(retention: ::core::option::Option::Some(#time),));
    quote!(#queue #priority #attempts #timeout #backoff #blocking #isolated #concurrency #retention)
}

fn duration(duration: Duration) -> TokenStream {
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanoseconds))
}
