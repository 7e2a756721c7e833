//! The environment layer: typed reading of environment variables, with every problem in one report. Floor 0.
//!
//! By hand, because no configuration crate lists all problems at once, with full variable names and without
//! echoing values that may be secret.

mod file;
mod forms;
mod invisible;
pub(crate) mod paths;
mod problems;
mod secret;
mod unknown;
mod var;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(crate) use forms::SOME_TIME;
pub use forms::{HttpUrl, InvalidUrl};
pub use problems::{EnvProblem, EnvProblems, EnvWarning};
pub use secret::Secret;
pub use var::{TypedVar, Var, VariableInfo};

/// The environment of one application, read once when it is made. A clone is the same environment.
///
/// Reading never fails at the call: a problem is recorded and a stand-in returned, so that [`Env::check`] can
/// list every problem of every variable at once, before anything is started.
///
/// ```
/// use std::time::Duration;
///
/// use solostart::Env;
///
/// let env = Env::from_vars("BANBOARD", [("BANBOARD_HTTP_TIMEOUT", "30"), ("BANBOARD_LOCK_WIAT", "15s")]);
/// let timeout = env
///     .var("HTTP_TIMEOUT")
///     .describe("How long one request may take.")
///     .duration()
///     .within(Duration::from_millis(100)..=Duration::from_mins(5))
///     .default(Duration::from_secs(5));
/// let wait = env.var("LOCK_WAIT").describe("How long to wait for the lock.").duration().optional();
///
/// assert_eq!((timeout, wait), (Duration::from_secs(5), None));
/// assert_eq!(
///     env.check().unwrap_err().to_string(),
///     "1 problem in the environment:\
///     \n  BANBOARD_HTTP_TIMEOUT: \"30\" has no unit; write 30s (or 500ms, 2m)\
///     \n  BANBOARD_LOCK_WIAT: unknown; did you mean BANBOARD_LOCK_WAIT? (warning)",
/// );
/// ```
#[derive(Clone)]
pub struct Env {
    shared: Arc<Shared>,
    /// What the application's files are named after.
    application: Arc<str>,
}

struct Shared {
    prefix: String,
    vars: BTreeMap<OsString, OsString>,
    ledger: Mutex<Ledger>,
}

/// What was learnt while variables were read. Sets, because two stages may read the same variable.
#[derive(Clone, Default)]
struct Ledger {
    catalogue: BTreeMap<String, VariableInfo>,
    problems: BTreeSet<EnvProblem>,
    warnings: BTreeSet<EnvWarning>,
}

impl Env {
    /// The environment of this process, for an application whose variables start with `prefix` and `_`.
    /// [`Env::prefix_of`] makes the prefix.
    #[must_use]
    pub fn from_process(prefix: &str) -> Self {
        Self::from_vars(prefix, std::env::vars_os())
    }

    /// An environment of the given variables, for tests and for embedding. Where a name comes twice, the last
    /// one counts.
    #[must_use]
    pub fn from_vars(
        prefix: &str,
        vars: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Self {
        let vars = vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let application = prefix.to_ascii_lowercase().replace('_', "-").into();
        let shared = Shared { prefix: prefix.to_owned(), vars, ledger: Mutex::default() };
        Self { shared: Arc::new(shared), application }
    }

    /// Reads variables that begin with another prefix, too, as those of a service that had another name do: each stands
    /// for the one with the prefix of now, and is warned of. Both set to different values are a problem.
    ///
    /// ```
    /// use solostart::Env;
    ///
    /// let env = Env::from_vars("SHOP", [("STORE_CITY", "Paris")]).with_old_prefix("STORE");
    /// assert_eq!(env.var("CITY").text().optional().as_deref(), Some("Paris"));
    /// assert_eq!(env.check()?[0].to_string(), "STORE_CITY: an old name; write SHOP_CITY");
    /// # Ok::<(), solostart::EnvProblems>(())
    /// ```
    #[must_use]
    pub fn with_old_prefix(self, old: &str) -> Self {
        let (own, old) = (self.full_name(""), [old, "_"].concat());
        let mut vars = self.shared.vars.clone();
        let renamed = self.shared.vars.iter().filter_map(|(name, value)| {
            let name = name.to_str().filter(|name| !name.starts_with(&own))?;
            Some((name, self.full_name(name.strip_prefix(&old)?), value))
        });
        for (name, new, value) in renamed {
            match self.raw(&new) {
                Some(set) if set != value => {
                    self.problem(name, format!("an old name of {new}, which has another value"), "remove it");
                }
                Some(_) | None => self.warning(name, format!("an old name; write {new}")),
            }
            vars.entry(new.into()).or_insert_with(|| value.clone());
        }
        let ledger = Mutex::new(self.ledger().clone());
        let shared = Shared { prefix: self.shared.prefix.clone(), vars, ledger };
        Self { shared: Arc::new(shared), application: self.application }
    }

    /// The same environment, for the application of this name. Lock and data are named after it, whatever the
    /// prefix is: one name in one place, or the lock would not lie beside what it protects.
    pub(crate) fn for_application(self, name: &str) -> Self {
        Self { application: name.into(), ..self }
    }

    /// What the application's files are named after: its name, or, as long as no start-up has said it, the
    /// prefix in small letters with hyphens.
    pub(crate) fn application(&self) -> &str {
        &self.application
    }

    /// The prefix of an application's variables: its name in capitals, every other character an underscore.
    ///
    /// ```
    /// assert_eq!(solostart::Env::prefix_of("ban-board"), "BAN_BOARD");
    /// ```
    #[must_use]
    pub fn prefix_of(name: &str) -> String {
        name.chars()
            .map(|each| if each.is_ascii_alphanumeric() { each.to_ascii_uppercase() } else { '_' })
            .collect()
    }

    /// The prefix, without the underscore that follows it.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    /// The full name of one of the application's variables: `BANBOARD_LISTEN` for `LISTEN`.
    #[must_use]
    pub fn full_name(&self, name: &str) -> String {
        [self.prefix(), "_", name].concat()
    }

    /// One of the application's own variables, named without the prefix: `LISTEN` reads `BANBOARD_LISTEN`.
    pub fn var(&self, name: &str) -> Var<'_> {
        Var::new(self, self.full_name(name))
    }

    /// A variable that carries no prefix, such as `WEB_CONCURRENCY`.
    pub fn foreign(&self, full_name: &str) -> Var<'_> {
        Var::new(self, full_name.to_owned())
    }

    /// A variable exactly as it is, even if empty. This does not count as reading it: the variable is not in the
    /// catalogue, and one with the prefix stays unknown. The value may be a secret.
    #[must_use]
    pub fn raw(&self, full_name: &str) -> Option<&OsStr> {
        self.shared.vars.get(OsStr::new(full_name)).map(OsString::as_os_str)
    }

    /// Whether any variable is set whose name begins with the prefix and `start`. It lets a reader of many
    /// similar variables look for none of them where none is set.
    pub(crate) fn sets_any(&self, start: &str) -> bool {
        let start = self.full_name(start);
        self.own_vars().any(|(name, _)| name.starts_with(&start))
    }

    /// Records a problem that the value's form does not show, such as two settings that contradict each other:
    /// what is wrong, and what to write instead. Neither may contain a secret.
    ///
    /// ```
    /// let env = solostart::Env::from_vars("SHOP", [("SHOP_MIN", "5"), ("SHOP_MAX", "3")]);
    /// let min = env.var("MIN").integer(0..=9).default(0);
    /// let max = env.var("MAX").integer(0..=9).default(9);
    /// if min > max {
    ///     env.problem(&env.full_name("MIN"), format!("{min} is more than SHOP_MAX"), format!("write at most {max}"));
    /// }
    /// assert!(env.check().is_err());
    /// ```
    pub fn problem(&self, full_name: &str, what: impl AsRef<str>, remedy: impl AsRef<str>) {
        self.record(EnvProblem::new(full_name, what, remedy));
    }

    /// Records a warning about a value that the service can start with. It may not contain a secret.
    ///
    /// ```
    /// let env = solostart::Env::from_vars("SHOP", [("SHOP_HOSTS", "a,,b")]);
    /// let hosts = env.var("HOSTS").text().default(String::new());
    /// if hosts.split(',').any(str::is_empty) {
    ///     env.warning(&env.full_name("HOSTS"), "one of the names is empty, and passed over");
    /// }
    /// assert_eq!(env.check()?.len(), 1);
    /// # Ok::<(), solostart::EnvProblems>(())
    /// ```
    pub fn warning(&self, full_name: &str, text: impl AsRef<str>) {
        self.warn(EnvWarning::new(full_name, text));
    }

    /// Judges the environment as a whole. Call it after everything was read, since every variable with the
    /// prefix that nobody read by then counts as unknown. The warnings are sorted by variable.
    ///
    /// # Errors
    /// If at least one problem was recorded: all of them, sorted by variable, with the warnings.
    pub fn check(&self) -> Result<Vec<EnvWarning>, EnvProblems> {
        let ledger = self.ledger();
        let unknown = unknown::warnings(&self.shared.prefix, &ledger.catalogue, self.own_vars());
        let mut warnings: Vec<EnvWarning> = ledger.warnings.iter().cloned().chain(unknown).collect();
        warnings.sort_unstable();
        if ledger.problems.is_empty() {
            return Ok(warnings);
        }
        Err(EnvProblems::new(ledger.problems.iter().cloned().collect(), warnings))
    }

    /// Every variable that was read so far, sorted by name, as its first reader described it.
    #[must_use]
    pub fn catalogue(&self) -> Vec<VariableInfo> {
        self.ledger().catalogue.values().cloned().collect()
    }

    /// The text of a variable, or `None` if it is not set, which includes blanks.
    fn text(&self, full_name: &str) -> Result<Option<&str>, EnvProblem> {
        let Some(value) = self.raw(full_name) else { return Ok(None) };
        let Some(text) = value.to_str() else {
            return Err(EnvProblem::new(full_name, "the value is not valid UTF-8", "write it as plain text"));
        };
        Ok((!text.trim().is_empty()).then_some(text))
    }

    /// The set variables whose names start with the prefix.
    fn own_vars(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let start = self.full_name("");
        let vars =
            self.shared.vars.iter().map(|(name, value)| (name.to_string_lossy(), value.to_string_lossy()));
        vars.filter(move |(name, value)| name.starts_with(&start) && !value.trim().is_empty())
    }

    fn declare(&self, info: VariableInfo) {
        self.ledger().catalogue.entry(info.name.clone()).or_insert(info);
    }

    fn record(&self, problem: EnvProblem) {
        self.ledger().problems.insert(problem);
    }

    fn warn(&self, warning: EnvWarning) {
        self.ledger().warnings.insert(warning);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Every change is one insertion, so what a panicking thread left behind is whole.
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("prefix", &self.shared.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
