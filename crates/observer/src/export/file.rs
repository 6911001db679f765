//! A file that is put aside when it is full.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

/// A file, and those put aside: `flows.log` becomes `flows-1136214245120000000.log`, by the time.
#[derive(Debug)]
pub(super) struct Rotated {
    path: PathBuf,
    /// `None` for the standard output.
    file: Option<File>,
    size: u64,
    largest: u64,
    backups: usize,
}

impl Rotated {
    pub(super) fn open(path: PathBuf, largest: u64, backups: usize) -> io::Result<Self> {
        if path.as_os_str() == "stdout" {
            return Ok(Self { path, file: None, size: 0, largest, backups });
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file: Some(file), size, largest, backups })
    }

    /// Writes lines; none of them is parted between two files.
    pub(super) fn write(&mut self, lines: &[Vec<u8>]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            let mut out = io::stdout().lock();
            lines.iter().try_for_each(|line| out.write_all(line))?;
            return out.flush();
        };
        let mut text = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            if self.size > 0 && self.size + line.len() as u64 > self.largest {
                file.write_all(&text)?;
                self.put_aside()?;
                return self.write(&lines[index..]);
            }
            self.size += line.len() as u64;
            text.extend_from_slice(line);
        }
        file.write_all(&text)
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let part = |part: Option<&OsStr>| part.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
        let (stem, ending) = (part(self.path.file_stem()), part(self.path.extension()));
        let ending = if ending.is_empty() { ending } else { format!(".{ending}") };
        let aside = self.path.with_file_name(format!("{stem}-{:020}{ending}", crate::now()));
        std::fs::rename(&self.path, aside)?;
        self.file = Some(OpenOptions::new().create(true).append(true).open(&self.path)?);
        self.size = 0;
        self.forget(&format!("{stem}-"), &ending)
    }

    /// Removes the oldest of the files put aside. Only what this has named is touched.
    fn forget(&self, start: &str, ending: &str) -> io::Result<()> {
        let Some(folder) = self.path.parent() else { return Ok(()) };
        let is_ours = |name: &str| {
            let time = name.strip_prefix(start).and_then(|rest| rest.strip_suffix(ending));
            time.is_some_and(|time| time.len() == 20 && time.bytes().all(|b| b.is_ascii_digit()))
        };
        let mut aside = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if is_ours(&entry.file_name().to_string_lossy()) {
                aside.push(entry.path());
            }
        }
        aside.sort();
        let old = aside.len().saturating_sub(self.backups);
        aside.iter().take(old).try_for_each(std::fs::remove_file)
    }
}
