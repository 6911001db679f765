//! The command as people use it, over files.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

fn data(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).display().to_string()
}

fn cilium(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cilium"))
        .args(args)
        .env_remove("KUBECONFIG")
        .env("HOME", "/nowhere")
        .output()
        .expect("the command runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).replace(&data(""), "")
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).replace(&data(""), "")
}

#[test]
fn a_file_is_checked_with_lines_and_exit_codes() {
    let (new, bad, cluster) = (data("new.yaml"), data("bad.yaml"), data("cluster.yaml"));
    let good = cilium(&["policy", "validate", &new]);
    assert_eq!(
        (text(&good).as_str(), good.status.code()),
        ("1 object in 1 file: 0 errors, 0 warnings\n", Some(0))
    );

    let both = ["policy", "validate", &new, &bad, "--pods", &cluster];
    let told = cilium(&both);
    assert_eq!(
        text(&told),
        "new.yaml:9:26: warning: CiliumNetworkPolicy shop/web: spec.ingress[0].fromEndpoints[0].matchLabels.app: \
         this selects no pod: no pod has app=cleint; did you mean app=client (1 pod)?\n\
         bad.yaml:9:15: error: CiliumNetworkPolicy shop/bad: spec.ingress[0].toPorts[0].ports[0].port: \
         80 is no text: quote it: \"80\"\n\
         2 objects in 2 files: 1 error, 1 warning\n"
    );
    assert_eq!(told.status.code(), Some(1));
    let strict = ["policy", "lint", &new, "--pods", &cluster, "--strict"];
    assert_eq!(cilium(&strict).status.code(), Some(1), "warnings count");
    assert_eq!(cilium(&strict[..5]).status.code(), Some(0));

    let json: Value =
        serde_json::from_slice(&cilium(&[&both[..], &["-o", "json"]].concat()).stdout).expect("JSON");
    assert_eq!((&json["errors"], &json["warnings"]), (&1.into(), &1.into()));
    let finding = &json["files"][1]["findings"][0];
    assert_eq!((&finding["position"]["line"], &finding["severity"]), (&9.into(), &"error".into()));
}

#[test]
fn what_a_policy_changes() {
    let (new, cluster) = (data("new.yaml"), data("cluster.yaml"));
    let args = ["policy", "diff", "-f", &new, "--pods", &cluster];
    let told = cilium(&args);
    assert_eq!(
        text(&told),
        "shop/web (Pod, 1 pod)\n  ingress  ALLOWED → DENIED  everything from health, kube-apiserver, remote-node, \
         shop/client, shop/web, world\n           by CiliumNetworkPolicy shop/web\n1 workload changed, 1 not\n"
    );
    assert_eq!(told.status.code(), Some(1));
    let same = cilium(&[&args[..], &["--policies", &new]].concat());
    assert_eq!((text(&same).as_str(), same.status.code()), ("0 workloads changed, 2 not\n", Some(0)));
    let json: Value =
        serde_json::from_slice(&cilium(&[&args[..], &["-o", "json"]].concat()).stdout).expect("JSON");
    assert_eq!(json["workloads"][0]["changes"][0]["after"], "DENIED");
}

#[test]
fn what_becomes_of_recorded_flows() {
    let (new, cluster, flows) = (data("new.yaml"), data("cluster.yaml"), data("flows.json"));
    let args = ["policy", "replay", "-f", &new, "--pods", &cluster, "--flows", &flows];
    let told = cilium(&args);
    assert_eq!(
        text(&told),
        "shop/web (Pod)\n  ingress  ALLOWED → DENIED  80/TCP from shop/client (1 flow)\n           \
         by CiliumNetworkPolicy shop/web\n2 flows of 1 connection: 1 connection change (1 flow)\n\
         1 flow not replayed: it has no IP addresses\n"
    );
    assert_eq!(told.status.code(), Some(1));
    let same = cilium(&[&args[..], &["--policies", &new]].concat());
    assert_eq!(same.status.code(), Some(0));
    assert!(text(&same).contains("1 flow recorded with another verdict"), "{}", text(&same));
    let json: Value =
        serde_json::from_slice(&cilium(&[&args[..], &["-o", "json"]].concat()).stdout).expect("JSON");
    assert_eq!(
        (&json["changes"][0]["flows"], &json["changes"][0]["direction"]),
        (&1.into(), &"ingress".into())
    );
}

#[test]
fn what_cannot_be_answered_says_why() {
    let (bad, cluster, new) = (data("bad.yaml"), data("cluster.yaml"), data("new.yaml"));
    for (args, reason) in [
        (vec!["policy", "diff", "-f", &bad, "--pods", &cluster], "bad.yaml:9:15: error"),
        (vec!["policy", "diff", "-f", &new], "give files with --pods"),
        (vec!["policy", "diff", "-f", &cluster, "--pods", &cluster], "hold no policy"),
        (vec!["policy", "validate", "/nowhere/x.yaml"], "cannot read /nowhere/x.yaml"),
        (vec!["policy", "replay", "-f", &new, "--pods", &cluster, "--flows", &cluster], "this is no JSON"),
        (
            vec![
                "policy",
                "replay",
                "-f",
                &new,
                "--pods",
                &cluster,
                "--since",
                "1h",
                "--server",
                "/nowhere/h.sock",
            ],
            "is the agent running",
        ),
        (vec!["policy", "replay", "-f", &new, "--pods", &cluster], "--flows"),
    ] {
        let told = cilium(&args);
        assert_eq!(told.status.code(), Some(2), "{args:?}");
        assert!(error(&told).contains(reason), "{args:?}: {}", error(&told));
    }
}
