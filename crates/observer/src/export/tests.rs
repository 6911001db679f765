use super::*;
use flow::{Filter, Flow, Verdict};
use hubble_pb::wkt::FieldMask;
use std::path::Path;
use std::time::Duration;

fn observer() -> Observer {
    Observer::new(crate::Config { node_name: "default/n1".into(), version: "1".into(), capacity: 4095 })
}

fn at(time: u64) -> Flow {
    let verdict = if time.is_multiple_of(2) { Verdict::Dropped } else { Verdict::Forwarded };
    Flow { time, verdict, node_name: "default/n1".into(), ..Flow::default() }
}

fn export(path: &Path) -> Export {
    Export {
        path: path.to_owned(),
        filters: Filters::default(),
        mask: None,
        largest: u64::MAX,
        backups: 0,
        end: None,
    }
}

/// Exports while `flows` come, and waits until `done` says that all is written.
async fn run(export: Export, flows: std::ops::RangeInclusive<u64>, done: impl Fn() -> bool) {
    let observer = observer();
    let exporter = observer.clone();
    let task = tokio::spawn(async move { exporter.export(export).await });
    // It tells what comes from its start on.
    tokio::time::sleep(Duration::from_millis(100)).await;
    for time in flows {
        observer.push(at(time));
    }
    for _ in 0..200 {
        if done() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    task.abort();
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn flows_become_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/flows.log");
    let dropped = Filter { verdicts: vec![Verdict::Dropped], ..Filter::default() };
    let mask = Mask::read(&FieldMask { paths: vec!["verdict".into()] }).unwrap();
    let filters = Filters { allow: vec![dropped], deny: vec![] };
    let wanted = Export { filters, mask, ..export(&path) };
    run(wanted, 1..=4, || text(&path).lines().count() == 2).await;
    let line = |time: u64| {
        format!(
            "{{\"flow\":{{\"verdict\":\"DROPPED\"}},\"node_name\":\"default/n1\",\"time\":\"1970-01-01T00:00:00.00000000{time}Z\"}}\n"
        )
    };
    assert_eq!(text(&path), line(2) + &line(4));
}

#[tokio::test]
async fn full_files_are_put_aside_and_old_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.log");
    let stranger = folder.path().join("flows-mine.log");
    std::fs::write(&stranger, "").unwrap();
    let wanted = Export { largest: 1000, backups: 2, ..export(&path) };
    run(wanted, 1..=200, || text(&path).contains(".000000200Z")).await;
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(files.contains(&stranger), "another's file stays");
    let mut lines: Vec<String> = Vec::new();
    for file in files.iter().filter(|file| **file != stranger) {
        assert!(std::fs::metadata(file).unwrap().len() <= 1000);
        lines.extend(text(file).lines().map(str::to_owned));
    }
    assert!(lines.iter().all(|line| line.starts_with('{') && line.ends_with('}')), "no line is parted");
}

#[tokio::test]
async fn an_export_ends_in_time_or_says_why_it_cannot_begin() {
    let folder = tempfile::tempdir().unwrap();
    let soon = Export { end: Some(crate::now() + 50_000_000), ..export(&folder.path().join("x")) };
    tokio::time::timeout(Duration::from_secs(10), observer().export(soon)).await.unwrap().unwrap();
    assert!(observer().export(export(folder.path())).await.is_err(), "a folder is no file");
}
