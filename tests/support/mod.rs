//! Starting an application of this package as a process of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A built example of this package.
pub(crate) fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: cargo build --examples", path.display());
    path
}

/// An example on its own data directory, with nothing in its environment but this.
pub(crate) fn command(name: &str, data_dir: &Path, vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(example(name));
    let prefix = name.replace("test-app", "testapp").to_uppercase();
    command.env_clear().env(format!("{prefix}_DATA_DIR"), data_dir).envs(vars.iter().copied());
    // What `healthcheck` reads must not be where a service of this machine keeps it.
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command
}
