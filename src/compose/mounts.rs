//! What is mounted where in a container.

use super::{
    fault::Place,
    node::{Node, Value},
};

/// What lies behind a mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// A volume under this name.
    Named(String),
    /// A volume that is made anew for each container.
    Anonymous,
    /// A directory of the host.
    Bind,
    Tmpfs,
    /// An image, a cluster volume, a pipe: nothing that a lock could be judged on.
    Other,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mount {
    pub(super) at: Place,
    pub(super) source: Source,
    pub(super) target: String,
    pub(super) read_only: bool,
}

impl Mount {
    /// An entry of `volumes:`, in either form. `None` where it is neither.
    pub(super) fn of(node: &Node) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(Self::short(&node.at, text)),
            Value::Map(_) => Self::long(node),
            Value::Null | Value::List(_) => None,
        }
    }

    /// An entry of `tmpfs:`, which may carry options.
    pub(super) fn tmpfs(node: &Node) -> Option<Self> {
        let target = node.text()?.split(':').next()?;
        Some(Self {
            at: node.at.clone(),
            source: Source::Tmpfs,
            target: clean_path(target),
            read_only: false,
        })
    }

    /// `[SOURCE:]TARGET[:MODE]`
    fn short(at: &Place, text: &str) -> Self {
        let mut parts = text.split(':');
        let first = parts.next().unwrap_or_default();
        let (source, target) = match parts.next() {
            None => (Source::Anonymous, first),
            Some(target) if first.starts_with(['/', '.', '~']) => (Source::Bind, target),
            Some(target) => (Source::Named(first.to_owned()), target),
        };
        let read_only = parts.flat_map(|modes| modes.split(',')).any(|mode| mode == "ro");
        Self { at: at.clone(), source, target: clean_path(target), read_only }
    }

    fn long(node: &Node) -> Option<Self> {
        let source = node.get("source").and_then(Node::text).filter(|source| !source.is_empty());
        let source = match node.get("type").and_then(Node::text) {
            Some("volume") => source.map_or(Source::Anonymous, |source| Source::Named(source.to_owned())),
            Some("bind") => Source::Bind,
            Some("tmpfs") => Source::Tmpfs,
            Some(_) | None => Source::Other,
        };
        let target = clean_path(node.get("target")?.text()?);
        let read_only = node.get("read_only").and_then(Node::text) == Some("true");
        Some(Self { at: node.at.clone(), source, target, read_only })
    }

    /// Whether `path` lies on it, and if so, how deep the mount is.
    pub(super) fn covers(&self, path: &str) -> Option<usize> {
        let rest = path.strip_prefix(self.target.as_str())?;
        (self.target == "/" || rest.is_empty() || rest.starts_with('/')).then_some(self.target.len())
    }
}

/// An absolute path in one spelling: `/data` for `/data/`, `//data` and `/x/../data`.
pub(super) fn clean_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
