//! Tokens over HTTP.

use serde_json::json;

use super::with_settings;
use crate::harness::curl::curl;

#[test]
fn bearer_token_allows_what_its_scopes_name() {
    let server = with_settings("tokens = \"sender-0123456789abcdef:send,all-0123456789abcdef:admin\"\n");
    let refused = curl(&server, &["--json", "\"x\"", "/tasks/echo"]).is(401);
    assert_eq!(
        (refused.header("www-authenticate"), &refused.json()["code"]),
        (Some("Bearer"), &json!("unauthorized"))
    );
    assert!(refused.json()["detail"].as_str().unwrap().contains("Authorization: Bearer"));
    curl(&server, &["-H", "Authorization: Bearer wrong-0123456789abcdef", "/status"]).is(401);
    let sender = "Authorization: Bearer sender-0123456789abcdef";
    curl(&server, &["-H", sender, "--json", "\"x\"", "/tasks/echo?wait=60s"]).is(200);
    curl(&server, &["-H", sender, "/tasks/0"]).is(403);
    let forbidden = curl(&server, &["-H", sender, "/status"]).is(403).json();
    assert!(forbidden["detail"].as_str().unwrap().contains("\"inspect\""), "{forbidden}");
    curl(&server, &["-H", sender, "-X", "DELETE", "/tasks/0"]).is(403);
    let admin = "authorization: bearer all-0123456789abcdef";
    let document = curl(&server, &["-H", admin, "/openapi.json"]).is(200).json();
    assert_eq!(document["paths"]["/status"]["get"]["security"], json!([{ "token": [] }]));
    for open in ["/healthz", "/readyz", "/"] {
        curl(&server, &[open]).is(200);
    }
}
