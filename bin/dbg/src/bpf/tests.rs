use super::*;
use serde_json::json;

fn from<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("a fixed value")
}

#[test]
fn the_ipcache() {
    let entries: Vec<IpcacheEntry> = from(json!([
        { "prefix": "10.244.2.0/24", "identity": 2, "tunnelEndpoint": "172.31.0.12", "flags": ["hastunnel"] },
        { "prefix": "10.244.2.7/32", "identity": 12345, "tunnelEndpoint": "172.31.0.12", "flags": ["hastunnel"] },
        { "prefix": "0.0.0.0/0", "identity": 2 },
        { "prefix": "fd00::1/128", "identity": 1, "encryptKey": 3 },
    ]));
    let rows: BTreeMap<_, _> =
        entries.iter().map(|entry| (entry.prefix.clone(), vec![ipcache_value(entry)])).collect();
    let expected = "\
IP PREFIX/ADDRESS   IDENTITY                                                                        
0.0.0.0/0           identity=2 encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>                     
10.244.2.0/24       identity=2 encryptkey=0 tunnelendpoint=172.31.0.12 flags=hastunnel              
10.244.2.7/32       identity=12345 encryptkey=0 tunnelendpoint=172.31.0.12 flags=hastunnel          
fd00::1/128         identity=1 encryptkey=3 tunnelendpoint=0.0.0.0 flags=<none>                     
";
    let seen = pairs("IP PREFIX/ADDRESS", "IDENTITY", &rows);
    assert_eq!(trimmed(&seen), trimmed(expected));
    let best = |ip: &str| longest_match(&entries, ip.parse().expect("address")).map(|e| e.identity);
    assert_eq!((best("10.244.2.7"), best("10.244.2.8"), best("1.1.1.1")), (Some(12345), Some(2), Some(2)));
    assert_eq!((best("fd00::1"), best("fd00::2")), (Some(1), None));
}

#[test]
fn conntrack() {
    let entry: CtEntry = from(json!({
        "protocol": 6, "direction": "OUT", "source": "10.244.1.5:43210", "destination": "10.244.2.7:80",
        "expires": 8123, "packets": 12, "bytes": 3456, "rxFlagsSeen": 18, "lastRxReport": 120, "txFlagsSeen": 26,
        "lastTxReport": 121, "flags": 16, "flagNames": ["SeenNonSyn"], "sourceIdentity": 12345,
    }));
    assert_eq!(
        ct_line(&entry),
        "TCP OUT 10.244.1.5:43210 -> 10.244.2.7:80 expires=8123 Packets=12 Bytes=3456 RxFlagsSeen=0x12 \
         LastRxReport=120 TxFlagsSeen=0x1a LastTxReport=121 Flags=0x0010 [ SeenNonSyn ] RevNAT=0 \
         SourceSecurityID=12345 BackendID=0 NatPort=0\n"
    );
    let idle = CtEntry { protocol: 17, direction: "IN".into(), ..CtEntry::default() };
    assert!(
        ct_line(&idle).starts_with("UDP IN  ->  expires=0")
            && ct_line(&idle).contains("Flags=0x0000 [ ] RevNAT=0")
    );
}

#[test]
fn policy_tables() {
    let entries: Vec<PolicyEntry> = from(json!([
        { "direction": "Ingress", "identity": 0, "cookie": 0 },
        { "direction": "Ingress", "identity": 12345, "labels": ["k8s:app=web", "k8s:tier=front"], "protocol": 6,
          "port": 80, "portEnd": 80, "prefix": 24, "bytes": 1000, "packets": 10, "cookie": 7 },
        { "deny": true, "direction": "Egress", "identity": 99, "protocol": 17, "port": 1024, "portEnd": 2047,
          "prefix": 14, "proxyPort": 11000 },
    ]));
    let expected = "\
POLICY   DIRECTION   LABELS (source:key[=value])   PORT/PROTO      PROXY PORT   AUTH TYPE   BYTES   PACKETS   PREFIX   COOKIE
Allow    Ingress     ANY                           ANY             NONE         disabled    0       0         0        0
Allow    Ingress     k8s:app=web                   80/TCP          NONE         disabled    1000    10        24       7
                     k8s:tier=front
Deny     Egress      99                            1024-2047/UDP   11000        disabled    0       0         14       0
";
    assert_eq!(trimmed(&policy_table(&entries, false)), expected);
    assert!(policy_table(&entries, true).contains("Ingress     12345      80/TCP"));
    let tables = [PolicyTable { endpoint: 5, slot: 3, entries }];
    assert!(
        policies(&tables, false, true).starts_with("Endpoint ID: 5\nPolicy slot: 3\n\nPOLICY   DIRECTION")
    );
}

#[test]
fn metrics() {
    let metrics: Vec<Metric> = from(json!([
        { "code": 0, "reason": "Interface", "direction": "INGRESS", "packets": 1234, "bytes": 567890 },
        { "code": 133, "reason": "Policy denied", "direction": "EGRESS", "packets": 3, "bytes": 222, "line": 17,
          "file": "pod.rs" },
    ]));
    let expected = "\
REASON          DIRECTION   PACKETS   BYTES    LINE   FILE
Interface       INGRESS     1234      567890   0      
Policy denied   EGRESS      3         222      17     pod.rs
";
    assert_eq!(list_metrics(&metrics), expected);
}

#[test]
fn endpoints() {
    let endpoints: Vec<LocalEndpoint> = from(
        json!([{ "addresses": ["10.244.1.5", "fd00::5"], "endpoint": 77,
        "identity": 12345, "ifindex": 9, "mac": "02:00:00:00:00:05", "hostMac": "02:00:00:00:00:06", "policySlot": 2 }]),
    );
    let text = pairs("IP ADDRESS", "LOCAL ENDPOINT INFO", &endpoint_rows(&endpoints));
    assert!(text.starts_with("IP ADDRESS   LOCAL ENDPOINT INFO"), "{text}");
    assert!(
        text.contains("fd00::5      id=77 sec_id=12345 flags=0x0000 ifindex=9 mac=02:00:00:00:00:05"),
        "{text}"
    );
}

/// Editors eat spaces at line ends, which all these tables have.
fn trimmed(text: &str) -> String {
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
