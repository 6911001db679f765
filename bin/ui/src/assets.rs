//! The page's files: from the program, or from a folder.

use anyhow::{Context, ensure};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

/// What `build.rs` found.
const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// What is served when there is no page.
const NO_PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Hubble</title>\
<h1>This program was built without its page</h1>\
<p>The page is made by node and npm: run <code>make ui</code>, then <code>make binaries</code>; or give a folder with \
<code>--assets</code>.</p>\
<p>Flows are served all the same, below <code>api/v1/</code>.</p>";

/// A file that is served.
#[derive(Clone, Debug)]
pub(crate) struct Asset {
    pub(crate) media: &'static str,
    /// Its name changes when it does.
    pub(crate) lasting: bool,
    pub(crate) bytes: Cow<'static, [u8]>,
}

/// All files, by path.
#[derive(Clone, Debug)]
pub(crate) struct Assets(BTreeMap<String, Asset>);

impl Assets {
    /// Those of `folder`, or else those in the program.
    ///
    /// # Errors
    /// The folder cannot be read, or holds no page.
    pub(crate) fn read(folder: Option<&Path>) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        match folder {
            None => {
                let embedded =
                    EMBEDDED.iter().map(|(name, bytes)| ((*name).to_owned(), Cow::Borrowed(*bytes)));
                files.extend(embedded.map(|(name, bytes)| (name.clone(), asset(&name, bytes))));
            }
            Some(folder) => {
                read(folder, "", &mut files).with_context(|| format!("--assets={}", folder.display()))?;
                ensure!(
                    files.contains_key("index.html"),
                    "--assets={} holds no index.html: run `make ui`, and name target/ui",
                    folder.display()
                );
            }
        }
        files
            .entry("index.html".to_owned())
            .or_insert_with(|| asset("index.html", Cow::Borrowed(NO_PAGE.as_bytes())));
        Ok(Self(files))
    }

    /// The file at a path below the base; the page itself at the base.
    pub(crate) fn get(&self, path: &str) -> Option<&Asset> {
        self.0.get(if path.is_empty() { "index.html" } else { path })
    }
}

fn read(folder: &Path, below: &str, files: &mut BTreeMap<String, Asset>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read(&entry.path(), &format!("{name}/"), files)?;
        } else {
            let bytes = std::fs::read(entry.path())?;
            files.insert(name.clone(), asset(&name, bytes.into()));
        }
    }
    Ok(())
}

fn asset(name: &str, bytes: Cow<'static, [u8]>) -> Asset {
    let media = match name.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    };
    Asset { media, lasting: name.starts_with("assets/"), bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_served_and_nothing_around_it() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("assets")).expect("a folder");
        assert!(Assets::read(Some(folder.path())).expect_err("no page").to_string().contains("make ui"));
        std::fs::write(folder.path().join("index.html"), "<p>").expect("written");
        std::fs::write(folder.path().join("assets/a-1.js"), "1").expect("written");
        let assets = Assets::read(Some(folder.path())).expect("a page");
        assert_eq!(assets.get("").map(|asset| asset.media), Some("text/html; charset=utf-8"));
        assert!(assets.get("assets/a-1.js").is_some_and(|asset| asset.lasting));
        assert!(assets.get("../index.html").is_none() && assets.get("assets/").is_none());
    }

    #[test]
    fn without_a_page_it_says_what_to_do() {
        assert!(NO_PAGE.contains("make ui"));
        assert!(Assets::read(None).expect("files").get("index.html").is_some());
    }
}
