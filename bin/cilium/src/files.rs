//! Files of objects.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use whatif::Documents;

/// A file and its documents.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) documents: Documents,
}

/// Reads files, the YAML and JSON files of folders in order, and standard input for `-`.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        let files = if path.is_dir() { of_folder(path)? } else { vec![path.clone()] };
        ensure!(!files.is_empty(), "{} holds no .yaml, .yml or .json file", path.display());
        for file in files {
            let documents = Documents::read(&text(&file)?);
            sources.push(Source { name: file.display().to_string(), documents });
        }
    }
    Ok(sources)
}

/// The text of a file, or of standard input.
pub(crate) fn text(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        return std::io::read_to_string(std::io::stdin()).context("cannot read standard input");
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn of_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = || format!("cannot list {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        let known =
            path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known));
        if known && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
