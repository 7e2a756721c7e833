//! One service: its environment as its container would see it, and what is mounted.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    dotenv,
    fault::{Fault, Finding, Place, Weight},
    files,
    mounts::Mount,
    node::{Node, Value},
    project::{Lookup, Project},
};
use crate::codes::FailureCode;

pub(super) struct Service<'p> {
    pub(super) name: &'p str,
    pub(super) node: &'p Node,
    /// Each variable, and where it stands.
    pub(super) environment: BTreeMap<String, (Place, String)>,
    pub(super) mounts: Vec<Mount>,
}

impl<'p> Service<'p> {
    /// # Errors
    /// If Compose could not read the service's `environment`, `env_file` or mounts either.
    pub(super) fn read(
        name: &'p str,
        node: &'p Node,
        project: &Project,
        process: Lookup<'_>,
    ) -> Result<Self, Fault> {
        let lookup = |name: &str| project.variable(name, process);
        let mut environment = BTreeMap::new();
        for entry in node.get("env_file").map(Node::items).unwrap_or_default() {
            for (name, (at, value)) in read_env_file(entry, project, &lookup)? {
                environment.extend(value.or_else(|| lookup(&name)).map(|value| (name, (at, value))));
            }
        }
        for (name, at, value) in node.get("environment").map(own_variables).transpose()?.unwrap_or_default() {
            match value.or_else(|| lookup(&name)) {
                Some(value) => environment.insert(name, (at, value)),
                None => environment.remove(&name),
            };
        }
        Ok(Self { name, node, environment, mounts: mounts(node)? })
    }

    /// The text that stands at the end of `path`.
    pub(super) fn text(&self, path: &[&str]) -> Option<(&'p str, &'p Place)> {
        self.node.find(path).and_then(|node| Some((node.text()?, &node.at)))
    }

    /// Where the variable stands, or else the service.
    pub(super) fn place_of(&self, variable: &str) -> &Place {
        self.environment.get(variable).map_or(&self.node.at, |(at, _)| at)
    }

    pub(super) fn problem(&self, code: FailureCode, at: &Place, text: String, hint: &str) -> Finding {
        let (weight, service) = (Weight::Problem, self.name.to_owned());
        Finding { weight, code, service, at: at.clone(), text, hint: Some(hint.to_owned()) }
    }

    pub(super) fn warning(&self, code: FailureCode, at: &Place, text: String, hint: &str) -> Finding {
        Finding { weight: Weight::Warning, ..self.problem(code, at, text, hint) }
    }
}

/// `environment`, as a mapping or as a list.
fn own_variables(node: &Node) -> Result<Vec<(String, Place, Option<String>)>, Fault> {
    let own = |name: &str, node: &Node, value: Option<&str>| {
        (name.to_owned(), node.at.clone(), value.map(str::to_owned))
    };
    let refused = |node: &Node, name: &str| {
        Err(Fault::new(&node.at, format!("the variable {name} is {}, which is no value", node.value.kind())))
    };
    match &node.value {
        Value::Map(map) => map
            .iter()
            .map(|(name, node)| match &node.value {
                Value::Text(text) => Ok(own(name, node, Some(text))),
                Value::Null => Ok(own(name, node, None)),
                Value::List(_) | Value::Map(_) => refused(node, name),
            })
            .collect(),
        Value::List(items) => items
            .iter()
            .map(|item| match item.text().map(|text| text.split_once('=').ok_or(text)) {
                Some(Ok((name, value))) => Ok(own(name, item, Some(value))),
                Some(Err(name)) => Ok(own(name, item, None)),
                None => refused(item, "in a list"),
            })
            .collect(),
        Value::Null => Ok(Vec::new()),
        Value::Text(_) => Err(Fault::new(&node.at, "`environment` must be a mapping or a list")),
    }
}

/// An entry of `env_file`: a path, or `{path, required, format}`.
fn read_env_file(entry: &Node, project: &Project, lookup: Lookup<'_>) -> Result<dotenv::Variables, Fault> {
    let part = |key: &str| entry.get(key).and_then(Node::text);
    let path = entry.text().or(part("path"));
    let path = path.ok_or_else(|| Fault::new(&entry.at, "an `env_file` needs a path"))?;
    let whole = project.dir.join(path);
    if part("required") == Some("false") && !whole.exists() {
        return Ok(dotenv::Variables::new());
    }
    let file: Arc<str> = Arc::from(path);
    let text = files::read(&whole, &file, &entry.at)?;
    match part("format") {
        None => dotenv::parse(&text, &file, lookup),
        Some("raw") => dotenv::parse_raw(&text, &file),
        Some(_) => Err(Fault::new(&entry.at, "the `format` of an `env_file` can only be raw")),
    }
}

fn mounts(node: &Node) -> Result<Vec<Mount>, Fault> {
    let mut mounts = Vec::new();
    for item in node.get("volumes").map(Node::items).unwrap_or_default() {
        let mount = Mount::of(item);
        mounts.push(mount.ok_or_else(|| Fault::new(&item.at, "a volume needs at least a `target`"))?);
    }
    let tmpfs = node.get("tmpfs").map(Node::items).unwrap_or_default();
    mounts.extend(tmpfs.iter().filter_map(Mount::tmpfs));
    Ok(mounts)
}
