//! Container images made by hand: one layer of programs, as an OCI archive that containerd imports.

pub(crate) mod e2e;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::run::{root, tool};

/// The image of every pod's first container.
pub(crate) const PAUSE: &str = "localhost/axoneme/pause:dev";
/// Busybox and our `probe`: clients and servers of the tests.
pub(crate) const TEST: &str = "localhost/axoneme/test:dev";
/// Agent, operator, plugin and tools.
pub(crate) const AXONEME: &str = "localhost/axoneme/cilium:dev";
/// The cluster's DNS server.
pub(crate) const COREDNS: &str = "localhost/axoneme/coredns:dev";

const BUSYBOX: &str = "busybox";
/// Applets of the agent's image: what an init container or a person in a shell asks for.
const SHELL: &str = "sh cat uname ip ls cp mv rm mkdir mount umount grep sed ps sleep env test [ echo chmod ln readlink stat tr head tail hostname sysctl sync touch true false id df";
/// Applets of the test image.
const TEST_SHELL: &str = "sh cat ip ls cp mv rm mkdir mount grep sed awk ps sleep env test [ echo ping ping6 nc nslookup httpd traceroute wc head tail tr hostname date kill seq timeout true false id netstat xargs sort uniq";

/// What an image is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    /// Full names.
    pub names: Vec<String>,
    /// File of the archive, below `target/images`.
    pub file: &'static str,
    /// Files: place in the image, source on the host.
    pub files: Vec<(String, PathBuf)>,
    /// Small files: place in the image, text.
    pub texts: Vec<(&'static str, &'static str)>,
    /// Symbolic links: place in the image, target.
    pub links: Vec<(String, String)>,
    /// Program and first arguments.
    pub entrypoint: Vec<&'static str>,
    /// Further arguments, unless a container has its own.
    pub command: Vec<&'static str>,
}

/// Where the static release binaries are; `AXONEME_BIN` names another place.
pub(crate) fn binaries() -> PathBuf {
    let usual = || root().join("target/x86_64-unknown-linux-gnu/release");
    std::env::var_os("AXONEME_BIN").map_or_else(usual, PathBuf::from)
}

/// The images that the lab knows; `with_axoneme` as they need our binaries built.
pub(crate) fn all(with_axoneme: bool, with_dns: bool) -> Result<Vec<Image>> {
    let busybox = tool(BUSYBOX)?;
    let applets =
        |names: &str| names.split(' ').map(|n| (format!("bin/{n}"), BUSYBOX.to_owned())).collect::<Vec<_>>();
    let probe = binaries().join("probe");
    let mut images = vec![
        Image {
            names: vec![PAUSE.into()],
            file: "pause.tar",
            files: vec![("pause".into(), probe.clone())],
            entrypoint: vec!["/pause", "pause"],
            ..Image::default()
        },
        Image {
            names: vec![TEST.into()],
            file: "test.tar",
            files: vec![("bin/busybox".into(), busybox.clone()), ("bin/probe".into(), probe)],
            links: applets(TEST_SHELL),
            entrypoint: vec!["/bin/probe"],
            ..Image::default()
        },
    ];
    if with_dns {
        images.push(Image {
            names: vec![COREDNS.into()],
            file: "coredns.tar",
            files: vec![("coredns".into(), tool("coredns")?)],
            entrypoint: vec!["/coredns"],
            ..Image::default()
        });
    }
    if with_axoneme {
        images.push(axoneme(busybox, applets(SHELL)));
    }
    Ok(images)
}

fn axoneme(busybox: PathBuf, mut links: Vec<(String, String)>) -> Image {
    let programs = [
        ("usr/bin/cilium-agent", "cilium-agent"),
        ("usr/bin/cilium-operator", "cilium-operator"),
        ("usr/bin/cilium-operator-generic", "cilium-operator"),
        ("usr/bin/cilium-dbg", "cilium-dbg"),
        ("usr/bin/hubble", "hubble"),
        ("usr/bin/hubble-relay", "hubble-relay"),
        ("usr/bin/hubble-ui", "hubble-ui"),
        ("opt/cni/bin/cilium-cni", "cilium-cni"),
    ];
    let (linked, real): (Vec<_>, Vec<_>) =
        programs.iter().partition(|(place, _)| place.ends_with("-generic"));
    links.extend(linked.into_iter().map(|(place, target)| ((*place).to_owned(), (*target).to_owned())));
    links
        .extend(["cilium", "cilium-health"].map(|name| (format!("usr/bin/{name}"), "cilium-dbg".to_owned())));
    let mut files: Vec<_> = real.into_iter().map(|(p, f)| ((*p).to_owned(), binaries().join(f))).collect();
    files.push(("var/lib/cilium/axoneme.o".into(), root().join("target/bpf/axoneme.o")));
    files.push(("bin/busybox".into(), busybox));
    Image { names: vec![AXONEME.into()], file: "cilium.tar", files, links, ..Image::default() }
}

/// Builds the archives that are older than what they are made of; returns their paths.
pub(crate) fn build(images: &[Image]) -> Result<Vec<PathBuf>> {
    let dir = root().join("target/images");
    fs::create_dir_all(&dir)?;
    // Labs that come up side by side share the archives.
    let lock = File::create(dir.join("lock"))?;
    lock.lock().context("cannot lock target/images")?;
    images.iter().map(|image| image.build(&dir)).collect()
}

impl Image {
    fn build(&self, dir: &Path) -> Result<PathBuf> {
        let (archive, stamp_file) = (dir.join(self.file), dir.join(format!("{}.stamp", self.file)));
        let stamp = self.stamp()?;
        if archive.is_file() && fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
            return Ok(archive);
        }
        let layer = dir.join(format!("{}.layer", self.file));
        self.write_layer(&layer).with_context(|| format!("cannot make the layer of {}", self.file))?;
        // Under another name first: an interrupted build must not look like a finished one.
        let partial = dir.join(format!("{}.part", self.file));
        self.write_archive(&layer, &partial)
            .with_context(|| format!("cannot make the archive of {}", self.file))?;
        fs::remove_file(&layer)?;
        fs::rename(&partial, &archive)?;
        fs::write(&stamp_file, stamp)?;
        Ok(archive)
    }

    /// Says whether an archive is still good: names, sizes and times of all parts.
    fn stamp(&self) -> Result<String> {
        let Self { names, file: _, files: _, texts, links, entrypoint, command } = self;
        let mut stamp = format!("{names:?} {entrypoint:?} {command:?} {links:?} {texts:?}\n");
        for (place, source) in &self.files {
            let meta = fs::metadata(source).with_context(|| {
                format!("{} is not built: run `tools/setup.sh` and `tools/binaries.sh`", source.display())
            })?;
            ensure!(meta.is_file(), "{} is not a file", source.display());
            let changed = meta.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
            stamp.push_str(&format!("{place} {} {} {changed}\n", source.display(), meta.len()));
        }
        Ok(stamp)
    }

    fn write_layer(&self, path: &Path) -> Result<()> {
        let mut tar = tar::Builder::new(std::io::BufWriter::new(File::create(path)?));
        for dir in [
            "tmp",
            "bin",
            "usr",
            "usr/bin",
            "etc",
            "var",
            "var/lib",
            "var/lib/cilium",
            "run",
            "proc",
            "sys",
            "dev",
        ] {
            let mut head = header(tar::EntryType::Directory, 0, if dir == "tmp" { 0o1777 } else { 0o755 });
            tar.append_data(&mut head, format!("{dir}/"), std::io::empty())?;
        }
        for (place, source) in &self.files {
            let file = File::open(source)?;
            let mut head = header(tar::EntryType::Regular, file.metadata()?.len(), 0o755);
            tar.append_data(&mut head, place, file)?;
        }
        for (place, text) in &self.texts {
            append(&mut tar, place, text.as_bytes())?;
        }
        for (place, target) in &self.links {
            let mut head = header(tar::EntryType::Symlink, 0, 0o777);
            tar.append_link(&mut head, place, target)?;
        }
        tar.into_inner()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        Ok(())
    }

    fn write_archive(&self, layer: &Path, path: &Path) -> Result<()> {
        let (layer_digest, layer_size) = digest_file(layer)?;
        let config = serde_json::to_vec(&json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "Cmd": self.command,
                "Env": ["PATH=/usr/bin:/bin"],
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &digest(&config), config.len() as u64),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer_digest, layer_size)],
        }))?;
        let entry = descriptor(
            "application/vnd.oci.image.manifest.v1+json",
            &digest(&manifest),
            manifest.len() as u64,
        );
        let named = |name: &String| {
            let mut entry = entry.clone();
            entry["annotations"] = json!({
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name.rsplit(':').next(),
            });
            entry
        };
        let entries: Vec<_> = self.names.iter().map(named).collect();
        let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": entries}))?;

        let mut tar = tar::Builder::new(std::io::BufWriter::new(File::create(path)?));
        append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut tar, "index.json", &index)?;
        append(&mut tar, &format!("blobs/sha256/{}", digest(&config)), &config)?;
        append(&mut tar, &format!("blobs/sha256/{}", digest(&manifest)), &manifest)?;
        let mut head = header(tar::EntryType::Regular, layer_size, 0o644);
        tar.append_data(&mut head, format!("blobs/sha256/{layer_digest}"), File::open(layer)?)?;
        tar.into_inner()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        Ok(())
    }
}

fn descriptor(media: &str, digest: &str, size: u64) -> serde_json::Value {
    json!({"mediaType": media, "digest": format!("sha256:{digest}"), "size": size})
}

/// A header without owner and time, so that equal content is an equal image.
fn header(kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
    let mut head = tar::Header::new_gnu();
    head.set_entry_type(kind);
    head.set_size(size);
    head.set_mode(mode);
    head.set_mtime(0);
    head
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, data: &[u8]) -> Result<()> {
    let mut head = header(tar::EntryType::Regular, data.len() as u64, 0o644);
    tar.append_data(&mut head, name, data)?;
    Ok(())
}

fn digest(data: &[u8]) -> String {
    hex(Sha256::digest(data).as_slice())
}

fn digest_file(path: &Path) -> Result<(String, u64)> {
    let mut file = File::open(path)?;
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((hex(hash.finalize().as_slice()), size));
        }
        hash.update(&buffer[..n]);
        size += n as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_sha256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn archive_names_what_it_holds() {
        let dir = std::env::temp_dir().join(format!("axoneme-image-test-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("program"), "#!").unwrap();
        let image = Image {
            names: vec!["example/x:1".into(), "example/y:2".into()],
            file: "x.tar",
            files: vec![("bin/program".into(), dir.join("program"))],
            links: vec![("bin/other".into(), "program".into())],
            ..Image::default()
        };
        let archive = image.build(&dir).unwrap();
        let mut blobs = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(File::open(&archive).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            blobs.insert(name, data);
        }
        for (name, data) in &blobs {
            if let Some(hash) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(hash, digest(data), "{name}");
            }
        }
        assert_eq!(blobs.len(), 5, "layout, index, manifest, config, layer");
        let index: serde_json::Value = serde_json::from_slice(&blobs["index.json"]).unwrap();
        let names = index["manifests"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|m| &m["annotations"]["io.containerd.image.name"]).collect();
        assert_eq!(names, ["example/x:1", "example/y:2"]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
