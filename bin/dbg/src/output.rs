//! `-o json|yaml|jsonpath=…`, or text.

use crate::jsonpath;
use anyhow::{Context, Result};
use serde::Serialize;
use std::str::FromStr;

/// How to print an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
    JsonPath(String),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Format::Json),
            "yaml" => Ok(Format::Yaml),
            _ => match text.strip_prefix("jsonpath=") {
                Some(template) => Ok(Format::JsonPath(template.to_owned())),
                None => Err("write json, yaml or jsonpath='{.field}'".to_owned()),
            },
        }
    }
}

/// An answer as the format wants it, or in words.
pub(crate) fn render<T: Serialize>(
    format: Option<&Format>,
    answer: &T,
    words: impl FnOnce(&T) -> String,
) -> Result<String> {
    let with_line_end = |text: String| if text.ends_with('\n') { text } else { text + "\n" };
    match format {
        None => Ok(words(answer)),
        Some(Format::Json) => {
            serde_json::to_string_pretty(answer).map(with_line_end).context("cannot write the answer as JSON")
        }
        Some(Format::Yaml) => serde_yaml_ng::to_string(answer).context("cannot write the answer as YAML"),
        Some(Format::JsonPath(template)) => {
            let value = serde_json::to_value(answer).context("cannot write the answer as JSON")?;
            jsonpath::fill(template, &value).map(with_line_end)
        }
    }
}
