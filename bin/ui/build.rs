//! Puts the page's files into the program: those of the folder that `AXONEME_UI` names (`make ui` fills it). Without it
//! there are none, and the program says so to whoever asks for the page; so it compiles where there is no node.

use std::fmt::Write;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=AXONEME_UI");
    let mut text = String::from("&[\n");
    if let Some(folder) = std::env::var_os("AXONEME_UI").filter(|folder| !folder.is_empty()) {
        let folder = PathBuf::from(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        let mut files = Vec::new();
        if let Err(error) = list(&folder, &mut files) {
            println!("cargo::error=AXONEME_UI={}: {error}: run `make ui` first", folder.display());
        }
        files.sort();
        for file in files {
            let name = file.strip_prefix(&folder).unwrap_or(&file).display().to_string();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "    ({name:?}, include_bytes!({:?})),", file.display().to_string());
        }
    }
    text.push(']');
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    if let Err(error) = std::fs::write(out.join("files.rs"), text) {
        println!("cargo::error=cannot write to OUT_DIR: {error}");
    }
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(std::path::absolute(path)?) }
    }
    Ok(())
}
