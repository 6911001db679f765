use super::*;
use crate::cli::{Cli, Command as Wanted};
use clap::{CommandFactory, FromArgMatches};

/// Runs `hubble` with the file `path` and returns what a command prints, and the server it would ask.
fn hubble(path: &Path, arguments: &[&str]) -> anyhow::Result<(String, String)> {
    let mut all: Vec<OsString> = vec!["hubble".into(), format!("--config={}", path.display()).into()];
    all.extend(arguments.iter().map(OsString::from));
    let settings = Settings::read(&all)?;
    let command = settings.as_defaults(Cli::command());
    let matches = command.clone().try_get_matches_from(all)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let mut out = Vec::new();
    if let Wanted::Config { what } = &cli.command {
        settings.run(what, &matches, &command, &mut out)?;
    }
    Ok((String::from_utf8(out)?, cli.server.server))
}

#[test]
fn what_is_set_is_used_until_it_is_reset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/config.yaml");
    let run = |arguments: &[&str]| hubble(&path, arguments).unwrap();
    assert_eq!(run(&["status"]).1, "localhost:4245");
    run(&["config", "set", "server", "tls://relay:443"]);
    run(&["config", "set", "tls-ca-cert-files", "a.crt,b.crt"]);
    run(&["config", "set", "debug", "true"]);
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "server: tls://relay:443\ntls-ca-cert-files:\n- a.crt\n- b.crt\ndebug: true\n"
    );
    assert_eq!(run(&["status"]).1, "tls://relay:443");
    assert_eq!(run(&["status", "--server", "h:1"]).1, "h:1", "a flag wins");
    assert_eq!(run(&["config", "get", "server"]).0, "tls://relay:443\n");
    assert_eq!(run(&["config", "get", "tls"]).0, "false\n");
    assert!(run(&["config", "view"]).0.contains("tls-ca-cert-files: \n- a.crt\n- b.crt\n"));
    run(&["config", "reset", "server"]);
    assert_eq!(run(&["status"]).1, "localhost:4245");
    run(&["config", "reset"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n");
}

#[test]
fn nonsense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    for arguments in [["set", "servr", "x"], ["set", "timeout", "soon"], ["set", "tls", "maybe"]] {
        let all = ["config"].iter().chain(&arguments).copied().collect::<Vec<_>>();
        assert!(hubble(&path, &all).is_err(), "{arguments:?}");
        assert!(!path.exists(), "{arguments:?}");
    }
    std::fs::write(&path, "- a\n").unwrap();
    assert!(hubble(&path, &["status"]).unwrap_err().to_string().contains("config.yaml"));
    std::fs::write(&path, "timeout: soon\n").unwrap();
    assert!(hubble(&path, &["status"]).is_err());
}
