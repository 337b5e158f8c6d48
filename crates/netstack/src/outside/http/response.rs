//! The response that the guest gets: the host's, or our own.

use std::fmt::Write;

/// Fields that the host has already acted upon, or that are of its connection.
const DROPPED: &[&str] =
    &["connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding", "upgrade"];

/// How the response's end is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// It has no body.
    Empty,
    Chunks,
    /// The guest has its number, or will see the connection's end.
    Plain,
}

/// The head for the guest, from the host's: the status line without the version, then fields. `keep_alive` becomes false where the
/// guest cannot tell the response's end from the connection's.
pub fn head(host: &str, method: &str, chunks: bool, keep_alive: &mut bool) -> (String, Framing) {
    let mut lines = host.lines();
    let status = lines.next().unwrap_or("502 Bad Gateway");
    let code = status.split(' ').next().and_then(|code| code.parse::<u16>().ok()).unwrap_or(502);
    let fields: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    let find = |name: &str| fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in fields.iter().filter(|(name, _)| !DROPPED.iter().any(|d| name.eq_ignore_ascii_case(d))) {
        _ = write!(head, "{name}: {}\r\n", value.trim());
    }
    // `fetch` undoes encodings and leaves the length of what it got.
    let length = find("content-length").filter(|_| find("content-encoding").is_none_or(|e| e == "identity"));
    let framing = match length {
        _ if method == "HEAD" || matches!(code, 100..=199 | 204 | 304) => Framing::Empty,
        Some(length) => {
            _ = write!(head, "content-length: {length}\r\n");
            Framing::Plain
        }
        None if chunks => {
            head.push_str("transfer-encoding: chunked\r\n");
            Framing::Chunks
        }
        None => {
            *keep_alive = false;
            Framing::Plain
        }
    };
    if let (Framing::Empty, "HEAD", Some(length)) = (framing, method, length) {
        _ = write!(head, "content-length: {length}\r\n");
    }
    head.push_str(if *keep_alive { "connection: keep-alive\r\n\r\n" } else { "connection: close\r\n\r\n" });
    (head, framing)
}

/// A page of our own, after which the connection ends.
pub fn page(status: u16, text: &str) -> String {
    let phrase = match status {
        400 => "Bad Request",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        _ => "Bad Gateway",
    };
    let text = format!("pagevm: {text}\n");
    let length = text.len();
    format!(
        "HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{text}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_response_is_marked() {
        let head = |host, method, chunks, mut keep_alive| {
            let (text, framing) = super::head(host, method, chunks, &mut keep_alive);
            (text, framing, keep_alive)
        };
        let known = "200 OK\ncontent-length: 3\nx: y\n";
        let text = "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\n";
        assert_eq!(head(known, "GET", true, true), (text.into(), Framing::Plain, true));
        // The length is that of the compressed body, which is not what comes.
        let packed = "200 OK\nContent-Length: 3\nContent-Encoding: gzip\n";
        let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        assert_eq!(head(packed, "GET", true, false), (text.into(), Framing::Chunks, false));
        // HTTP/1.0 has the connection's end only.
        let text = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
        for host in ["200 OK\n", packed] {
            assert_eq!(head(host, "GET", false, true), (text.into(), Framing::Plain, false));
        }
        assert_eq!(head(known, "HEAD", true, true).1, Framing::Empty);
        assert!(head(known, "HEAD", true, true).0.contains("content-length: 3\r\n"));
        assert_eq!(head("304 Not Modified\n", "GET", true, true).1, Framing::Empty);
    }
}
