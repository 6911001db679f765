use super::*;
use serde_json::json;

/// A cluster IP, a node port whose clients outside stay on this node, an address with nothing else on it.
fn tables() -> Tables {
    serde_json::from_value(json!({
        "frontends": [
            { "address": "0.0.0.0", "port": 32000, "protocol": 6, "service": 7, "flags": 0x11,
              "flagNames": ["NodePort", "two-scopes"],
              "scopes": [{ "start": 9, "count": 1 }, { "internal": true, "start": 10, "count": 2 }] },
            { "address": "10.96.0.10", "protocol": 0, "service": 4294967295_u32, "flags": 0x60,
              "flagNames": ["ClusterIP", "non-routable"], "scopes": [{}] },
            { "address": "10.96.0.10", "port": 53, "protocol": 17, "service": 12, "flags": 0, "affinity": 10800,
              "flagNames": ["ClusterIP", "sessionAffinity", "non-routable"], "scopes": [{ "start": 10, "count": 1 }] },
            { "address": "fd00:96::10", "port": 53, "protocol": 17, "service": 12,
              "flagNames": ["ClusterIP", "non-routable"], "scopes": [{ "start": 20, "count": 2 }] },
        ],
        "backends": [
            { "slot": 9, "address": "10.0.2.6", "port": 80 },
            { "slot": 10, "address": "10.0.1.145", "port": 80 },
            { "slot": 11, "address": "10.0.2.6", "port": 80 },
            { "slot": 20, "address": "fd00::6", "port": 53 },
        ],
        "sourceRanges": [{ "prefix": "10.0.0.0/8", "service": 7 }, { "prefix": "2001:db8::/32", "service": 7 }],
    }))
    .expect("tables")
}

fn trimmed(text: &str) -> String {
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn text(args: &LbListArgs) -> String {
    trimmed(&list(&tables(), args).expect("text"))
}

fn args() -> LbListArgs {
    LbListArgs {
        frontends: false,
        backends: false,
        revnat: false,
        source_ranges: false,
        format: Output { output: None },
    }
}

#[test]
fn services_slot_by_slot() {
    let expected = "\
SERVICE ADDRESS            BACKEND ADDRESS (REVNAT_ID) (SLOT)
0.0.0.0:32000/TCP (0)      0.0.0.0:0 (7) (0) [NodePort, two-scopes]
0.0.0.0:32000/TCP (1)      10.0.2.6:80/TCP (7) (1)
0.0.0.0:32000/TCP/i (0)    0.0.0.0:0 (7) (0) [NodePort, two-scopes]
0.0.0.0:32000/TCP/i (1)    10.0.1.145:80/TCP (7) (1)
0.0.0.0:32000/TCP/i (2)    10.0.2.6:80/TCP (7) (2)
10.96.0.10:0/ANY (0)       0.0.0.0:0 (4294967295) (0) [ClusterIP, non-routable]
10.96.0.10:53/UDP (0)      0.0.0.0:0 (12) (0) [ClusterIP, sessionAffinity, non-routable]
10.96.0.10:53/UDP (1)      10.0.1.145:80/UDP (12) (1)
[fd00:96::10]:53/UDP (0)   [::]:0 (12) (0) [ClusterIP, non-routable]
[fd00:96::10]:53/UDP (1)   [fd00::6]:53/UDP (12) (1)
[fd00:96::10]:53/UDP (2)   backend 21 not found
";
    assert_eq!(text(&args()), expected);
}

#[test]
fn the_other_views() {
    let expected = "\
SERVICE ADDRESS            BACKEND ID
0.0.0.0:32000/TCP (0)      0 1[0] (7) [0x11]
0.0.0.0:32000/TCP (1)      9 0[0] (7) [0x0]
0.0.0.0:32000/TCP/i (0)    0 2[0] (7) [0x11]
0.0.0.0:32000/TCP/i (1)    10 0[0] (7) [0x0]
0.0.0.0:32000/TCP/i (2)    11 0[0] (7) [0x0]
10.96.0.10:0/ANY (0)       0 0[0] (4294967295) [0x60]
10.96.0.10:53/UDP (0)      10800 1[0] (12) [0x0]
10.96.0.10:53/UDP (1)      10 0[0] (12) [0x0]
[fd00:96::10]:53/UDP (0)   0 2[0] (12) [0x0]
[fd00:96::10]:53/UDP (1)   20 0[0] (12) [0x0]
[fd00:96::10]:53/UDP (2)   21 0[0] (12) [0x0]
";
    assert_eq!(text(&LbListArgs { frontends: true, ..args() }), expected);
    let expected = "\
ID   BACKEND ADDRESS (REVNAT_ID) (SLOT)
9    TCP://10.0.2.6:80
10   TCP://10.0.1.145:80
     UDP://10.0.1.145:80
11   TCP://10.0.2.6:80
20   UDP://[fd00::6]:53
";
    assert_eq!(text(&LbListArgs { backends: true, ..args() }), expected);
    let expected = "\
ID   BACKEND ADDRESS (REVNAT_ID) (SLOT)
7    0.0.0.0:32000
12   10.96.0.10:53
     [fd00:96::10]:53
";
    assert_eq!(text(&LbListArgs { revnat: true, ..args() }), expected);
    let expected = "\
SOURCE RANGE (REVNAT_ID)
10.0.0.0/8 (7)
2001:db8::/32 (7)
";
    assert_eq!(text(&LbListArgs { source_ranges: true, ..args() }), expected);
}

#[test]
fn json_is_lists_by_key() {
    let format = Output { output: Some("json".parse().expect("a format")) };
    let json: serde_json::Value =
        serde_json::from_str(&list(&tables(), &LbListArgs { format, ..args() }).expect("text"))
            .expect("JSON");
    assert_eq!(json["0.0.0.0:32000/TCP (1)"], json!(["10.0.2.6:80/TCP (7) (1)"]));
}

#[test]
fn maglev_tables() {
    let tables: Vec<Maglev> = serde_json::from_value(json!([
        { "service": 7, "family": "v4", "table": 3, "start": 10 },
        { "service": 7, "family": "v6", "table": 4, "start": 20 },
        { "service": 8, "family": "v4", "table": 3, "start": 10 },
    ]))
    .expect("tables");
    let read = BTreeMap::from([(3, vec![0, 1, 1, 0]), (4, vec![0, 0])]);
    let expected = "\
SVC ID   LOOKUP TABLE
[7]/v4   [10 11 11 10]
[7]/v6   [20 20]
[8]/v4   [10 11 11 10]
";
    assert_eq!(trimmed(&lookups(&tables, &read).text("SVC ID", "LOOKUP TABLE")), expected);
}
