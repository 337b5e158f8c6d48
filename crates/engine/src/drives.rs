//! The machine's disks, on files that the host opens.

use crate::host::disks;
use crate::host::file::FileHost;
use options::DriveFormat;
use std::cell::RefCell;
use std::rc::Rc;
use storage::{
    Access, BlockBackend, BlockError, Contents, Disk, Drive, Ended, Executor, Files, Format, HostFiles, Layer, Opener,
    Pace,
};

/// Disks that are being opened, by the order of the drives.
type Opening = Rc<RefCell<Vec<Option<Result<Disk, BlockError>>>>>;

/// What waits for the host, and what the host has to say.
pub struct Drives {
    files: HostFiles,
    executor: Rc<Executor>,
    opening: Option<Opening>,
    /// What the machine's disks hold, for the host.
    contents: Vec<Contents>,
}

impl Drives {
    pub fn new() -> Self {
        Self { files: HostFiles::new(Rc::new(FileHost)), executor: Rc::default(), opening: None, contents: Vec::new() }
    }

    /// Forgets what is open and what is being opened.
    pub fn close(&mut self) {
        self.opening = None;
        self.contents.clear();
    }

    pub fn contents(&self, disk: u32) -> Option<&Contents> {
        self.contents.get(disk as usize)
    }

    /// Bytes that the guest has read and written, on all disks.
    pub fn traffic(&self) -> (u64, u64) {
        let sum = |(read, written): (u64, u64), disk: &Contents| {
            let traffic = disk.traffic();
            (read.saturating_add(traffic.read.get()), written.saturating_add(traffic.written.get()))
        };
        self.contents.iter().fold((0, 0), sum)
    }

    /// Reads a disk for the host, which is told by `request`.
    pub fn read(&self, disk: u32, offset: u64, len: u32, request: u32) {
        self.begin_for_host(disk, request, async move |disk| disk.read(offset, len).await);
    }

    /// Writes a disk's overlay to the host's file `name`.
    pub fn export(&self, disk: u32, name: &str, request: u32) {
        let (files, name) = (self.files.clone(), name.to_owned());
        self.begin_for_host(disk, request, async move |disk| {
            match files.open(&name, "", Access::Create).await?.layer {
                Layer::ReadWrite(target) => disk.export(target).await.map(|()| Vec::new()),
                Layer::ReadOnly(_) => {
                    Err(BlockError::ReadOnly { image: name, why: "the host does not let it be written" })
                }
            }
        });
    }

    fn begin_for_host(
        &self,
        disk: u32,
        request: u32,
        act: impl AsyncFnOnce(&Contents) -> Result<Vec<u8>, BlockError> + 'static,
    ) {
        let Some(contents) = self.contents(disk).cloned() else {
            return disks::failed(request, &format!("there is no drive number {disk}"));
        };
        self.executor.spawn(async move {
            match act(&contents).await {
                Ok(data) => disks::done(request, &data),
                Err(error) => disks::failed(request, &error.to_string()),
            }
        });
        self.executor.run();
    }

    pub fn answer(&self, request: u32, ended: Ended) {
        self.files.answer(request, ended);
        // what the host asked for goes on while the guest stands still
        self.executor.run();
    }

    /// The next bytes of a read.
    pub fn part(&self, request: u32, bytes: Vec<u8>) {
        self.files.part(request, bytes);
        self.executor.run();
    }

    /// How it went with a read whose answer is next.
    pub fn pace(&self, request: u32, pace: Pace) {
        self.files.pace(request, pace);
    }

    /// A disk for each drive; nothing while the host has to answer first. An error's text names the option and the file.
    pub fn open(&mut self, drives: &[options::Drive]) -> Option<Result<Vec<Box<dyn BlockBackend>>, String>> {
        let opening = self.opening.take().unwrap_or_else(|| self.begin(drives));
        self.executor.run();
        if opening.borrow().iter().any(Option::is_none) {
            self.opening = Some(opening);
            return None;
        }
        let opened: Result<Vec<Disk>, BlockError> = opening.take().into_iter().flatten().collect();
        Some(match opened {
            Ok(disks) => {
                self.contents = disks.iter().map(Disk::contents).collect();
                Ok(disks.into_iter().map(|disk| Box::new(disk) as Box<dyn BlockBackend>).collect())
            }
            Err(error) => Err(format!("-drive: {error}")),
        })
    }

    pub fn opener(&self) -> Opener {
        Opener { files: Rc::new(self.files.clone()), executor: self.executor.clone() }
    }

    fn begin(&self, drives: &[options::Drive]) -> Opening {
        let opening: Opening = Rc::new(RefCell::new(drives.iter().map(|_| None).collect()));
        for (index, drive) in drives.iter().enumerate() {
            let (to, drive) = (opening.clone(), described(drive));
            let opener = self.opener();
            self.executor.spawn(async move {
                let disk = opener.drive(&drive).await;
                if let Some(place) = to.borrow_mut().get_mut(index) {
                    *place = Some(disk);
                }
            });
        }
        opening
    }
}

/// A drive as `storage` knows it.
pub fn described(drive: &options::Drive) -> Drive {
    Drive {
        file: drive.file.clone(),
        format: drive.format.map(|format| match format {
            DriveFormat::Raw => Format::Raw,
            DriveFormat::Qcow2 => Format::Qcow2,
            DriveFormat::Chunked => Format::Chunked,
        }),
        read_only: drive.read_only,
        snapshot: drive.snapshot,
        overlay: drive.overlay.clone(),
        forget: drive.forget,
    }
}
