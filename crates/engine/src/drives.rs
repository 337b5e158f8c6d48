//! The machine's disks, on files that the host opens.

use crate::host::file::FileHost;
use options::DriveFormat;
use std::cell::RefCell;
use std::rc::Rc;
use storage::{BlockBackend, BlockError, Disk, Drive, Ended, Executor, Format, HostFiles, Opener};

/// Disks that are being opened, by the order of the drives.
type Opening = Rc<RefCell<Vec<Option<Result<Disk, BlockError>>>>>;

/// What waits for the host, and what the host has to say.
pub struct Drives {
    files: HostFiles,
    executor: Rc<Executor>,
    opening: Option<Opening>,
}

impl Drives {
    pub fn new() -> Self {
        Self { files: HostFiles::new(Rc::new(FileHost)), executor: Rc::default(), opening: None }
    }

    /// Forgets what is being opened.
    pub fn close(&mut self) {
        self.opening = None;
    }

    pub fn answer(&self, request: u32, ended: Ended) {
        self.files.answer(request, ended);
    }

    /// A disk for each drive; nothing while the host has to answer first. An error's text names the option and the file.
    pub fn open(&mut self, drives: &[options::Drive]) -> Option<Result<Vec<Box<dyn BlockBackend>>, String>> {
        let opening = self.opening.take().unwrap_or_else(|| self.begin(drives));
        self.executor.run();
        if opening.borrow().iter().any(Option::is_none) {
            self.opening = Some(opening);
            return None;
        }
        let disk = |disk: Result<Disk, BlockError>| match disk {
            Ok(disk) => Ok(Box::new(disk) as Box<dyn BlockBackend>),
            Err(error) => Err(format!("-drive: {error}")),
        };
        let opened = opening.take();
        Some(opened.into_iter().flatten().map(disk).collect())
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
    }
}
