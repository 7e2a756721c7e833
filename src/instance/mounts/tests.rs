use std::{fs::File, os::fd::AsFd};

use super::*;

fn one(line: &str) -> Mount {
    parse(line.as_bytes()).pop().expect(line)
}

#[test]
fn fields_are_found_whatever_optional_fields_stand_before_the_hyphen() {
    for optional in ["", "shared:1 ", "shared:1 master:2 propagate_from:3 unbindable "] {
        let mount =
            one(&format!("36 35 98:0 /mnt1 /mnt2 rw,noatime {optional}- ext3 /dev/root rw,errors=continue"));
        assert_eq!(mount.id, 36);
        assert_eq!(mount.device, (98, 0));
        assert_eq!(mount.root, Path::new("/mnt1"));
        assert_eq!(mount.point, Path::new("/mnt2"));
        assert_eq!(mount.kind, "ext3");
        assert!(!mount.read_only);
    }
}

#[test]
fn octal_escapes_become_the_bytes_they_stand_for() {
    let mount = one(r"1 0 8:1 / /my\040disk\011\012\134x rw - ext4 /dev/sda1 rw");
    assert_eq!(mount.point, Path::new("/my disk\t\n\\x"));
    // Not an escape of the kernel's: kept as it stands.
    assert_eq!(one(r"1 0 8:1 / /a\9\04 rw - ext4 d rw").point, Path::new(r"/a\9\04"));
}

#[test]
fn read_only_is_a_matter_of_the_mount_or_of_the_file_system() {
    assert!(one("1 0 8:1 / / ro,noatime - ext4 d rw").read_only);
    assert!(one("1 0 8:1 / / rw - ext4 d ro,errors=remount-ro").read_only);
    assert!(!one("1 0 8:1 / / rw - ext4 d rw,errors=remount-ro").read_only);
}

#[test]
fn lines_of_another_form_name_no_mount() {
    for line in [
        "",
        "36 35",
        "36 35 98:0 / / rw ext4 d rw",
        "x 35 98:0 / / rw - ext4 d rw",
        "1 0 98 / / rw - ext4 d rw",
    ] {
        assert_eq!(parse(line.as_bytes()), [], "{line}");
    }
}

#[test]
fn each_type_is_local_or_ephemeral_or_not_trusted() {
    let class = |kind: &str| one(&format!("1 0 8:1 / / rw - {kind} d rw")).class();
    for kind in ["ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs"] {
        assert_eq!(class(kind), Class::Local, "{kind}");
    }
    for kind in ["overlay", "tmpfs", "ramfs"] {
        assert_eq!(class(kind), Class::Ephemeral, "{kind}");
    }
    let shared_folders = ["virtiofs", "9p", "fakeowner", "grpcfuse", "osxfs", "fuse.grpcfuse", "vboxsf"];
    let networks = ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuseblk", "ceph", "glusterfs", "ext5"];
    for kind in shared_folders.into_iter().chain(networks) {
        assert_eq!(class(kind), Class::Untrusted, "{kind}");
    }
    assert_eq!(Mount::unknown(PathBuf::new()).class(), Class::Untrusted);
}

#[test]
fn a_volume_is_named_only_where_its_name_needs_no_quoting() {
    let name =
        |root: &str| one(&format!("1 0 8:1 {root} /data rw - ext4 d rw")).volume_name().map(str::to_owned);
    assert_eq!(name("/var/lib/docker/volumes/app_data/_data").as_deref(), Some("app_data"));
    assert_eq!(name("/volumes/app-data.1/_data/sub").as_deref(), Some("app-data.1"));
    assert_eq!(name("/srv/app"), None);
    assert_eq!(name("/volumes/a;reboot/_data"), None);
}

#[test]
fn the_mount_of_an_open_file_is_found_in_the_list_of_the_running_kernel() {
    let proc = mount_of(File::open("/proc/self/stat").unwrap().as_fd(), Path::new("/proc"));
    assert_eq!((proc.kind.as_str(), proc.point.as_path()), ("proc", Path::new("/proc")));
    let dir = tempfile::tempdir().unwrap();
    let found = mount_of(File::open(dir.path()).unwrap().as_fd(), dir.path());
    assert_ne!(found.kind, "unknown");
    assert!(dir.path().canonicalize().unwrap().starts_with(&found.point), "{found:?}");
}

#[test]
fn a_file_system_that_gave_up_is_told_from_one_that_was_mounted_read_only() {
    let gave_up = |line: &str| one(line).gave_up;
    assert!(gave_up("1 0 7:0 / /data rw - ext4 /dev/sda1 rw,emergency_ro"), "Linux 6.15 and later");
    assert!(gave_up("1 0 7:0 / /data rw - xfs /dev/sda1 rw,shutdown"));
    assert!(gave_up("1 0 7:0 / /data rw - ext4 /dev/sda1 ro,errors=remount-ro"), "earlier");
    assert!(!gave_up("1 0 7:0 / /data ro - ext4 /dev/sda1 ro"), "mount -o ro");
    assert!(!gave_up("1 0 7:0 / /data ro - ext4 /dev/sda1 rw"), "a bind mount");
    assert!(!gave_up("1 0 7:0 / /data rw - ext4 /dev/sda1 rw"));
    assert!(!gave_up("1 0 7:0 / /cd rw - iso9660 /dev/sr0 ro"), "never written");
    assert_eq!(one("1 0 7:0 / /data rw - ext4 /dev/sda1 rw").source, "/dev/sda1");
}
