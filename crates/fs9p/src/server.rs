//! The server: requests in, replies out, several at once.

mod attributes;
mod fids;
mod io;
mod locks;
mod names;
mod session;
mod xattrs;

use crate::wire::{self, Reply, Request, Undecodable};
use crate::{Errno, FileTree};
use session::Session;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// By what the transport knows a request: it comes back with the reply. Unlike a tag, it is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

/// The greatest message in bytes that the server agrees to.
pub const MSIZE_MAX: u32 = 1 << 20;
/// The least that a client may ask for, as with QEMU: a name or a link's target fits.
pub const MSIZE_MIN: u32 = 4096;
/// Requests under way at once; a transport has far fewer.
const IN_FLIGHT_MAX: usize = 1024;
/// Bytes of their messages, and of the data that they ask for: as much as 128 requests of 125 pages, the most that Linux's
/// client has under way (`VIRTQUEUE_NUM`).
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// Serves one client on a tree.
///
/// What the tree answers at once is there at the next [`poll`](Self::poll). The rest waits until the tree wakes its
/// futures; call `poll` then.
pub struct Server<T: FileTree> {
    session: Rc<Session<T>>,
    tasks: Vec<Task>,
    done: VecDeque<(RequestId, Vec<u8>)>,
    woken: Arc<Woken>,
    read_only: bool,
}

/// A request that waits for its tree.
struct Task {
    id: RequestId,
    tag: u16,
    /// It changes nothing, so it can be given up.
    reads: bool,
    reply: Pin<Box<dyn Future<Output = Vec<u8>>>>,
    /// Of its message, and of the data that it asks for.
    bytes: usize,
    /// The `Tflush` of this request: answered after it.
    flushes: Vec<(RequestId, u16)>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<T: FileTree> Server<T> {
    /// A server of `tree` whose client has yet to say `Tversion`.
    pub fn new(tree: T) -> Self {
        let session = Rc::new(Session::new(Rc::new(tree), 0));
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        Self { session, tasks: Vec::new(), done: VecDeque::new(), woken, read_only: false }
    }

    /// The same server, which answers EROFS to whatever would change the tree.
    pub fn read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }

    /// Takes a request: a whole message, which may be followed by bytes that do not belong to it. Whatever they are, there will be
    /// one reply with this `id`.
    pub fn submit(&mut self, id: RequestId, mut message: Vec<u8>) {
        let size = wire::split(&message).map_or(0, |(.., fields)| wire::HEADER + fields.len());
        message.truncate(size);
        message.shrink_to_fit(); // a request that waits keeps its message
        let Some((kind, tag, fields)) = wire::split(&message) else {
            return self.refuse(id, wire::NOTAG, Errno::EBADMSG);
        };
        let msize = self.session.msize();
        let request = match Request::decode(kind, fields) {
            Ok(Request::Tversion { msize, version }) => {
                let reply = self.version(tag, msize, version);
                return self.done.push_back((id, reply));
            }
            Ok(_) if msize == 0 => Err(Errno::EPROTO),
            Ok(_) if message.len() > msize as usize => Err(Errno::EMSGSIZE),
            Ok(Request::Tflush { oldtag }) => return self.flush(id, tag, oldtag),
            Ok(_) if self.tasks.iter().any(|task| task.tag == tag) => Err(Errno::EINVAL),
            Ok(request) => {
                let bytes = message.capacity() + self.session.wanted(&request);
                if self.is_full(bytes) {
                    Err(Errno::EAGAIN)
                } else if self.read_only && session::changes(&request) {
                    Err(Errno::EROFS)
                } else {
                    Ok((session::only_reads(&request), bytes))
                }
            }
            Err(Undecodable::Type) => Err(Errno::EOPNOTSUPP),
            Err(Undecodable::Fields) => Err(Errno::EBADMSG),
        };
        match request {
            Ok((reads, bytes)) => {
                let reply = Box::pin(self.session.clone().answer(message));
                let task = Task { id, tag, reads, reply, bytes, flushes: Vec::new() };
                self.start(task);
            }
            Err(errno) => self.refuse(id, tag, errno),
        }
    }

    /// The next reply. An empty one means that the client has given the request up and expects none: what it lent for the
    /// reply goes back to it with zero bytes.
    pub fn poll(&mut self) -> Option<(RequestId, Vec<u8>)> {
        while self.done.is_empty() && self.woken.0.swap(false, Ordering::Relaxed) {
            for task in std::mem::take(&mut self.tasks) {
                self.start(task);
            }
        }
        self.done.pop_front()
    }

    /// Whether requests wait for the tree.
    pub fn is_busy(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Forgets the client: fids, locks and requests, without a reply. For a reset of the transport.
    pub fn reset(&mut self) {
        self.tasks.clear();
        self.done.clear();
        self.session = Rc::new(Session::new(self.session.tree.clone(), 0));
    }

    /// Whether there is no room for one more request, of so many bytes.
    fn is_full(&self, bytes: usize) -> bool {
        let requests: usize = self.tasks.iter().map(|task| 1 + task.flushes.len()).sum();
        let held: usize = self.tasks.iter().map(|task| task.bytes).sum();
        requests >= IN_FLIGHT_MAX || held + bytes > IN_FLIGHT_BYTES_MAX
    }

    /// Goes on with a request as far as it goes.
    fn start(&mut self, mut task: Task) {
        let waker = Waker::from(self.woken.clone());
        match task.reply.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(reply) => self.finish(task, reply),
            Poll::Pending => self.tasks.push(task),
        }
    }

    fn finish(&mut self, task: Task, reply: Vec<u8>) {
        self.done.push_back((task.id, reply));
        self.done.extend(task.flushes.into_iter().map(|(id, tag)| (id, Reply::Rflush {}.encode(tag))));
    }

    fn refuse(&mut self, id: RequestId, tag: u16, errno: Errno) {
        self.done.push_back((id, Reply::Rlerror { ecode: errno.0 }.encode(tag)));
    }

    /// Begins a session, which ends the one before: version(5).
    fn version(&mut self, tag: u16, msize: u32, version: &[u8]) -> Vec<u8> {
        for task in std::mem::take(&mut self.tasks) {
            self.finish(task, Vec::new());
        }
        let understood = version == wire::VERSION;
        if understood && msize < MSIZE_MIN {
            return Reply::Rlerror { ecode: Errno::EMSGSIZE.0 }.encode(tag);
        }
        let msize = msize.min(MSIZE_MAX);
        self.session = Rc::new(Session::new(self.session.tree.clone(), if understood { msize } else { 0 }));
        let version = if understood { wire::VERSION } else { wire::UNKNOWN_VERSION };
        Reply::Rversion { msize, version }.encode(tag)
    }

    /// flush(5): a request that only reads is given up; the reply to another comes first, since what it does will have
    /// happened.
    fn flush(&mut self, id: RequestId, tag: u16, oldtag: u16) {
        let old = self.tasks.iter().position(|task| task.tag == oldtag);
        match old.map(|at| (at, self.tasks[at].reads)) {
            Some((at, true)) => {
                let task = self.tasks.remove(at);
                self.finish(task, Vec::new());
                self.done.push_back((id, Reply::Rflush {}.encode(tag)));
            }
            Some((_, false)) if self.is_full(0) => self.refuse(id, tag, Errno::EAGAIN),
            Some((at, false)) => self.tasks[at].flushes.push((id, tag)),
            None => self.done.push_back((id, Reply::Rflush {}.encode(tag))),
        }
    }
}
