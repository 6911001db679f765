//! The part of JSONPath templates (as kubectl knows them) that scripts use: `{.a.b}`, `{.a[0]}`, `{[*].id}`,
//! `{.a['key.with.dots']}`, text around them and `{"\n"}`. Deliberately absent: `range`, filters, slices.

use anyhow::{Result, bail};
use serde_json::Value;

/// Fills a template with parts of `value`. A field that is missing gives nothing, as in kubectl.
pub(crate) fn fill(template: &str, value: &Value) -> Result<String> {
    let (mut out, mut rest) = (String::new(), template);
    while let Some((text, after)) = rest.split_once('{') {
        out.push_str(text);
        let Some((expression, after)) = split_at_brace(after) else {
            bail!("the template `{template}` has a `{{` that is not closed");
        };
        out.push_str(&evaluate(expression.trim(), value)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Splits at the closing brace, which may also stand within quotes.
fn split_at_brace(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '}' => return Some((&text[..at], &text[at + 1..])),
            None => {}
        }
    }
    None
}

fn evaluate(expression: &str, value: &Value) -> Result<String> {
    if expression.starts_with('"') {
        return Ok(serde_json::from_str::<String>(expression)?);
    }
    let mut found = vec![value];
    let mut rest = expression.strip_prefix('$').unwrap_or(expression);
    while !rest.is_empty() {
        let (step, after) = step(rest)?;
        found = found.into_iter().flat_map(|value| take(value, &step)).collect();
        rest = after;
    }
    let texts: Vec<String> = found.into_iter().map(text).collect();
    Ok(texts.join(" "))
}

enum Step<'a> {
    Key(&'a str),
    Index(i64),
    All,
}

/// The first step of a path and what follows it.
fn step(path: &str) -> Result<(Step<'_>, &str)> {
    if let Some(inner) = path.strip_prefix('[') {
        let Some((index, after)) = inner.split_once(']') else {
            bail!("`{path}` has a `[` that is not closed")
        };
        let quoted = index.strip_prefix('\'').and_then(|i| i.strip_suffix('\''));
        let step = match (quoted, index) {
            (Some(key), _) => Step::Key(key),
            (None, "*") => Step::All,
            (None, number) => match number.parse() {
                Ok(number) => Step::Index(number),
                Err(_) => bail!("`[{number}]` is not understood: write [0], [*] or ['key']"),
            },
        };
        return Ok((step, after));
    }
    let Some(name) = path.strip_prefix('.') else {
        bail!("`{path}` is not understood: paths begin with `.` or `[`")
    };
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let step = match &name[..end] {
        "" => bail!("`{path}` has an empty field name"),
        "*" => Step::All,
        key => Step::Key(key),
    };
    Ok((step, &name[end..]))
}

fn take<'a>(value: &'a Value, step: &Step<'_>) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Key(key), Value::Object(map)) => map.get(*key).into_iter().collect(),
        (Step::Index(index), Value::Array(list)) => {
            let from_end = if *index < 0 { list.len() as i64 + index } else { *index };
            usize::try_from(from_end).ok().and_then(|at| list.get(at)).into_iter().collect()
        }
        (Step::All, Value::Array(list)) => list.iter().collect(),
        (Step::All, Value::Object(map)) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::fill;
    use serde_json::json;

    #[test]
    fn templates_are_filled() {
        let value = json!([{ "id": 5, "status": { "state": "ready", "a.b": [1, 2] } }, { "id": 7 }]);
        let cases = [
            ("{[0].status.state}", "ready"),
            ("{[*].id}", "5 7"),
            ("{[-1].id}", "7"),
            ("{[0].status['a.b'][1]}", "2"),
            ("id {[0].id}{\"\\n\"}done", "id 5\ndone"),
            ("{$[0].status}", "{\"a.b\":[1,2],\"state\":\"ready\"}"),
            ("{[0].missing.deeper}", ""),
            ("plain", "plain"),
        ];
        for (template, expected) in cases {
            assert_eq!(fill(template, &value).expect(template), expected, "{template}");
        }
        for bad in ["{", "{.a[}", "{.a[x]}", "{..a}", "{a}"] {
            assert!(fill(bad, &value).is_err(), "{bad} was understood");
        }
    }
}
