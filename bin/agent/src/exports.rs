//! Files that flows go to: one from the options, more from a file that may change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flow::Filters;
use hubble_pb::Mask;
use hubble_pb::flow::FlowFilter;
use hubble_pb::wkt::{FieldMask, Timestamp};
use observer::{Export, Observer};
use serde::Deserialize;
use tokio::task::{AbortHandle, JoinSet};

/// How often the file is looked at, and a broken export tried again.
const INTERVAL: Duration = Duration::from_secs(5);
/// The export of the options among the others; no name in the file is empty.
const FROM_OPTIONS: &str = "";

/// The file, as Cilium writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    flow_logs: Vec<Log>,
}

/// One export.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    name: String,
    file_path: PathBuf,
    #[serde(default)]
    field_mask: Vec<String>,
    #[serde(default)]
    include_filters: Vec<serde_json::Value>,
    #[serde(default)]
    exclude_filters: Vec<serde_json::Value>,
    #[serde(default)]
    end: Option<String>,
    #[serde(default = "ten")]
    file_max_size_mb: u64,
    #[serde(default = "five")]
    file_max_backups: usize,
}

const fn ten() -> u64 {
    10
}
const fn five() -> usize {
    5
}

/// Filters as JSON objects, one after the other, with or without commas between them.
pub(crate) fn filters(text: &str) -> Result<Vec<FlowFilter>> {
    let mut filters = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut objects = serde_json::Deserializer::from_str(rest).into_iter::<FlowFilter>();
        let filter =
            objects.next().transpose().with_context(|| {
                format!("{rest:?} begins with no FlowFilter: write them as JSON, such as {{\"verdict\":[\"DROPPED\"]}}")
            })?;
        filters.extend(filter);
        rest = rest[objects.byte_offset()..].trim_start_matches([',', ' ', '\n', '\t']);
    }
    Ok(filters)
}

/// An export, checked.
pub(crate) fn export(
    path: PathBuf,
    allow: Vec<FlowFilter>,
    deny: Vec<FlowFilter>,
    mask: Vec<String>,
    megabytes: u64,
    backups: usize,
    end: Option<u64>,
) -> Result<Export> {
    ensure!(
        path.is_absolute() || path.as_os_str() == "stdout",
        "{} is no absolute path, and not stdout",
        path.display()
    );
    ensure!(megabytes > 0, "files of 0 MB hold no flow: give a size");
    let filters: Filters = hubble_pb::filters(allow, deny)?;
    let mask = Mask::read(&FieldMask { paths: mask })?;
    Ok(Export { path, filters, mask, largest: megabytes << 20, backups, end })
}

impl Log {
    fn export(self) -> Result<Export> {
        let filters = |list: Vec<serde_json::Value>| {
            list.into_iter().map(serde_json::from_value).collect::<Result<Vec<FlowFilter>, _>>()
        };
        let allow = filters(self.include_filters).context("includeFilters")?;
        let deny = filters(self.exclude_filters).context("excludeFilters")?;
        let end = match &self.end {
            None => None,
            Some(text) => {
                let time = Timestamp::parse(text)
                    .with_context(|| format!("end: {text} is no time such as 2006-01-02T15:04:05Z"))?;
                Some(time.unix_nanos())
            }
        };
        let (megabytes, backups) = (self.file_max_size_mb, self.file_max_backups);
        export(self.file_path, allow, deny, self.field_mask, megabytes, backups, end)
    }
}

/// The exports of a file. A bad one is left out and named, the others go on.
fn read(text: &str) -> Result<(BTreeMap<String, Export>, Vec<String>)> {
    let document: Option<Document> =
        serde_yaml_ng::from_str(text).context("it is no list of flowLogs in YAML")?;
    let (mut exports, mut problems) = (BTreeMap::new(), Vec::new());
    for log in document.unwrap_or_default().flow_logs {
        let (name, path) = (log.name.clone(), log.file_path.clone());
        if name.is_empty() || exports.contains_key(&name) {
            problems.push(format!("flow log {name:?}: its name is empty or there twice"));
        } else if exports.values().any(|other: &Export| other.path == path) {
            problems.push(format!("flow log {name:?}: another writes to {} already", path.display()));
        } else {
            match log.export() {
                Ok(export) => drop(exports.insert(name, export)),
                Err(error) => problems.push(format!("flow log {name:?}: {error:#}")),
            }
        }
    }
    Ok((exports, problems))
}

/// What runs.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    exports: BTreeMap<String, (Export, AbortHandle)>,
}

impl Running {
    /// Starts what is new, ends what is gone, and leaves alone what is as it was.
    fn become_as(&mut self, wanted: &BTreeMap<String, Export>, observer: &Observer) {
        while self.tasks.try_join_next().is_some() {}
        self.exports.retain(|name, (export, task)| {
            let stays = wanted.get(name) == Some(export);
            if !stays {
                task.abort();
            }
            stays
        });
        for (name, export) in wanted {
            if !self.exports.contains_key(name) {
                tracing::info!(name, path = %export.path.display(), "flows are exported");
                let task = self.tasks.spawn(keep(observer.clone(), name.clone(), export.clone()));
                self.exports.insert(name.clone(), (export.clone(), task));
            }
        }
    }
}

/// Exports, and begins again when the disk is full or the like.
async fn keep(observer: Observer, name: String, export: Export) {
    let mut told = String::new();
    while let Err(error) = observer.export(export.clone()).await {
        let text = error.to_string();
        if text != told {
            tracing::warn!(name, path = %export.path.display(), error = text, "flows cannot be exported");
            told = text;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Runs all exports for ever.
///
/// # Errors
/// Never; it is a task among those that may fail.
pub(crate) async fn run(
    observer: Observer,
    from_options: Option<Export>,
    path: Option<PathBuf>,
) -> Result<()> {
    let fixed: BTreeMap<_, _> =
        from_options.into_iter().map(|export| (FROM_OPTIONS.to_owned(), export)).collect();
    let mut running = Running::default();
    running.become_as(&fixed, &observer);
    let Some(path) = path else { return std::future::pending().await };
    let mut seen: Option<String> = None;
    loop {
        look(&path, &mut seen, &fixed, &mut running, &observer);
        tokio::time::sleep(INTERVAL).await;
    }
}

fn look(
    path: &Path,
    seen: &mut Option<String>,
    fixed: &BTreeMap<String, Export>,
    running: &mut Running,
    observer: &Observer,
) {
    // A file that is not there yet lists nothing.
    let text = std::fs::read_to_string(path).unwrap_or_default();
    if seen.as_ref() == Some(&text) {
        return;
    }
    match read(&text) {
        Ok((mut wanted, problems)) => {
            for problem in problems {
                tracing::warn!(file = %path.display(), problem, "an export is left out");
            }
            wanted.extend(fixed.clone());
            running.become_as(&wanted, observer);
        }
        Err(error) => {
            tracing::warn!(file = %path.display(), error = format!("{error:#}"), "exports stay as they were");
        }
    }
    *seen = Some(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_stand_one_after_the_other() {
        let text = r#"{"verdict":["DROPPED"]} {"source_pod":["shop/"]},
            {"protocol":["dns"]}"#;
        assert_eq!(filters(text).expect("filters").len(), 3);
        assert!(filters("").expect("none").is_empty());
        assert!(filters(r#"{"verdict":["DROPPED"]} x"#).is_err());
    }

    #[test]
    fn the_file_is_cilium_s_and_a_bad_entry_harms_no_other() {
        let text = r#"
flowLogs:
- name: all
  filePath: /var/run/cilium/hubble/events.log
  fieldMask: []
  includeFilters: []
  excludeFilters: []
- name: drops
  filePath: /var/run/cilium/hubble/drops.log
  fieldMask: [time, source.pod_name]
  includeFilters:
  - source_pod: ["shop/"]
    verdict: [DROPPED]
  end: "2030-01-02T15:04:05Z"
  fileMaxSizeMb: 1
- name: bad
  filePath: /x
  includeFilters: [{source_ip: ["10.0.0"]}]
- name: late
  filePath: /y
  end: tomorrow
- name: here
  filePath: here
- name: thief
  filePath: /var/run/cilium/hubble/drops.log
"#;
        let (exports, problems) = read(text).expect("a list");
        assert_eq!(exports.keys().collect::<Vec<_>>(), ["all", "drops"]);
        assert_eq!((exports["all"].largest, exports["all"].backups), (10 << 20, 5));
        assert_eq!(exports["drops"].filters.allow.len(), 1);
        assert!(exports["drops"].mask.is_some() && exports["drops"].end.is_some());
        for (name, part) in
            [("bad", "source_ip"), ("late", "tomorrow"), ("here", "no absolute path"), ("thief", "another")]
        {
            let problem = problems.iter().find(|p| p.contains(&format!("{name:?}"))).expect("named");
            assert!(problem.contains(part), "{problem}");
        }
        assert!(read("flowLogs: 7").is_err());
        assert!(read("").expect("nothing").0.is_empty());
    }
}
