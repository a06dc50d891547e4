//! The seam to the pages for people: whoever makes them implements [`Pages`], and sees the server by
//! [`PageServer`] alone.

use std::time::Duration;

use bytes::Bytes;
use framework_protocol::RequestError;
use framework_protocol::task::TaskId;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use hyper::header::{COOKIE, HeaderMap};
use serde_json::Value;
use serde_json::value::RawValue;
use std::sync::Arc;

use super::access::Scope;

/// Makes the pages for people.
pub trait Pages: Send + Sync + 'static {
    /// The response to one request below the folder of the pages, `/ui/`.
    fn respond(
        self: Arc<Self>,
        request: PageRequest,
        server: Arc<dyn PageServer>,
    ) -> BoxFuture<'static, PageResponse>;
}

/// The named values of a request.
pub type PageFields = Vec<(&'static str, Value)>;

/// The server as a page sees it: the verbs of the wire, with the rights of whoever has signed in.
pub trait PageServer: Send + Sync + 'static {
    /// Whether somebody may do what needs this scope.
    fn allows(&self, scope: Scope) -> bool;

    /// Whether the listener requires a token, so that there is somebody to sign out.
    fn requires_token(&self) -> bool;

    /// The time after which a silent stream gets a comment.
    fn keepalive(&self) -> Duration;

    /// Calls a verb of the wire; its result, `null` if it has none.
    ///
    /// # Errors
    /// The errors of the wire: the right is missing, a field is wrong, or the verb fails.
    fn call(
        &self,
        verb: &'static str,
        fields: PageFields,
    ) -> BoxFuture<'_, Result<Box<RawValue>, RequestError>>;

    /// Sends a task, as `POST /tasks/{function}` does; its id, durable when this returns.
    ///
    /// # Errors
    /// `send` is missing, there is no such function, or arguments or options do not fit.
    fn send(
        &self,
        function: String,
        args: Option<Box<RawValue>>,
        options: PageFields,
    ) -> BoxFuture<'_, Result<TaskId, RequestError>>;

    /// The value of `set-cookie` that signs in whoever has this token. Wrong tokens are delayed as
    /// everywhere.
    ///
    /// # Errors
    /// `unauthorized`: the token is not valid.
    fn sign_in(&self, token: String) -> BoxFuture<'_, Result<String, RequestError>>;

    /// The value of `set-cookie` that signs out.
    fn sign_out(&self) -> String;

    /// The key that each form of a page has in it.
    fn form_key(&self) -> &str;

    /// Checks that a form is from a page that was made for this session.
    ///
    /// # Errors
    /// `forbidden`: a foreign page has sent it, or one of an earlier process or session.
    fn check_form(&self, key: &str) -> Result<(), RequestError>;

    /// Waits until no more requests are to be read, so that streams end.
    fn stopped(&self) -> BoxFuture<'_, ()>;
}

/// A request for a page.
#[derive(Debug)]
pub struct PageRequest {
    /// Whether it is to change something; otherwise it is to show something.
    pub is_post: bool,
    /// The path below the folder, percent-encoded and without a slash at its beginning.
    pub path: String,
    /// The query, percent-encoded.
    pub query: String,
    /// The body: the fields of a form.
    pub form: Bytes,
    pub(super) headers: HeaderMap,
}

impl PageRequest {
    /// The first header of this name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// The response to a request for a page.
pub struct PageResponse {
    pub status: u16,
    pub media_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: PageBody,
}

/// The body of a response.
pub enum PageBody {
    Whole(Bytes),
    /// Parts as they come, until the client has gone or the server stops.
    Stream(BoxStream<'static, Bytes>),
}
