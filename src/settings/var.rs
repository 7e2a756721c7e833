//! One variable: what it is for, which form its value has, and what happens when it is not set.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use super::{
    Env,
    file::{Found, lookup, twin},
    forms::{self, Form, HttpUrl},
    invisible,
    problems::{EnvProblem, EnvWarning, Fault, echo},
    secret::Secret,
    unknown::is_link_value,
};

/// A variable that is about to be read: describe it, then say its form.
///
/// The forms that take free text or a secret ([`Var::text`], [`Var::path`], [`Var::url`], [`Var::secret`]) also
/// read `<NAME>_FILE`, the path of a file that holds the value, as container secrets are mounted. One
/// line break at its end is dropped, nothing else; it has at most 64 KiB of UTF-8 text.
///
/// A byte order mark at the beginning of such a file is dropped. Characters that nobody sees (carriage returns and other
/// controls, zero-width and bidirectional ones, no-break spaces) are refused by their name in all four; all but a URL
/// may have line breaks and tabs, and a text what joins words and emoji.
///
/// White space around a text, a path or a secret is kept, with a warning; around every other form it is
/// dropped. A value of blanks alone is no value: the variable counts as not set.
#[derive(Debug)]
#[must_use = "a variable is read by its form and `default`, `optional` or `required`"]
pub struct Var<'e> {
    env: &'e Env,
    name: String,
    description: &'static str,
    example: Option<&'static str>,
}

impl<'e> Var<'e> {
    pub(super) fn new(env: &'e Env, name: String) -> Self {
        Self { env, name, description: "", example: None }
    }

    /// Says what the variable is for: one sentence for the documentation.
    pub fn describe(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    /// Gives a value that an operator could write, for the documentation and for the report that the
    /// variable is missing. Never a real secret.
    pub fn example(self, example: &'static str) -> Self {
        Self { example: Some(example), ..self }
    }

    /// A duration with its unit: `250ms`, `15s`, `2m`, `1h`, `1m30s`; at most 366 days.
    pub fn duration(self) -> TypedVar<'e, Duration> {
        self.of(forms::duration())
    }

    /// A whole number from the range's start to its end, of any of the language's types, those that are not zero
    /// included.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    ///
    /// let env = solostart::Env::from_vars("SHOP", [("SHOP_WORKERS", "4")]);
    /// let workers = env.var("WORKERS").integer(NonZeroU32::MIN..=NonZeroU32::MAX).default(NonZeroU32::MIN);
    /// assert_eq!(workers.get(), 4);
    /// ```
    pub fn integer<N>(self, range: RangeInclusive<N>) -> TypedVar<'e, N>
    where
        N: FromStr + PartialOrd + Clone + fmt::Display + 'static,
    {
        self.of(forms::integer(range))
    }

    /// Whatever can be read from a text and displayed. `shape` follows the word "write" in the report of a value that
    /// cannot be read. `stand_in` is what [`TypedVar::required`] returns then, until [`Env::check`] refuses the start: any
    /// value that does no harm.
    ///
    /// ```
    /// use std::net::IpAddr;
    ///
    /// let env = solostart::Env::from_vars("SHOP", [("SHOP_GATEWAY", "192.0.2.1")]);
    /// let nobody = IpAddr::from([0, 0, 0, 0]);
    /// let gateway = env.var("GATEWAY").parse("an IP address such as 192.0.2.1", nobody).required();
    /// assert_eq!(gateway, IpAddr::from([192, 0, 2, 1]));
    /// ```
    pub fn parse<T>(self, shape: &'static str, stand_in: T) -> TypedVar<'e, T>
    where
        T: FromStr + fmt::Display + 'static,
    {
        self.of(forms::parsed(shape, stand_in))
    }

    /// Not read here but by something else, such as a library: it is listed with the other variables, and is not
    /// unknown. Nothing is said of its value, and its `_FILE` twin is not known.
    ///
    /// ```
    /// let env = solostart::Env::from_vars("SHOP", [("SHOP_LOG", "debug")]);
    /// env.var("LOG").describe("The filter of the log.").read_elsewhere();
    /// assert!(env.check()?.is_empty());
    /// # Ok::<(), solostart::EnvProblems>(())
    /// ```
    pub fn read_elsewhere(self) {
        let Self { env, name, description, example } = self;
        env.declare(VariableInfo {
            name,
            form: "what its reader takes".to_owned(),
            default: None,
            required: false,
            example,
            description,
            secret: false,
            takes_file: false,
        });
    }

    /// `true` or `1`, `false` or `0`.
    pub fn boolean(self) -> TypedVar<'e, bool> {
        self.of(forms::boolean())
    }

    /// One of a few words, each with what it means. The case of letters matters.
    pub fn choice<T, const N: usize>(self, choices: [(&'static str, T); N]) -> TypedVar<'e, T>
    where
        T: Clone + PartialEq + 'static,
    {
        self.of(forms::choice(choices))
    }

    /// Any text.
    pub fn text(self) -> TypedVar<'e, String> {
        self.of(forms::text())
    }

    /// A path. Whether anything is there is not looked at.
    pub fn path(self) -> TypedVar<'e, PathBuf> {
        self.of(forms::path())
    }

    /// An `http` or `https` URL, which is never printed whole.
    pub fn url(self) -> TypedVar<'e, HttpUrl> {
        self.of(forms::url())
    }

    /// An IP address with a port: `0.0.0.0:8080`, `[::1]:8080`.
    pub fn socket_address(self) -> TypedVar<'e, SocketAddr> {
        self.of(forms::socket_address())
    }

    /// A secret, which is never printed.
    pub fn secret(self) -> TypedVar<'e, Secret> {
        self.of(forms::secret())
    }

    fn of<T>(self, form: Form<T>) -> TypedVar<'e, T> {
        TypedVar { var: self, form }
    }
}

/// A variable whose form is known: say what happens when it is not set.
///
/// Reading never fails. A problem is recorded, a stand-in is returned, and [`Env::check`] refuses the start
/// later, so that one report lists every problem of every variable.
#[must_use = "a variable is read by `default`, `optional` or `required`"]
pub struct TypedVar<'e, T> {
    var: Var<'e>,
    form: Form<T>,
}

impl<'e, T: 'static> TypedVar<'e, T> {
    /// Refuses values outside `range`.
    pub fn within(self, range: RangeInclusive<T>) -> Self
    where
        T: PartialOrd + Clone,
    {
        Self { form: self.form.within(range), ..self }
    }

    /// Several values with commas between them, each without the blanks around it: `a,b, c`. A value that holds a comma
    /// cannot be one of them.
    ///
    /// ```
    /// let env = solostart::Env::from_vars("SHOP", [("SHOP_PORTS", "80, 443")]);
    /// assert_eq!(env.var("PORTS").integer(1..=u16::MAX).list().default(Vec::new()), [80, 443]);
    /// ```
    pub fn list(self) -> TypedVar<'e, Vec<T>> {
        TypedVar { var: self.var, form: self.form.list() }
    }

    /// The value, or `value` if the variable is not set or unusable.
    pub fn default(self, value: T) -> T {
        let shown = (self.form.show)(&value);
        self.read(Some(shown), false).unwrap_or(value)
    }

    /// The value, or `None` if the variable is not set or unusable.
    #[must_use]
    pub fn optional(self) -> Option<T> {
        self.read(None, false)
    }

    /// The value. If the variable is not set or unusable, a stand-in: the start of the range, zero, or
    /// something empty. Do nothing with it before [`Env::check`] said that there is no problem.
    #[must_use]
    pub fn required(self) -> T {
        self.read(None, true).unwrap_or(self.form.stand_in)
    }

    fn read(&self, default: Option<String>, required: bool) -> Option<T> {
        let Var { env, ref name, description, example } = self.var;
        env.declare(VariableInfo {
            name: name.clone(),
            form: self.form.shape.clone(),
            default,
            required,
            example,
            description,
            secret: self.form.secret,
            takes_file: self.form.takes_file(),
        });
        let value = match lookup(env, name, self.form.takes_file()) {
            Ok(Some(found)) => self.parse(&found).map(Some),
            Ok(None) if required => Err(self.missing()),
            Ok(None) => Ok(None),
            Err(problem) => Err(problem),
        };
        value.unwrap_or_else(|problem| {
            env.record(problem);
            None
        })
    }

    fn parse(&self, found: &Found) -> Result<T, EnvProblem> {
        let Found { text, source, .. } = found;
        if is_link_value(source, text) {
            return Err(EnvProblem::new(
                source,
                "set by a Kubernetes service link, not by a person",
                "put `enableServiceLinks: false` into the pod's spec",
            ));
        }
        let text = if self.form.verbatim { text } else { text.trim() };
        if self.form.takes_file() {
            self.refuse_unseen(found, text)?;
        }
        let value = (self.form.parse)(text).map_err(|fault| self.refused(found, text, fault))?;
        if self.form.verbatim {
            self.warn_of_white_space(found);
        }
        Ok(value)
    }

    /// A byte order mark or a carriage return would make another path, another password. They are refused by their
    /// name, because nobody sees them in what is printed. Every other form refuses them as part of no number or word.
    fn refuse_unseen(&self, found: &Found, text: &str) -> Result<(), EnvProblem> {
        let Some((at, each)) = self.form.unseen.first_in(text) else { return Ok(()) };
        let what = format!("the value holds {} as character {at}", invisible::name(each));
        let remedy = if each == '\r' {
            "save the file that it comes from with the line ends of Unix"
        } else {
            "write it without what cannot be seen"
        };
        Err(EnvProblem::new(&found.source, what, remedy))
    }

    fn refused(&self, Found { source, from_file, .. }: &Found, text: &str, fault: Fault) -> EnvProblem {
        // What stands in a file was put there to be kept out of sight, whatever its form.
        let shown = if self.form.secret || *from_file { "the value".to_owned() } else { echo(text) };
        let remedy = fault.remedy.unwrap_or_else(|| format!("write {}", self.form.shape));
        EnvProblem::new(source, format!("{shown} {}", fault.what), remedy)
    }

    fn missing(&self) -> EnvProblem {
        let name = &self.var.name;
        // Compose passes the empty string for an unset `${VAR}`, so the difference is worth a word.
        let what =
            if self.var.env.raw(name).is_some() { "empty, which counts as not set" } else { "missing" };
        let mut remedy = format!("required: {}", self.form.shape);
        if let Some(example) = self.var.example {
            remedy.push_str(", for instance ");
            remedy.push_str(example);
        }
        if self.form.secret {
            remedy.push_str(", or its file's path in ");
            remedy.push_str(&twin(name));
        }
        EnvProblem::new(name, what, remedy)
    }

    /// A value from a file is pasted or generated, so blanks inside it are as suspicious as around it; in a
    /// variable they were typed.
    fn warn_of_white_space(&self, Found { text, source, from_file }: &Found) {
        if *from_file && text.contains(char::is_whitespace) {
            self.var
                .env
                .warn(EnvWarning::new(source, "the file's value contains white space, which is kept"));
        } else if text.trim() != text {
            self.var
                .env
                .warn(EnvWarning::new(source, "the value starts or ends with white space, which is kept"));
        }
    }
}

impl<T> fmt::Debug for TypedVar<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedVar").field("name", &self.var.name).field("form", &self.form.shape).finish()
    }
}

/// What is known about a variable that was read, for the documentation. Never contains a value.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct VariableInfo {
    /// The full name.
    pub name: String,
    /// What to write, for instance `a duration such as 500ms, 30s or 1m30s`.
    pub form: String,
    /// The default as an operator would write it.
    pub default: Option<String>,
    /// Whether the start is refused without it.
    pub required: bool,
    /// A value that an operator could write.
    pub example: Option<&'static str>,
    /// What it is for.
    pub description: &'static str,
    /// Whether its value is, or may contain, a secret.
    pub secret: bool,
    /// Whether `<NAME>_FILE` is read too.
    pub takes_file: bool,
}
