//! As much of HTTP/1.1 as it takes to be scraped: GET and HEAD of one resource, one request a connection.

use super::openmetrics::CONTENT_TYPE;
use std::rc::Rc;

/// What is served.
const PATH: &str = "/metrics";
/// What a browser is shown that asks for anything else.
const HINT: &str = "Metrics are at /metrics.\n";
const UNAVAILABLE: &str = "503 Service Unavailable";

/// Whether all of the request's head is there.
pub fn is_whole(request: &[u8]) -> bool {
    request.windows(4).any(|end| end == b"\r\n\r\n") || request.windows(2).any(|end| end == b"\n\n")
}

/// The response to a request; `metrics` is called for its body, or for why there is none.
pub fn respond(request: &[u8], metrics: impl FnOnce() -> Result<Rc<str>, String>) -> Vec<u8> {
    let line = request.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let (method, target, version) = (words.next(), words.next(), words.next());
    let is_http = version.is_some_and(|version| version.starts_with("HTTP/1."));
    let path = target.map(|target| target.split('?').next().unwrap_or_default());
    match (method, path) {
        _ if !is_http => response("400 Bad Request", "text/plain", HINT, true),
        (Some(method @ ("GET" | "HEAD")), Some(PATH)) => match metrics() {
            Ok(text) => response("200 OK", CONTENT_TYPE, &text, method == "GET"),
            Err(why) => response(UNAVAILABLE, "text/plain", &format!("{why}\n"), method == "GET"),
        },
        (Some("GET" | "HEAD"), Some("/")) => response("200 OK", "text/plain", HINT, method == Some("GET")),
        (Some("GET" | "HEAD"), _) => response("404 Not Found", "text/plain", HINT, method == Some("GET")),
        _ => response("405 Method Not Allowed", "text/plain", HINT, true),
    }
}

/// To a client more than can be served.
pub fn busy() -> Vec<u8> {
    response(UNAVAILABLE, "text/plain", "Too many clients.\n", true)
}

fn response(status: &str, kind: &str, body: &str, with_body: bool) -> Vec<u8> {
    let len = body.len();
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n{allow}Connection: close\r\n\r\n"
    );
    [head.as_bytes(), if with_body { body.as_bytes() } else { b"" }].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(request: &str) -> String {
        assert!(is_whole(request.as_bytes()), "{request:?}");
        String::from_utf8(respond(request.as_bytes(), || Ok("# EOF\n".into()))).unwrap()
    }

    #[test]
    fn metrics_are_got_and_their_head_too() {
        let got = said("GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            got.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0;"),
            "{got}"
        );
        assert!(got.contains("\r\nContent-Length: 6\r\n") && got.ends_with("\r\n\r\n# EOF\n"), "{got}");
        let head = said("HEAD /metrics HTTP/1.0\n\n");
        assert!(head.contains("\r\nContent-Length: 6\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn other_requests_are_refused_by_their_fault() {
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "200"),
            ("GET /etc/passwd HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /metrics\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
            ("\u{fffd}\u{0} \u{1b}[2J HTTP/1.1\r\n\r\n", "405"),
        ] {
            let said = said(request);
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {said}");
            assert!(!said.contains('\u{1b}') && !said.contains("passwd"));
        }
        assert!(!is_whole(b"GET /metrics HTTP/1.1\r\nHost: a\r\n"));
        assert!(busy().starts_with(b"HTTP/1.1 503 "));
    }
}
