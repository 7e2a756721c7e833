//! What `check` asks of a database.

use std::{fs::symlink_metadata, io::ErrorKind, path::Path};

use super::{SqliteDatabase, open, origin, preflight};
use crate::{error::StageResult, instance::data_dir::inspect};

/// Everything that the start would refuse, as far as that can be seen without making or changing anything, and beside
/// a service that uses the file.
pub(super) fn look(path: &Path, settings: &SqliteDatabase) -> StageResult<()> {
    let is_missing = symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if is_missing {
        // The start would make it.
        return inspect(path.parent().unwrap_or(Path::new("/")));
    }
    let looked = preflight::check(path)?;
    if !looked.is_whole() {
        // Its tables are in the log, which cannot be read without making its index.
        return Ok(());
    }
    let connection = open::unchanged(&looked.file).map_err(|refused| looked.show(refused))?;
    origin::judge(&connection, settings, path).map(drop).map_err(|refused| looked.show(refused))
}
