//! What can be done where a lease that is held cannot be renewed. It could be renewed until now, so it is the disk
//! that is looked at, and no setting.

use std::path::Path;

use rustix::{fs::Access, io::Errno};

use super::{failures::failure, store::StoreError};
use crate::instance::evidence::{denied, quoted};

const KERNEL_LOG: &str = "See what the kernel says of the disk: dmesg | tail -n 30";

/// What the operator can do about the last answer of the store.
pub(super) fn actions(error: &StoreError, place: &Path) -> Vec<String> {
    let dir = place.parent().unwrap_or(place);
    match error {
        // SQLite says "disk I/O error" of it, too.
        StoreError::NotWritable(_) | StoreError::Failed(_) if is_read_only(dir) => vec![
            KERNEL_LOG.to_owned(),
            // An error on it makes the kernel mount a file system read-only (ext4(5), `errors=`).
            format!("Check it with `fsck` before it is mounted again. Which one: findmnt -T {}", quoted(dir)),
        ],
        StoreError::NotWritable(_)
        | StoreError::Damaged(_)
        | StoreError::Changed(_)
        | StoreError::Busy
        | StoreError::Full(_)
        | StoreError::Unsupported(_)
        | StoreError::Failed(_) => failure(error, place).actions().to_vec(),
    }
}

/// What the operator can do where the store gives no answer.
pub(super) fn silence(place: &Path) -> Vec<String> {
    let dir = quoted(place.parent().unwrap_or(place));
    vec![KERNEL_LOG.to_owned(), format!("See which disk or server it is: findmnt -T {dir}")]
}

fn is_read_only(dir: &Path) -> bool {
    denied(dir, Access::WRITE_OK) == Some(Errno::ROFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_the_store_has_something_to_do_and_none_is_to_start_with_other_settings() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("shop.lease.db");
        let text = || "text".to_owned();
        for error in [
            StoreError::Damaged(text()),
            StoreError::Busy,
            StoreError::Full(text().into()),
            StoreError::NotWritable(text().into()),
            StoreError::Failed(text().into()),
        ] {
            assert!(!actions(&error, &place).is_empty(), "{error:?}");
        }
        let silent = silence(&place);
        assert!(
            silent[0].ends_with("dmesg | tail -n 30") && silent[1].contains("findmnt -T /"),
            "{silent:?}"
        );
        // Every Linux has this one, and nobody can write there.
        let sealed = actions(&StoreError::NotWritable(text().into()), Path::new("/proc/shop.lease.db"));
        assert!(sealed.len() == 2 || !is_read_only(Path::new("/proc")), "{sealed:?}");
    }
}
