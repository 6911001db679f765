use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn texts(list: &BTreeSet<IpNet>) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn with_defaults(more: &[&str]) -> Vec<String> {
    let all: BTreeSet<IpNet> =
        DEFAULTS.iter().chain(more).map(|prefix| prefix.parse().expect("a prefix")).collect();
    texts(&all)
}

#[test]
fn files_mean_what_they_mean_upstream() {
    let link_local = ["169.254.0.0/16", "fe80::/10"];
    let given = |prefixes: &[&str]| -> Vec<String> {
        texts(&prefixes.iter().map(|prefix| prefix.parse().expect("a prefix")).collect())
    };
    for (text, expected) in [
        ("", with_defaults(&link_local)),
        ("  \n", with_defaults(&link_local)),
        ("# nothing yet\n", with_defaults(&link_local)),
        ("null", with_defaults(&link_local)),
        ("nonMasqueradeCIDRs:\n- 10.0.0.0/8\n", given(&["10.0.0.0/8", "169.254.0.0/16", "fe80::/10"])),
        // The bits behind the prefix do not count.
        (
            "nonMasqueradeCIDRs: [10.1.2.3/8, fd00::1/16]\nmasqLinkLocal: true\n",
            given(&["10.0.0.0/8", "fd00::/16", "fe80::/10"]),
        ),
        (
            r#"{"nonMasqueradeCIDRs":["8.8.8.8/32"],"masqLinkLocal":true,"masqLinkLocalIPv6":true}"#,
            given(&["8.8.8.8/32"]),
        ),
        (
            "{\n\t\"nonMasqueradeCIDRs\": [\n\t\t\"1.0.0.0/8\"\n\t]\n}\n",
            given(&["1.0.0.0/8", "169.254.0.0/16", "fe80::/10"]),
        ),
        // A list that is there and empty is a list.
        ("nonMasqueradeCIDRs: []\n", given(&link_local)),
        ("nonMasqueradeCIDRs:\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true\n", given(&[])),
        ("{}", given(&link_local)),
        (
            "{nonMasqueradeCIDRs: [10.0.0.0/8], masqLinkLocal: true, masqLinkLocalIPv6: true}",
            given(&["10.0.0.0/8"]),
        ),
        (
            "resyncInterval: 60s\nnonMasqueradeCIDRs: [0.0.0.0/0]\nmasqLinkLocal: false",
            given(&["0.0.0.0/0", "169.254.0.0/16", "fe80::/10"]),
        ),
    ] {
        assert_eq!(texts(&parse(text).expect(text)), expected, "{text:?}");
    }
}

#[test]
fn what_is_no_list_is_refused_with_its_place() {
    for (text, part) in [
        ("nonMasqueradeCIDRs: [10.0.0.0]\n", "nonMasqueradeCIDRs lists 10.0.0.0, which is no CIDR"),
        ("nonMasqueradeCIDRs: [10.0.0.0/33]\n", "lists 10.0.0.0/33"),
        ("nonMasqueradeCIDRs: 10.0.0.0/8\n", "no YAML or JSON as the ip-masq-agent"),
        ("nonMasqueradeCIDRs: [10.0.0.0/8\n", "no YAML or JSON as the ip-masq-agent"),
        ("masqLinkLocal: maybe\n", "masqLinkLocal"),
        ("- 10.0.0.0/8\n", "no YAML or JSON as the ip-masq-agent"),
        (r#"{"nonMasqueradeCIDRs": 7}"#, "no YAML or JSON as the ip-masq-agent"),
    ] {
        let error = format!("{:#}", parse(text).expect_err(text));
        assert!(error.contains(part), "{error:?} does not name {part:?}");
    }
}

#[test]
fn the_last_good_list_holds_and_config_map_updates_are_seen() {
    let folder = std::env::temp_dir().join(format!("axoneme-ip-masq-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("scratch folder");
    // As the kubelet does: dated folders, and a link that is swapped.
    let publish = |name: &str, text: &str| {
        fs::create_dir_all(folder.join(name)).expect("dated folder");
        fs::write(folder.join(name).join("ip-masq-agent"), text).expect("file");
        let _ = fs::remove_file(folder.join("..new"));
        symlink(name, folder.join("..new")).expect("link");
        fs::rename(folder.join("..new"), folder.join("..data")).expect("swap");
    };
    symlink("..data/ip-masq-agent", folder.join("ip-masq-agent")).expect("link");
    let mut watcher = Watcher { path: folder.join("ip-masq-agent"), families: (true, false), last: None };

    let defaults = watcher.look().expect("no file is a list");
    assert_eq!(texts(&defaults), with_defaults(&["169.254.0.0/16"]), "of the families that are masqueraded");
    assert_eq!(watcher.look(), None, "nothing new");
    publish("..1", "nonMasqueradeCIDRs: [10.0.0.0/8, fd00::/8]\nmasqLinkLocal: true");
    assert_eq!(watcher.look().map(|list| texts(&list)), Some(vec!["10.0.0.0/8".to_owned()]));
    publish("..2", "nonMasqueradeCIDRs: [10.0.0]\n");
    assert_eq!((watcher.look(), watcher.look()), (None, None));
    publish("..3", "nonMasqueradeCIDRs: [11.0.0.0/8]\nmasqLinkLocal: true");
    assert_eq!(watcher.look().map(|list| texts(&list)), Some(vec!["11.0.0.0/8".to_owned()]));
    let _ = fs::remove_dir_all(&folder);
}
