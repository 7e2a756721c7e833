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
