//! Where an application's files are. The lock layers and the stages read the same variables, so that the lock
//! lies beside the database that it protects.

use std::path::PathBuf;

use super::Env;

/// Where the application's data is.
pub(crate) fn data_dir(env: &Env) -> PathBuf {
    env.var("DATA_DIR")
        .describe("The directory of the service's data. It is created.")
        .example("/data")
        .path()
        .default(PathBuf::from(format!("{}-data", env.application())))
}

/// Where the application's database is.
pub(crate) fn database_path(env: &Env) -> PathBuf {
    let default = data_dir(env).join(format!("{}.db", env.application()));
    env.var("DATABASE_PATH")
        .describe("The file of the embedded database.")
        .example("/data/app.db")
        .path()
        .default(default)
}

/// Where a process may leave what concerns this machine, or this container, until it ends; the best first.
/// `/dev/shm` is there and writable in every container, even where its root file system is read-only.
pub(crate) fn run_dirs(env: &Env) -> Vec<PathBuf> {
    let user = env.raw("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    user.into_iter().chain(["/run", "/dev/shm", "/tmp"].map(PathBuf::from)).collect()
}
