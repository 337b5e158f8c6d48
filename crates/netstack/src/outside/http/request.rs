//! A guest's HTTP/1.1 request (RFC 9112), as far as a proxy must understand it.

use std::fmt::Write;

/// Longest request head, and most header lines.
const HEAD: usize = 64 << 10;
const LINES: usize = 128;

/// Header fields that are of the connection (RFC 9110, 7.6.1) or made anew by whoever sends the request.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request's head.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// `/..` or, to a proxy, a whole address; `*` of OPTIONS.
    pub target: String,
    pub host: Option<String>,
    /// The fields that go on, a line each.
    pub fields: String,
    pub body: Body,
    /// The guest wants the next request on the same connection.
    pub keep_alive: bool,
    /// HTTP/1.0 knows no chunks.
    pub chunks: bool,
    /// It waits for an interim response before it sends the body.
    pub expects: bool,
}

/// What cannot be read or passed on: status and explanation.
pub type Refusal = (u16, &'static str);

/// The head at the beginning of `bytes` and its length; `None` if there is more to come.
pub fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Refusal> {
    let mut lines = [httparse::EMPTY_HEADER; LINES];
    let mut head = httparse::Request::new(&mut lines);
    let len = match head.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len <= HEAD => len,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err((431, "the request's header is too long")),
        Err(_) => return Err((400, "this is not HTTP/1.1, the only protocol that a page can pass on without a relay")),
    };
    let http_1_1 = head.version == Some(1);
    let mut request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        target: head.path.unwrap_or_default().to_owned(),
        host: None,
        fields: String::new(),
        body: Body::None,
        keep_alive: http_1_1,
        chunks: http_1_1,
        expects: false,
    };
    let mut length = None;
    for line in head.headers.iter() {
        let Ok(value) = std::str::from_utf8(line.value) else {
            return Err((400, "a header field is not UTF-8"));
        };
        let name = line.name.to_ascii_lowercase();
        let has = |token: &str| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token));
        match name.as_str() {
            "host" => request.host = Some(value.to_owned()),
            "connection" | "proxy-connection" if has("close") => request.keep_alive = false,
            "connection" | "proxy-connection" if has("keep-alive") => request.keep_alive = true,
            "expect" => request.expects = value.eq_ignore_ascii_case("100-continue"),
            "upgrade" if value.eq_ignore_ascii_case("websocket") => {
                return Err((501, "a page cannot pass on a WebSocket connection without a relay"));
            }
            "content-length" => match value.trim().parse::<u64>() {
                Ok(n) if length.is_none_or(|old| old == n) && value.trim().bytes().all(|c| c.is_ascii_digit()) => {
                    length = Some(n);
                }
                _ => return Err((400, "the request's Content-Length is not a number")),
            },
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => request.body = Body::Chunks(Chunks::Size),
            "transfer-encoding" => return Err((501, "the request's Transfer-Encoding is not `chunked`")),
            _ => {}
        }
        if !HOP_BY_HOP.contains(&name.as_str()) {
            _ = writeln!(request.fields, "{name}: {value}");
        }
    }
    match (length, &request.body) {
        // RFC 9112, 6.1: who sends both may want to smuggle.
        (Some(_), Body::Chunks(_)) => return Err((400, "the request has Content-Length and Transfer-Encoding")),
        (Some(n), _) if n > 0 => request.body = Body::Length(n),
        _ => {}
    }
    if request.method == "CONNECT" {
        return Err((501, "a page cannot tunnel without a relay"));
    }
    Ok(Some((request, len)))
}

/// How the rest of a request's body is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is nothing more.
    None,
    /// So many bytes.
    Length(u64),
    Chunks(Chunks),
}

/// Where in a chunked body (RFC 9112, 7.1) the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// Before a size line.
    Size,
    /// In data: so many bytes are left, then a line's end.
    Data(u64),
    /// In what follows the last chunk, which is passed over.
    Trailer,
}

/// A piece of the body at the beginning of the input: how much of the input comes before it, and its length.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    pub skip: usize,
    pub len: usize,
}

impl Body {
    /// Finds the next piece in `input`. `None`: there must come more first, or the body has ended.
    pub fn piece(&mut self, input: &[u8]) -> Result<Option<Piece>, Refusal> {
        let mut skip = 0;
        loop {
            let rest = &input[skip..];
            let left = match self {
                Self::None => return Ok((skip > 0).then_some(Piece { skip, len: 0 })),
                Self::Length(left) | Self::Chunks(Chunks::Data(left)) => *left,
                Self::Chunks(state) => {
                    let Some(line) = line(rest)? else { return Ok((skip > 0).then_some(Piece { skip, len: 0 })) };
                    skip += line.len() + 1;
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    match state {
                        Chunks::Trailer if line.is_empty() => *self = Self::None,
                        Chunks::Trailer => {}
                        _ => *state = size(line)?,
                    }
                    continue;
                }
            };
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            return Ok((skip + len > 0).then_some(Piece { skip, len }));
        }
    }

    /// `len` bytes of the last piece were taken.
    pub fn advance(&mut self, len: usize) {
        let len = len as u64;
        match self {
            Self::Length(left) if *left == len => *self = Self::None,
            Self::Chunks(state) if *state == Chunks::Data(len) => *state = Chunks::Size,
            Self::Length(left) | Self::Chunks(Chunks::Data(left)) => *left -= len.min(*left),
            _ => {}
        }
    }
}

/// The line at the beginning of `input`, without its line feed.
fn line(input: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    match input.iter().take(4096).position(|c| *c == b'\n') {
        Some(end) => Ok(Some(&input[..end])),
        None if input.len() >= 4096 => Err((400, "a chunk's size line is too long")),
        None => Ok(None),
    }
}

/// What follows a size line. The empty line after a chunk's data is taken for one too.
fn size(line: &[u8]) -> Result<Chunks, Refusal> {
    if line.is_empty() {
        return Ok(Chunks::Size);
    }
    let digits = line.split(|c| *c == b';').next().unwrap_or_default().trim_ascii();
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'));
    match text.and_then(|text| u64::from_str_radix(text, 16).ok()) {
        Some(0) => Ok(Chunks::Trailer),
        Some(n) => Ok(Chunks::Data(n)),
        None => Err((400, "a chunk's size is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Request {
        parse(text.as_bytes()).unwrap().expect("whole").0
    }

    #[test]
    fn a_request() {
        let text =
            "POST /a?b HTTP/1.1\r\nHost: x.example\r\nAccept: */*\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        let (request, len) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(&text[len..], "abc");
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/a?b"));
        assert_eq!(request.fields, "accept: */*\n");
        assert_eq!(request.body, Body::Length(3));
        assert!(!request.keep_alive && request.chunks);
        assert_eq!(parse(&text.as_bytes()[..len - 1]), Ok(None));
        assert!(!head("GET / HTTP/1.0\r\n\r\n").keep_alive);
    }

    #[test]
    fn what_cannot_be_passed_on() {
        for (text, status) in [
            ("\x16\x03\x01\x02\x00\x01\x00", 400),
            ("SSH-2.0-OpenSSH\r\n", 400),
            ("CONNECT a:1 HTTP/1.1\r\n\r\n", 501),
            ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 501),
            ("GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ] {
            assert_eq!(parse(text.as_bytes()).map_err(|(status, _)| status), Err(status), "{text:?}");
        }
        let long = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(HEAD));
        assert_eq!(parse(long.as_bytes()).map_err(|(status, _)| status), Err(431));
    }

    /// The body in `input`, which comes in steps of `step` bytes, and what follows it.
    fn body(mut body: Body, input: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
        let (mut got, mut buffer) = (Vec::new(), Vec::new());
        for bytes in input.chunks(step) {
            buffer.extend(bytes);
            while let Some(piece) = body.piece(&buffer)? {
                got.extend(&buffer[piece.skip..piece.skip + piece.len]);
                buffer.drain(..piece.skip + piece.len);
                body.advance(piece.len);
            }
        }
        assert_eq!(body, Body::None);
        Ok((got, buffer))
    }

    #[test]
    fn bodies_in_pieces_of_any_size() {
        let chunked = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\nNEXT";
        for step in 1..=chunked.len() {
            let got = body(Body::Chunks(Chunks::Size), chunked, step).unwrap();
            assert_eq!(got, (b"hello world".to_vec(), b"NEXT".to_vec()), "{step}");
            assert_eq!(body(Body::Length(3), b"abcdef", step).unwrap(), (b"abc".to_vec(), b"def".to_vec()));
        }
        assert!(body(Body::Chunks(Chunks::Size), b"zz\r\n", 1).is_err());
        assert!(body(Body::Chunks(Chunks::Size), &[b'1'; 5000], 100).is_err());
    }
}
