//! HTTP, as far as to know it and to refuse it.

use super::refusal::{Code, Refusal};
use super::reply::Reply;

const METHODS: [&[u8]; 9] =
    [b"GET ", b"POST ", b"PUT ", b"DELETE ", b"HEAD ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE "];

/// The answer to a connection that begins with this line, if that is the request line of HTTP.
pub fn refuse(first_line: &[u8]) -> Option<Vec<u8>> {
    let is_http = METHODS.iter().any(|method| first_line.starts_with(method))
        && [&b" HTTP/1.0"[..], b" HTTP/1.1"].iter().any(|version| first_line.ends_with(version));
    if !is_http {
        return None;
    }
    let refusal = Refusal::new(
        Code::UnknownProtocol,
        "This server speaks lines of text, not HTTP: send one JSON object a line.",
    );
    let mut body = Vec::new();
    Reply::new(&mut body).refused(None, &refusal);
    let head = format!(
        "HTTP/1.1 501 Not Implemented\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    Some([head.into_bytes(), body].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_is_told_from_text_that_resembles_one() {
        assert!(refuse(b"POST /tasks HTTP/1.1").is_some());
        for text in ["GET well soon", "HTTP/1.1", "get / HTTP/1.1", "hello", ""] {
            assert_eq!(refuse(text.as_bytes()), None, "{text}");
        }
    }
}
