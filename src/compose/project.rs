//! The files of a project as one, with what they name: `.env`, `extends`, further documents.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use super::{
    dotenv,
    fault::{Fault, Finding, Place, Weight},
    files,
    interpolate::Filling,
    keys,
    merge::{merge_files, merge_services, without_resets},
    node::{Node, Value},
    yaml,
};
use crate::codes::COMPOSE_INVALID;

/// Services that extend services, so many in a row.
const CHAIN_MOST: usize = 32;
/// Values of all services together once each has what it extends.
const NODES_MOST: usize = 200_000;

/// Looks a variable up in the environment that Compose would see.
pub(super) type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// What Compose would make of the files.
pub(super) struct Project {
    pub(super) root: Node,
    /// What relative paths start from: the directory of the first file.
    pub(super) dir: PathBuf,
    /// What `.env` sets.
    dotenv: BTreeMap<String, String>,
    /// What was noticed on the way.
    pub(super) findings: Vec<Finding>,
}

impl Project {
    /// A variable as Compose would see it: from its own environment, or else from `.env`.
    pub(super) fn variable(&self, name: &str, process: Lookup<'_>) -> Option<String> {
        process(name).or_else(|| self.dotenv.get(name).cloned())
    }

    /// The entries of a section, by name.
    pub(super) fn section(&self, name: &str) -> impl Iterator<Item = (&str, &Node)> {
        self.root.get(name).into_iter().flat_map(Node::entries)
    }
}

/// Reads the files, each over those before it.
///
/// # Errors
/// The first thing that Compose would refuse, other than unknown keys, which are all among the findings.
pub(super) fn load(paths: &[PathBuf], process: Lookup<'_>) -> Result<Project, Fault> {
    let first = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new(""));
    let dir = first.to_path_buf();
    let dotenv = read_dotenv(&dir.join(".env"), process)?;
    let lookup = |name: &str| process(name).or_else(|| dotenv.get(name).cloned());
    let mut loader = Loader { lookup: &lookup, findings: Vec::new(), cache: HashMap::new(), nodes: 0 };
    let mut root: Option<Node> = None;
    for path in paths {
        let named = Place::whole(&name_of(path));
        for document in loader.documents(path, &dir, &named)?.iter() {
            let over = loader.with_extended(document)?;
            root = Some(match root {
                None => over,
                Some(base) => merge_files(base, over)?,
            });
        }
    }
    let Loader { findings, .. } = loader;
    let Some(root) = root.map(without_resets).filter(|root| root.get("services").is_some()) else {
        let at = paths
            .first()
            .map_or_else(|| Place::whole(&Arc::from("compose")), |path| Place::whole(&name_of(path)));
        return Err(Fault::new(&at, "there are no `services` in it"));
    };
    Ok(Project { root, dir, dotenv, findings })
}

fn name_of(path: &Path) -> Arc<str> {
    Arc::from(path.to_string_lossy())
}

fn read_dotenv(path: &Path, process: Lookup<'_>) -> Result<BTreeMap<String, String>, Fault> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let file = name_of(path);
    let text = files::read(path, &file, &Place::whole(&file))?;
    let variables = dotenv::parse(&text, &file, process)?;
    Ok(variables.into_iter().filter_map(|(name, (_, value))| Some((name, value?))).collect())
}

/// One document of a file.
struct Document {
    root: Node,
    /// What `extends: {file: …}` and `env_file` in it start from.
    dir: PathBuf,
}

struct Loader<'l> {
    lookup: Lookup<'l>,
    findings: Vec<Finding>,
    cache: HashMap<PathBuf, Rc<Vec<Document>>>,
    nodes: usize,
}

impl Loader<'_> {
    /// The documents of a file, read once. `named` is where its name stands.
    fn documents(&mut self, path: &Path, dir: &Path, named: &Place) -> Result<Rc<Vec<Document>>, Fault> {
        if let Some(known) = self.cache.get(path) {
            return Ok(Rc::clone(known));
        }
        let file = name_of(path);
        let text = files::read(path, &file, named)?;
        let mut filling = Filling { lookup: self.lookup, unset: Vec::new() };
        let roots = yaml::parse(&text, &file, &mut |text, at| filling.fill(text, at))?;
        let unset = filling.unset;
        for (at, name) in unset {
            let text = format!("the variable {name} is not set, so it is empty here");
            self.warn(at, text, format!("Set {name}, or write ${{{name}:?}} to have Compose insist on it"));
        }
        for root in &roots {
            self.findings.extend(keys::check(root)?.into_iter().map(Finding::from));
            if let Some(include) = root.get("include") {
                let text = "the files of `include` are not looked at".to_owned();
                self.warn(
                    include.at.clone(),
                    text,
                    "Check them as well, each in a run of its own".to_owned(),
                );
            }
        }
        let documents = roots.into_iter().map(|root| Document { root, dir: dir.to_path_buf() });
        let documents = Rc::new(documents.collect::<Vec<_>>());
        self.cache.insert(path.to_path_buf(), Rc::clone(&documents));
        Ok(documents)
    }

    fn warn(&mut self, at: Place, text: String, hint: String) {
        let service = "compose".to_owned();
        let (weight, code) = (Weight::Warning, COMPOSE_INVALID);
        self.findings.push(Finding { weight, code, service, at, text, hint: Some(hint) });
    }

    /// The document, with what its services extend.
    fn with_extended(&mut self, document: &Document) -> Result<Node, Fault> {
        let mut root = document.root.clone();
        let Value::Map(map) = &mut root.value else { return Ok(root) };
        let Some(Node { value: Value::Map(services), .. }) = map.get_mut("services") else { return Ok(root) };
        for (name, service) in services {
            if service.get("extends").is_some() {
                *service = self.extended(document, name, service, &mut Vec::new())?;
            }
            self.nodes = self.nodes.saturating_add(size(service));
            if self.nodes > NODES_MOST {
                let text = format!("the services unfold to more than {NODES_MOST} values");
                return Err(Fault::new(&service.at, text));
            }
        }
        Ok(root)
    }

    /// The service over what it extends. `chain` are the places of the `extends` that led here.
    fn extended(
        &mut self,
        document: &Document,
        name: &str,
        service: &Node,
        chain: &mut Vec<(Place, String)>,
    ) -> Result<Node, Fault> {
        let Some(extends) = service.get("extends") else { return Ok(service.clone()) };
        let step = (extends.at.clone(), name.to_owned());
        if chain.contains(&step) {
            let names: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).chain([name]).collect();
            return Err(Fault::new(
                &extends.at,
                format!("services extend each other in a circle: {}", names.join(" -> ")),
            ));
        }
        if chain.len() >= CHAIN_MOST {
            return Err(Fault::new(
                &extends.at,
                format!("more than {CHAIN_MOST} services extend each other in a row"),
            ));
        }
        chain.push(step);
        let named = extends.text().or(extends.get("service").and_then(Node::text));
        let named = named.ok_or_else(|| Fault::new(&extends.at, "`extends` does not say which service"))?;
        let base = match extends.get("file") {
            None => self.base(document, named, extends, chain)?,
            Some(file) => {
                let text = file.text().ok_or_else(|| Fault::new(&file.at, "`file` must be a path"))?;
                let path = document.dir.join(text);
                let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
                let documents = self.documents(&path, &dir, &file.at)?;
                let has = |document: &&Document| document.root.find(&["services", named]).is_some();
                let other =
                    documents.iter().find(has).ok_or_else(|| missing(named, &name_of(&path), extends))?;
                let mut base = self.base(other, named, extends, chain)?;
                rebase(&mut base, &dir);
                base
            }
        };
        let mut own = service.clone();
        if let Value::Map(map) = &mut own.value {
            map.remove("extends");
        }
        merge_services(base, own)
    }

    fn base(
        &mut self,
        document: &Document,
        named: &str,
        extends: &Node,
        chain: &mut Vec<(Place, String)>,
    ) -> Result<Node, Fault> {
        let base = document.root.find(&["services", named]);
        let base = base.ok_or_else(|| missing(named, &document.root.at.file, extends))?;
        self.extended(document, named, base, chain)
    }
}

fn missing(service: &str, file: &str, extends: &Node) -> Fault {
    Fault::new(&extends.at, format!("there is no service {service} in {file} to extend"))
}

/// Lets the `env_file` of a service from another directory be found from this one.
fn rebase(service: &mut Node, dir: &Path) {
    let Value::Map(map) = &mut service.value else { return };
    let Some(files) = map.get_mut("env_file") else { return };
    match &mut files.value {
        Value::List(items) => items.iter_mut().for_each(|item| rebase_path(item, dir)),
        Value::Text(_) => rebase_path(files, dir),
        Value::Null | Value::Map(_) => {}
    }
}

fn rebase_path(node: &mut Node, dir: &Path) {
    match &mut node.value {
        Value::Text(path) => {
            let joined = dir.join(&*path);
            // Absolute, so that no directory is put in front of it again.
            let whole = std::path::absolute(&joined).unwrap_or(joined);
            *path = whole.to_string_lossy().into_owned();
        }
        Value::Map(map) => {
            if let Some(path) = map.get_mut("path") {
                rebase_path(path, dir);
            }
        }
        Value::Null | Value::List(_) => {}
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Null | Value::Text(_) => 0,
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(map) => map.values().map(size).sum::<usize>(),
    }
}
