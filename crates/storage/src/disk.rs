//! Requests as futures over an image: the [`BlockBackend`] of everything.

use crate::io::{read_padded, room};
use crate::{
    BlockBackend, BlockError, Completion, Contents, Executor, Memory, Overlay, Request, Result, SECTOR, Source, Store,
    Tag, Traffic,
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// An opened image.
#[derive(Clone)]
pub enum Layer {
    ReadOnly(Rc<dyn Source>),
    ReadWrite(Rc<dyn Store>),
}

impl Layer {
    pub fn source(&self) -> Rc<dyn Source> {
        match self {
            Self::ReadOnly(source) => source.clone(),
            Self::ReadWrite(store) => store.clone(),
        }
    }

    fn store(&self) -> Result<&dyn Store> {
        match self {
            Self::ReadWrite(store) => Ok(&**store),
            Self::ReadOnly(source) => {
                Err(BlockError::ReadOnly { image: source.name().to_owned(), why: "it was opened so" })
            }
        }
    }
}

/// A disk that is an image. Clones of the executor are shared by all disks of a machine.
pub struct Disk {
    layer: Layer,
    overlay: Option<Rc<Overlay>>,
    capacity: u64,
    traffic: Rc<Traffic>,
    executor: Rc<Executor>,
    ended: Rc<RefCell<VecDeque<Completion>>>,
}

impl Disk {
    /// An image whose last sector is not whole reads as if zeros filled it.
    pub fn new(layer: Layer, executor: Rc<Executor>) -> Self {
        let capacity = layer.source().size().div_ceil(SECTOR).saturating_mul(SECTOR);
        Self { layer, overlay: None, capacity, traffic: Rc::default(), executor, ended: Rc::default() }
    }

    /// The same, where what is written goes to `overlay`, which is or is in the image.
    pub fn with_overlay(self, overlay: Option<Rc<Overlay>>) -> Self {
        Self { overlay, ..self }
    }

    /// The disk as others than the guest see it.
    pub fn contents(&self) -> Contents {
        let overlay = self.overlay.clone();
        Contents::new(self.layer.source(), overlay, self.capacity, self.read_only(), self.traffic.clone())
    }

    /// A raw image that is in memory as a whole, with an executor of its own.
    pub fn memory(name: impl Into<String>, bytes: Vec<u8>, read_only: bool) -> Self {
        let memory = Rc::new(Memory::new(name, bytes));
        let layer = if read_only { Layer::ReadOnly(memory) } else { Layer::ReadWrite(memory) };
        Self::new(layer, Rc::default())
    }

    fn check(&self, request: &Request) -> Result<()> {
        let (offset, len) = match *request {
            Request::Read { offset, len } => (offset, len as u64),
            Request::Write { offset, ref data } => (offset, data.len() as u64),
            Request::Discard { offset, len } | Request::WriteZeroes { offset, len } => (offset, len),
            Request::Flush => return Ok(()),
        };
        if offset.checked_add(len).is_some_and(|end| end <= self.capacity) {
            return Ok(());
        }
        let image = self.layer.source().name().to_owned();
        Err(BlockError::OutOfRange { image, offset, len, capacity: self.capacity })
    }
}

impl BlockBackend for Disk {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn read_only(&self) -> bool {
        matches!(self.layer, Layer::ReadOnly(_))
    }

    fn submit(&mut self, tag: Tag, request: Request) {
        if let Err(error) = self.check(&request) {
            self.ended.borrow_mut().push_back(Completion { tag, result: Err(error) });
            return;
        }
        self.traffic.count(&request);
        let (layer, ended) = (self.layer.clone(), self.ended.clone());
        self.executor.spawn(async move {
            let result = perform(&layer, request).await;
            ended.borrow_mut().push_back(Completion { tag, result });
        });
    }

    fn poll(&mut self) -> Option<Completion> {
        if self.ended.borrow().is_empty() {
            self.executor.run();
        }
        self.ended.borrow_mut().pop_front()
    }
}

async fn perform(layer: &Layer, request: Request) -> Result<Vec<u8>> {
    match request {
        Request::Read { offset, len } => {
            let source = layer.source();
            let mut data = room(source.name(), len as u64)?;
            read_padded(&*source, offset, &mut data).await?;
            return Ok(data);
        }
        Request::Write { offset, data } => layer.store()?.write_at(offset, &data).await?,
        Request::Flush => match layer {
            Layer::ReadWrite(store) => store.flush().await?,
            Layer::ReadOnly(_) => {}
        },
        Request::Discard { offset, len } => layer.store()?.discard(offset, len).await?,
        Request::WriteZeroes { offset, len } => layer.store()?.write_zeroes(offset, len).await?,
    }
    Ok(Vec::new())
}
