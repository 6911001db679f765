//! Blocks in files. A block is a header (what it is, its length, a checksum, its times) and its bytes.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Begins every block; another format has another one.
const MAGIC: [u8; 4] = *b"AXH1";
/// Magic, length, checksum, first and last time.
const HEADER: usize = 4 + 4 + 8 + 8 + 8;
/// A block is never this large; what claims to be is damaged.
const LARGEST_BLOCK: u32 = 256 << 20;
/// The whole room is shared by so many files: when there is no more, one of them goes.
const FILES: u64 = 16;
const ENDING: &str = ".flows";

/// Where a block is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(super) path: Arc<Path>,
    at: u64,
    length: u32,
    checksum: u64,
    first: u64,
    last: u64,
}

#[derive(Debug)]
struct Segment {
    path: Arc<Path>,
    size: u64,
    blocks: Vec<Place>,
}

/// The files of a folder, oldest first.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    largest: u64,
    segments: VecDeque<Segment>,
    /// The newest, if it is open for more.
    open: Option<File>,
}

impl Files {
    pub(super) fn open(folder: PathBuf, largest: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut paths = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            // Other files are somebody else's.
            if number.is_some_and(|n| n.len() == 20 && n.bytes().all(|b| b.is_ascii_digit())) {
                paths.push(entry.path());
            }
        }
        paths.sort();
        let segments = paths.into_iter().map(|path| segment(path.into())).collect::<io::Result<_>>()?;
        let mut files = Self { folder, largest, segments, open: None };
        files.forget(0)?;
        Ok(files)
    }

    pub(super) fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    pub(super) fn between(&self, since: u64, until: u64) -> impl Iterator<Item = Place> {
        let blocks = self.segments.iter().flat_map(|segment| &segment.blocks);
        blocks.filter(move |block| block.first <= until && block.last >= since).cloned()
    }

    pub(super) fn append(&mut self, bytes: &[u8], first: u64, last: u64) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length < LARGEST_BLOCK);
        let length = length.ok_or_else(|| io::Error::other("a block of flows is too large"))?;
        let whole = HEADER as u64 + u64::from(length);
        if whole > self.largest {
            return Err(io::Error::other(format!(
                "the history of flows may have {} bytes, and {whole} are to be written at once: give it more room",
                self.largest
            )));
        }
        self.forget(whole)?;
        if self.segments.back().is_none_or(|segment| segment.size + whole > self.largest / FILES) {
            self.open = None;
        }
        if self.open.is_none() {
            self.begin(first)?;
        }
        let (Some(file), Some(segment)) = (&mut self.open, self.segments.back_mut()) else {
            return Err(io::Error::other("no file is open"));
        };
        let checksum = checksum(bytes);
        let mut block = Vec::with_capacity(HEADER + bytes.len());
        block.extend_from_slice(&MAGIC);
        block.extend_from_slice(&length.to_le_bytes());
        for number in [checksum, first, last] {
            block.extend_from_slice(&number.to_le_bytes());
        }
        block.extend_from_slice(bytes);
        if let Err(error) = file.write_all(&block) {
            // Half a block would hide what comes after it.
            let cut = file.set_len(segment.size);
            self.open = None;
            return cut.and(Err(error));
        }
        let at = segment.size + HEADER as u64;
        segment.blocks.push(Place { path: segment.path.clone(), at, length, checksum, first, last });
        segment.size += whole;
        Ok(())
    }

    /// Begins a file. Its name is later than that of all others, also when the clock was set back.
    fn begin(&mut self, first: u64) -> io::Result<()> {
        let newest = self.segments.back().and_then(|segment| number(&segment.path));
        let number = newest.map_or(first, |newest| first.max(newest + 1));
        let path = self.folder.join(format!("{number:020}{ENDING}"));
        self.open = Some(OpenOptions::new().create_new(true).append(true).open(&path)?);
        self.segments.push_back(Segment { path: path.into(), size: 0, blocks: Vec::new() });
        Ok(())
    }

    /// Removes the oldest files until there is room for so many bytes.
    fn forget(&mut self, room: u64) -> io::Result<()> {
        while self.size() + room > self.largest {
            let Some(oldest) = self.segments.pop_front() else { return Ok(()) };
            if self.segments.is_empty() {
                self.open = None;
            }
            match fs::remove_file(&oldest.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The bytes of a block, as they were written.
pub(super) fn read(place: &Place) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; place.length as usize];
    File::open(&place.path)?.read_exact_at(&mut bytes, place.at)?;
    match checksum(&bytes) == place.checksum {
        true => Ok(bytes),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum is another")),
    }
}

/// Looks a file through, and cuts what is no whole block off its end: the agent was killed while it wrote that.
fn segment(path: Arc<Path>) -> io::Result<Segment> {
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    let end = file.metadata()?.len();
    let (mut size, mut blocks) = (0, Vec::new());
    while let Some(block) = next(&mut file, &path, size, end)? {
        size = block.at + u64::from(block.length);
        blocks.push(block);
    }
    // Only the last one can be torn, for each is written after the one before it.
    if let Some(last) = blocks.last().filter(|last| read(last).is_err()) {
        size = last.at - HEADER as u64;
        blocks.pop();
    }
    if size < end {
        file.set_len(size)?;
    }
    Ok(Segment { path, size, blocks })
}

fn next(file: &mut File, path: &Arc<Path>, at: u64, end: u64) -> io::Result<Option<Place>> {
    if at + HEADER as u64 > end {
        return Ok(None);
    }
    let mut header = [0; HEADER];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut header)?;
    let word = |at: usize| header[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
    let length = header[4..8].try_into().map_or(0, u32::from_le_bytes);
    let place = Place {
        path: path.clone(),
        at: at + HEADER as u64,
        length,
        checksum: word(8),
        first: word(16),
        last: word(24),
    };
    let whole = header[..4] == MAGIC && place.at + u64::from(length) <= end;
    Ok(whole.then_some(place))
}

fn number(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// FNV-1a: finds what a torn write leaves.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
