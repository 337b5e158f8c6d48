//! One connection of the guest: requests one after the other, each fetched by the host.

use super::request::{self, Body, Request};
use super::response::{self, Framing};
use crate::channel::{ChannelId, Channels, Event, Ids, Kind, SEND_WINDOW};
use crate::outside::Report;

/// Bytes of requests that wait here.
const INPUT: usize = 128 << 10;
/// Bytes of a response that the host may send ahead of what the guest takes.
const AHEAD: usize = 256 << 10;

/// What all connections share.
pub struct Context {
    pub channels: Box<dyn Channels>,
    pub ids: Ids,
}

/// A request that is under way.
struct Fetch {
    id: ChannelId,
    method: String,
    url: String,
    body: Body,
    /// The whole body was sent.
    sent: bool,
    /// How much of the body may be sent now.
    credit: usize,
    chunks: bool,
    keep_alive: bool,
    /// The response has begun.
    framing: Option<Framing>,
    /// The response has ended.
    done: bool,
    /// Bytes of the response that came since the host last got credit.
    uncredited: usize,
}

/// See the module.
pub struct Connection {
    scheme: &'static str,
    host: String,
    /// The host is not what the requests say, but the one that shows the page.
    fixed: bool,
    input: Vec<u8>,
    /// Less was taken than was given.
    starved: bool,
    /// The guest has finished.
    finished: bool,
    output: Vec<u8>,
    window: usize,
    fetch: Option<Fetch>,
    /// After what is in `output` the connection ends.
    last: bool,
    /// The guest was told the end.
    ended: bool,
    broken: bool,
}

impl Connection {
    pub fn new(scheme: &'static str, host: String, fixed: bool) -> Self {
        Self {
            scheme,
            host,
            fixed,
            input: Vec::new(),
            starved: false,
            finished: false,
            output: Vec::new(),
            window: 0,
            fetch: None,
            last: false,
            ended: false,
            broken: false,
        }
    }

    /// The channel of the request that is under way.
    pub fn fetch(&self) -> Option<ChannelId> {
        self.fetch.as_ref().map(|fetch| fetch.id)
    }

    /// Takes what the guest sends, as far as there is room.
    pub fn take(&mut self, data: &[u8]) -> usize {
        if self.last {
            return data.len(); // nobody reads it any more
        }
        let taken = data.len().min(INPUT - self.input.len().min(INPUT));
        self.input.extend(&data[..taken]);
        self.starved |= taken < data.len();
        taken
    }

    pub fn finish(&mut self) {
        self.finished = true;
    }

    pub fn credit(&mut self, bytes: usize) {
        self.window = self.window.saturating_add(bytes);
    }

    /// What the host says of the request that is under way.
    pub fn event(&mut self, cx: &mut Context, event: Event) {
        let Some(fetch) = &mut self.fetch else { return };
        match event {
            Event::Data(head) if fetch.framing.is_none() => {
                let host = String::from_utf8_lossy(&head);
                let (text, framing) = response::head(&host, &fetch.method, fetch.chunks, &mut fetch.keep_alive);
                self.output.extend(text.bytes());
                fetch.framing = Some(framing);
            }
            Event::Data(data) => {
                fetch.uncredited += data.len();
                match fetch.framing {
                    Some(Framing::Chunks) if !data.is_empty() => {
                        self.output.extend(format!("{:x}\r\n", data.len()).bytes());
                        self.output.extend(data);
                        self.output.extend(b"\r\n");
                    }
                    Some(Framing::Plain) => self.output.extend(data),
                    _ => {}
                }
            }
            Event::Credit(bytes) => fetch.credit = fetch.credit.saturating_add(bytes).min(SEND_WINDOW),
            Event::Finished if fetch.framing.is_some() => {
                if fetch.framing == Some(Framing::Chunks) {
                    self.output.extend(b"0\r\n\r\n");
                }
                fetch.done = true;
            }
            Event::Finished | Event::Closed(_) => {
                let reason = if let Event::Closed(reason) = event { reason } else { "there was no response".into() };
                let url = std::mem::take(&mut fetch.url);
                let begun = fetch.framing.is_some();
                self.drop_fetch(cx);
                if begun {
                    log::warn!("network: {url}: the response broke off: {reason}");
                    self.broken = true;
                } else {
                    log::warn!("network: {url} could not be fetched: {reason}");
                    self.say(502, &failure(&url, &reason));
                }
            }
            Event::Opened | Event::Accepted(_) => {}
        }
    }

    /// Does what can be done now. Returns whether the connection is over.
    pub fn step(&mut self, cx: &mut Context, report: &mut dyn FnMut(Report)) -> bool {
        if self.ended {
            return false; // until the guest closes
        }
        while !self.last && !self.broken && (self.send_body(cx) || self.end_fetch(cx) || self.next_request(cx)) {}
        if self.broken {
            self.drop_fetch(cx);
            report(Report::Closed);
            return true;
        }
        self.flush(cx, report);
        if std::mem::take(&mut self.starved) {
            if self.input.len() < INPUT / 2 || self.last {
                report(Report::Writable);
            } else {
                self.starved = true;
            }
        }
        let idle = self.finished && self.fetch.is_none();
        if self.output.is_empty() && (self.last || idle) {
            self.ended = true;
            report(Report::Finished);
        }
        false
    }

    fn flush(&mut self, cx: &mut Context, report: &mut dyn FnMut(Report)) {
        let len = self.output.len().min(self.window);
        if len > 0 {
            let rest = self.output.split_off(len);
            self.window -= len;
            report(Report::Data(std::mem::replace(&mut self.output, rest)));
        }
        if self.output.is_empty()
            && let Some(fetch) = &mut self.fetch
            && fetch.uncredited > 0
        {
            cx.channels.credit(fetch.id, std::mem::take(&mut fetch.uncredited));
        }
    }

    /// Sends what there is of the request's body; whether something was done.
    fn send_body(&mut self, cx: &mut Context) -> bool {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| !fetch.sent) else { return false };
        let piece = match fetch.body.piece(&self.input) {
            Ok(piece) => piece,
            Err((status, text)) => {
                self.drop_fetch(cx);
                self.say(status, text);
                return true;
            }
        };
        if let Some(piece) = piece {
            let len = piece.len.min(fetch.credit);
            let data = &self.input[piece.skip..piece.skip + len];
            if !data.is_empty() {
                cx.channels.send(fetch.id, data);
            }
            fetch.credit -= len;
            fetch.body.advance(len);
            self.input.drain(..piece.skip + len);
            return piece.skip + len > 0;
        }
        if fetch.body == Body::None {
            fetch.sent = true;
            cx.channels.finish(fetch.id);
            return true;
        }
        // The body will never be whole.
        self.broken = self.finished;
        false
    }

    /// Whether the request that was under way is answered.
    fn end_fetch(&mut self, cx: &mut Context) -> bool {
        let Some(fetch) = self.fetch.as_ref().filter(|fetch| fetch.done) else { return false };
        // A response that comes before the request is whole leaves the rest unread.
        self.last = !fetch.keep_alive || !fetch.sent;
        self.drop_fetch(cx);
        true
    }

    /// Begins the next request, if it is there; whether it was.
    fn next_request(&mut self, cx: &mut Context) -> bool {
        if self.fetch.is_some() || self.input.is_empty() {
            return false;
        }
        match request::parse(&self.input) {
            Ok(None) => {
                self.broken = self.finished;
                false
            }
            Ok(Some((request, len))) => {
                self.input.drain(..len);
                self.begin(cx, request);
                true
            }
            Err((status, text)) => {
                self.say(status, text);
                true
            }
        }
    }

    fn begin(&mut self, cx: &mut Context, request: Request) {
        let url = self.url(&request);
        let id = cx.ids.next();
        cx.channels.open(id, Kind::Fetch, &format!("{} {url}\n{}", request.method, request.fields));
        cx.channels.credit(id, AHEAD);
        if request.expects && request.body != Body::None {
            self.output.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.fetch = Some(Fetch {
            id,
            method: request.method,
            url,
            body: request.body,
            sent: false,
            credit: SEND_WINDOW,
            chunks: request.chunks,
            keep_alive: request.keep_alive,
            framing: None,
            done: false,
            uncredited: 0,
        });
    }

    fn url(&self, request: &Request) -> String {
        let path = match request.target.split_once("://") {
            // The form for proxies: the address that it names.
            Some((_, rest)) => return format!("{}://{rest}", self.scheme),
            None if request.target.starts_with('/') => request.target.as_str(),
            None => "/",
        };
        let named = request.host.as_deref().filter(|host| !self.fixed && !host.is_empty());
        let host = named.unwrap_or(&self.host);
        let host = host.strip_suffix(":80").unwrap_or(host);
        format!("{}://{host}{path}", self.scheme)
    }

    fn drop_fetch(&mut self, cx: &mut Context) {
        if let Some(fetch) = self.fetch.take() {
            cx.channels.close(fetch.id);
        }
    }

    /// Answers with a page of our own, the last of this connection.
    fn say(&mut self, status: u16, text: &str) {
        self.output.extend(response::page(status, text).bytes());
        self.last = true;
        self.input.clear();
    }
}

/// The page for whoever sits at the guest.
fn failure(url: &str, reason: &str) -> String {
    format!(
        "{url} could not be fetched: {reason}\n\n\
         This machine runs in a web page, which fetches for it. A browser lets a page read only what the other server\n\
         allows it to (Access-Control-Allow-Origin, \"CORS\"), and a page that came by https may fetch https only.\n\n\
         What helps: a server that allows it; or a relay, through which every connection works:\n\
         -netdev user,id=..,relay=wss://.. (a wisp server)."
    )
}
