//! Images for Kubernetes' end-to-end suite, under the names that the suite asks for. Programs of the host take the place of
//! those in the original images: the tests look at the network, not at a distribution.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{BUSYBOX, Image};
use crate::run::{output, tool};

/// The suite, which knows the names.
const SUITE: &str = "e2e.test";
/// What knows the names of the network-policy-api's suite.
const CONFORMANCE: &str = "conformance-images";
/// Where in a name the images that we can make are; others need an account, or are not there on purpose.
const PUBLIC: [&str; 2] = ["e2e-test-images/", "/pause:"];
/// Programs of their own, with their libraries, that the tests call in a shell; all others are busybox. Some tests want the `nc`
/// of OpenBSD; Debian's static busybox crashes as `wget`; and its `sh` would not look for either.
const PROGRAMS: [(&str, &str); 11] = [
    ("bash", "bin/bash"),
    ("dash", "bin/sh"),
    ("curl", "usr/bin/curl"),
    ("dig", "usr/bin/dig"),
    ("getent", "usr/bin/getent"),
    ("ip", "usr/bin/ip"),
    ("iperf", "usr/bin/iperf"),
    ("nc.openbsd", "usr/bin/nc"),
    ("nslookup", "usr/bin/nslookup"),
    ("ss", "usr/bin/ss"),
    ("wget", "usr/bin/wget"),
];
const TEXTS: [(&str, &str); 4] = [
    (
        "etc/passwd",
        "root:x:0:0::/:/bin/sh\nuser-defined-in-image:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    ),
    (
        "etc/group",
        "root:x:0:\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\nnobody:x:65534:\n",
    ),
    ("etc/nsswitch.conf", "hosts: files dns\n"),
    ("uploads/README", "netexec puts files here\n"),
];

/// All that can be made of what the suite asks for.
pub(crate) fn images() -> Result<Vec<Image>> {
    let asked = output(Command::new(tool(SUITE)?).arg("--list-images"))
        .context("the end-to-end suite does not list its images: run `tools/setup.sh e2e`")?;
    let tools = tools()?;
    let agnhost = Image {
        names: named(&asked, &["agnhost", "jessie-dnsutils"]),
        file: "e2e-agnhost.tar",
        ..agnhost(&tools)?
    };
    Ok(vec![
        // Whatever answers on port 80 is a web server here.
        Image {
            names: named(&asked, &["nginx", "httpd"]),
            file: "e2e-web.tar",
            entrypoint: vec![],
            command: vec!["/agnhost", "netexec", "--http-port=80", "--udp-port=-1"],
            ..agnhost.clone()
        },
        agnhost,
        Image { names: named(&asked, &["busybox"]), file: "e2e-busybox.tar", command: vec!["sh"], ..tools },
        Image {
            names: named(&asked, &["pause"]),
            file: "e2e-pause.tar",
            files: vec![("pause".into(), super::binaries().join("probe"))],
            entrypoint: vec!["/pause", "pause"],
            ..Image::default()
        },
        Image {
            names: named(&asked, &["regression-issue-74839"]),
            file: "e2e-regression.tar",
            files: vec![("regression-issue-74839".into(), tool("regression-issue-74839")?)],
            entrypoint: vec!["/regression-issue-74839"],
            ..Image::default()
        },
    ])
}

/// The one image of the network-policy-api's suite. Its agnhost does itself what it is asked in SCTP, which few kernels have.
pub(crate) fn conformance() -> Result<Vec<Image>> {
    let asked = output(&mut Command::new(tool(CONFORMANCE)?))
        .context("the conformance suite does not list its images: run `tools/setup.sh conformance`")?;
    let mut image =
        Image { names: named(&asked, &["agnhost"]), file: "conformance-agnhost.tar", ..agnhost(&tools()?)? };
    image.files.retain(|(place, _)| place != "agnhost");
    image.files.push(("agnhost-kubernetes".into(), tool("agnhost")?));
    image.files.push(("agnhost".into(), tool("conformance-agnhost")?));
    Ok(vec![image])
}

/// Programs that are called in a shell.
fn tools() -> Result<Image> {
    let busybox = tool(BUSYBOX)?;
    let applets = output(Command::new(&busybox).arg("--list"))?;
    let programs = programs()?;
    Ok(Image {
        texts: TEXTS.to_vec(),
        links: links(&applets, &programs),
        files: programs.into_iter().chain([("bin/busybox".to_owned(), busybox)]).collect(),
        ..Image::default()
    })
}

/// Clients and servers of the suites.
fn agnhost(tools: &Image) -> Result<Image> {
    let mut image = Image { entrypoint: vec!["/agnhost"], command: vec!["pause"], ..tools.clone() };
    for (place, source) in [
        ("agnhost", "agnhost"),
        ("coredns", "coredns"),
        ("localhost.crt", "agnhost.crt"),
        ("localhost.key", "agnhost.key"),
    ] {
        image.files.push((place.into(), tool(source)?));
    }
    image.links.push(("agnhost-2".into(), "agnhost".into()));
    Ok(image)
}

/// The names in a list whose last part, without the version, is one of these.
fn named(list: &str, wanted: &[&str]) -> Vec<String> {
    let base = |name: &str| {
        let last = name.rsplit('/').next().unwrap_or(name);
        last.split(':').next().unwrap_or(last).to_owned()
    };
    let public = |name: &&str| PUBLIC.iter().any(|part| name.contains(part));
    let mut names: Vec<String> = list
        .lines()
        .map(str::trim)
        .filter(public)
        .filter(|n| wanted.contains(&base(n).as_str()))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Busybox under the names of all its applets, but for those that are programs of their own.
fn links(applets: &str, programs: &BTreeMap<String, PathBuf>) -> Vec<(String, String)> {
    let own = |name: &&str| programs.keys().any(|place| place.rsplit('/').next() == Some(*name));
    let names = applets.lines().filter(|name| *name != BUSYBOX && !own(name));
    names.map(|name| (format!("bin/{name}"), BUSYBOX.to_owned())).collect()
}

fn programs() -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for (name, place) in PROGRAMS {
        let program = tool(name)
            .with_context(|| format!("{name}, for the suite's images: run `tools/setup.sh e2e`"))?;
        files.extend(libraries(&program)?);
        files.insert(place.to_owned(), program);
    }
    Ok(files)
}

/// What the dynamic linker would load for a program, at the same places.
fn libraries(program: &Path) -> Result<Vec<(String, PathBuf)>> {
    let text = output(Command::new(tool("ldd")?).arg(program))?;
    ensure!(!text.contains("not found"), "{} lacks a library:\n{text}", program.display());
    Ok(listed(&text).map(|path| (path.trim_start_matches('/').to_owned(), PathBuf::from(path))).collect())
}

/// The paths in what `ldd` says: `libc.so.6 => /lib/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_from_the_list() {
        let list = "example.io/e2e-test-images/agnhost:2.56\nexample.io/private/agnhost:2.6\n\
                    example.io/e2e-test-images/httpd:1\nexample.io/e2e-test-images/httpd:2\nexample.io/pause:3.10\n";
        assert_eq!(named(list, &["agnhost"]), ["example.io/e2e-test-images/agnhost:2.56"]);
        assert_eq!(named(list, &["httpd"]).len(), 2);
        assert_eq!(named(list, &["pause"]), ["example.io/pause:3.10"]);
    }

    #[test]
    fn libraries_are_read_from_ldd() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths: Vec<_> = listed(text).collect();
        assert_eq!(paths, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn a_program_of_its_own_is_no_applet() {
        let programs = BTreeMap::from([("usr/bin/nc".to_owned(), PathBuf::new())]);
        assert_eq!(links("busybox\nnc\nsh\n", &programs), [("bin/sh".into(), "busybox".into())]);
    }
}
