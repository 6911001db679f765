use super::*;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::mem::MaybeUninit;

fn conf(directory: &Path) -> ConfList {
    ConfList::new(directory)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("list")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn the_file_is_what_a_runtime_reads() {
    let value: Value = serde_json::from_str(&conf(Path::new("/x")).render()).expect("JSON");
    assert_eq!(
        value,
        json!({ "cniVersion": "0.3.1", "name": "cilium", "plugins": [
            { "type": "cilium-cni", "enable-debug": false, "log-file": "/var/run/cilium/cilium-cni.log" }] })
    );
}

#[test]
fn others_are_named_in_the_order_in_which_they_run() {
    let types = |plugins| {
        let text = ConfList { plugins, ..conf(Path::new("/x")) }.render();
        check(&text).expect("ours can be used");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let types: Vec<String> = value["plugins"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|plugin| plugin["type"].as_str().expect("a type").to_owned())
            .collect();
        types
    };
    assert_eq!(types(Plugins::Portmap), ["cilium-cni", "portmap"]);
    assert_eq!(types(Plugins::Flannel), ["flannel", "portmap", "cilium-cni"]);
}

#[test]
fn what_somebody_wrote_is_written_to_the_letter_if_it_makes_sense() {
    let text = "{\n \"name\": \"generic-veth\", \"cniVersion\": \"0.3.1\",\n \"plugins\": [{\"type\": \"flannel\"}, {\"type\": \"cilium-cni\"}]}";
    check(text).expect("the first article's");
    let given = ConfList { plugins: Plugins::Given(text.to_owned()), ..conf(Path::new("/x")) };
    assert_eq!(given.render(), text);
    let wrong = |text: &str| check(text).expect_err(text).to_string();
    assert_eq!(wrong("name: x"), "it is not JSON");
    assert!(wrong("{\"type\": \"cilium-cni\"}").contains("\"plugins\" is missing"));
    assert!(
        wrong("{\"plugins\": [{\"type\": \"flannel\"}]}")
            .contains("none of its plugins has the type cilium-cni")
    );
}

#[test]
fn plans() {
    let exclusive = conf(Path::new("/x"));
    let text = exclusive.render();
    let write = Action::Write { text: text.clone() };
    let aside = |name: &str| Action::SetAside { name: name.to_owned() };
    let listed: Vec<String> =
        [FILE, "10-flannel.conflist", "99-loopback.conf", "a.json", "b.json.cilium_bak", "README", "conf"]
            .map(str::to_owned)
            .into();
    let others = [aside("10-flannel.conflist"), aside("99-loopback.conf"), aside("a.json")];
    assert_eq!(exclusive.plan(&[], None).first(), Some(&write));
    assert_eq!(exclusive.plan(&listed, Some(text.as_bytes())), others);
    assert_eq!(exclusive.plan(&listed, Some(b"old"))[0], write, "ours comes first");
    let shared = ConfList { exclusive: false, ..exclusive };
    assert_eq!(shared.plan(&listed, Some(text.as_bytes())), []);
}

#[test]
fn ensuring_twice_does_it_once() {
    let folder = tempfile::tempdir().expect("folder");
    let directory = folder.path().join("cni/net.d");
    let conf = conf(&directory);
    assert_eq!(conf.ensure().expect("first").len(), 1);
    fs::write(directory.join("10-other.conf"), b"{}").expect("write");
    assert_eq!(conf.ensure().expect("second"), [Action::SetAside { name: "10-other.conf".into() }]);
    assert_eq!(conf.ensure().expect("third"), []);
    assert_eq!(names(&directory), [FILE, "10-other.conf.cilium_bak"]);
    assert_eq!(fs::read_to_string(conf.path()).expect("read"), conf.render());
    fs::write(conf.path(), b"{").expect("damage");
    assert_eq!(conf.ensure().expect("repair").len(), 1);
    assert_eq!(fs::read_to_string(conf.path()).expect("read"), conf.render());
}

/// What containerd 1.6 reloads on: a write to a file of that name after it is complete.
#[test]
fn a_runtime_notices() {
    let folder = tempfile::tempdir().expect("folder");
    let conf = conf(folder.path());
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("inotify");
    let flags = WatchFlags::MODIFY | WatchFlags::MOVED_TO | WatchFlags::CREATE;
    inotify::add_watch(&watch, folder.path(), flags).expect("watch");
    let events = || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&watch, &mut buffer);
        let mut events = Vec::new();
        while let Ok(event) = reader.next() {
            if event.file_name().is_some_and(|name| name.to_bytes() == FILE.as_bytes()) {
                events.push(event.events());
            }
        }
        events
    };
    conf.ensure().expect("write");
    assert_eq!(events(), [ReadFlags::MOVED_TO, ReadFlags::MODIFY]);
    conf.ensure().expect("nothing to do");
    assert_eq!(events(), []);
    conf.announce().expect("announce");
    assert_eq!(events(), [ReadFlags::MODIFY]);
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let error = conf(Path::new("/proc/nonexistent/net.d")).ensure().expect_err("not writable");
    assert!(error.to_string().contains("/proc/nonexistent/net.d"), "{error}");
}
