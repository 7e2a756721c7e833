//! One file over another, one service over the one that it extends.
//!
//! <https://docs.docker.com/reference/compose-file/merge/>: mappings are merged key by key, lists are joined, and
//! anything else is replaced. The keys that differ stand in one table.

use std::collections::{BTreeMap, HashMap};

use super::{
    fault::Fault,
    mounts::Mount,
    node::{Node, Tag, Value},
};

/// How the values of a key of a service are merged, where their form does not say it.
#[derive(Clone, Copy)]
enum Rule {
    /// The later one counts: half of a command is none.
    Replaced,
    /// A list of `NAME=value` or of names is another way to write a mapping.
    Mapping,
    /// A single value is a list of one.
    List,
}

/// Paths from the service down.
const RULES: &[(&[&str], Rule)] = &[
    (&["command"], Rule::Replaced),
    (&["entrypoint"], Rule::Replaced),
    (&["healthcheck", "test"], Rule::Replaced),
    (&["environment"], Rule::Mapping),
    (&["labels"], Rule::Mapping),
    (&["annotations"], Rule::Mapping),
    (&["sysctls"], Rule::Mapping),
    (&["depends_on"], Rule::Mapping),
    (&["networks"], Rule::Mapping),
    (&["build", "args"], Rule::Mapping),
    (&["build", "labels"], Rule::Mapping),
    (&["deploy", "labels"], Rule::Mapping),
    (&["env_file"], Rule::List),
    (&["tmpfs"], Rule::List),
    (&["dns"], Rule::List),
    (&["dns_search"], Rule::List),
];

/// A file over another.
pub(super) fn merge_files(base: Node, over: Node) -> Result<Node, Fault> {
    merge_at(base, over, &[])
}

/// A service over the one that it extends.
pub(super) fn merge_services(base: Node, over: Node) -> Result<Node, Fault> {
    merge_at(base, over, &["services", ""])
}

/// Drops what `!reset` has left, which also counts where there was nothing to reset.
pub(super) fn without_resets(mut node: Node) -> Node {
    node.value = match node.value {
        Value::Map(map) => {
            let kept = map.into_iter().filter(|(_, node)| node.tag != Tag::Reset);
            Value::Map(kept.map(|(key, node)| (key, without_resets(node))).collect())
        }
        Value::List(items) => {
            let kept = items.into_iter().filter(|node| node.tag != Tag::Reset);
            Value::List(kept.map(without_resets).collect())
        }
        value @ (Value::Null | Value::Text(_)) => value,
    };
    node
}

fn merge_at(base: Node, over: Node, path: &[&str]) -> Result<Node, Fault> {
    let in_service = if path.len() >= 2 && path[0] == "services" { &path[2..] } else { &[] };
    let rule = RULES.iter().find(|(path, _)| *path == in_service).map(|(_, rule)| *rule);
    if over.tag != Tag::None || matches!(rule, Some(Rule::Replaced)) {
        return Ok(over);
    }
    let Node { at, tag, .. } = over;
    let base_at = base.at.clone();
    let value = match (formed(base, rule), formed(Node { at: at.clone(), tag, value: over.value }, rule)) {
        (base, Value::Null) => base,
        (Value::Map(base), Value::Map(over)) => Value::Map(merge_maps(base, over, path)?),
        (Value::List(base), Value::List(over)) => Value::List(join(base, over, in_service)),
        (Value::Map(_), over) => {
            let text = format!("`{}` is {} here, but a mapping in {base_at}", path.join("."), over.kind());
            return Err(Fault::new(&at, text));
        }
        (_, over) => over,
    };
    Ok(Node { at, tag, value })
}

fn merge_maps(
    mut base: BTreeMap<String, Node>,
    over: BTreeMap<String, Node>,
    path: &[&str],
) -> Result<BTreeMap<String, Node>, Fault> {
    for (key, over) in over {
        let merged = match base.remove(&key) {
            None => over,
            Some(base) => {
                let path: Vec<&str> = path.iter().copied().chain([key.as_str()]).collect();
                merge_at(base, over, &path)?
            }
        };
        base.insert(key, merged);
    }
    Ok(base)
}

/// The value in the form that its rule merges.
fn formed(node: Node, rule: Option<Rule>) -> Value {
    match (rule, node.value) {
        (Some(Rule::Mapping), Value::List(items)) => {
            Value::Map(items.into_iter().filter_map(entry).collect())
        }
        (Some(Rule::List), Value::Text(text)) => Value::List(vec![Node::new(&node.at, Value::Text(text))]),
        (_, value) => value,
    }
}

/// `NAME=value` or `NAME` as the entry of a mapping.
fn entry(item: Node) -> Option<(String, Node)> {
    let Value::Text(text) = &item.value else { return None };
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Value::Text(value.to_owned())),
        None => (text.clone(), Value::Null),
    };
    Some((name, Node { value, ..item }))
}

/// Both lists. An item that means the same as an earlier one takes its place.
fn join(base: Vec<Node>, over: Vec<Node>, path: &[&str]) -> Vec<Node> {
    let mut joined: Vec<Node> = Vec::with_capacity(base.len() + over.len());
    let mut places: HashMap<String, usize> = HashMap::new();
    for item in base.into_iter().chain(over) {
        match identity(&item, path).map(|identity| *places.entry(identity).or_insert(joined.len())) {
            Some(place) if place < joined.len() => joined[place] = item,
            Some(_) | None => joined.push(item),
        }
    }
    joined
}

/// What two items of a list have in common where one replaces the other.
fn identity(item: &Node, path: &[&str]) -> Option<String> {
    let part = |key: &str| item.get(key).and_then(Node::text);
    match (path, item.text()) {
        (["volumes"], _) => Mount::of(item).map(|mount| mount.target),
        (["ports"], Some(text)) => {
            Some(if text.contains('/') { text.to_owned() } else { format!("{text}/tcp") })
        }
        (["ports"], None) => {
            let protocol = part("protocol").unwrap_or("tcp");
            let before = ["host_ip", "published"].into_iter().filter_map(part);
            let parts: Vec<&str> = before.chain(part("target")).collect();
            Some(format!("{}/{protocol}", parts.join(":")))
        }
        (_, Some(text)) => Some(text.to_owned()),
        (["env_file"], None) => part("path").map(str::to_owned),
        (_, None) => part("target").or(part("source")).map(str::to_owned),
    }
}
