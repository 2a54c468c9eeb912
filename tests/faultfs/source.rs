//! The files of a directory, read-only: for programs on storage that fails.

use crate::files::attributes;
use fuser::{FileAttr, FileType, INodeNo};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const FIRST: u64 = 100;

#[derive(Default)]
pub(crate) struct Source {
    files: Vec<(OsString, File)>,
}

impl Source {
    pub(crate) fn open(directory: Option<&Path>) -> io::Result<Source> {
        let Some(directory) = directory else { return Ok(Source::default()) };
        let open = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            Ok((entry.file_name(), File::open(entry.path())?))
        };
        Ok(Source { files: fs::read_dir(directory)?.map(open).collect::<io::Result<_>>()? })
    }

    pub(crate) fn inodes(&self) -> impl Iterator<Item = INodeNo> {
        (FIRST..).map(INodeNo).take(self.files.len())
    }

    pub(crate) fn lookup(&self, name: &OsStr) -> Option<FileAttr> {
        let index = self.files.iter().position(|(found, _)| found == name)?;
        self.attributes(INodeNo(FIRST + index as u64))
    }

    pub(crate) fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let size = self.file(inode)?.metadata().ok()?.len();
        let blocks = size.div_ceil(512);
        Some(FileAttr { size, blocks, ..attributes(inode, FileType::RegularFile, 0o755) })
    }

    pub(crate) fn read(&self, inode: INodeNo, offset: u64, size: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; size];
        let length = self.file(inode)?.read_at(&mut bytes, offset).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }

    fn file(&self, inode: INodeNo) -> Option<&File> {
        let index = usize::try_from(inode.0.checked_sub(FIRST)?).ok()?;
        self.files.get(index).map(|(_, file)| file)
    }
}
