use super::*;

const MACHINE: &str = "\
27 1 254:0 / / rw - ext4 /dev/vda rw
22 27 0:21 / /proc rw - proc proc rw
30 27 0:40 / /tmp rw - tmpfs tmpfs rw
90 27 0:77 / /var/lib/docker/overlay2/abc/merged rw - overlay overlay rw
";
const CONTAINER: &str = "\
500 400 0:77 / / rw - overlay overlay rw
501 500 0:80 / /proc rw - proc proc rw
502 500 254:0 /var/lib/docker/containers/abc/hosts /etc/hosts rw - ext4 /dev/vda rw
503 500 254:0 /var/lib/docker/volumes/app_data/_data /data rw - ext4 /dev/vda rw
504 500 0:81 / /scratch rw - tmpfs tmpfs rw
505 500 0:90 / /mnt rw - fakeowner /run/host_mark/Users rw
";
const BTRFS_CONTAINER: &str = "\
500 400 0:31 /@docker/btrfs/subvolumes/abc / rw - btrfs /dev/md2 rw
502 500 0:31 /@docker/containers/abc/hosts /etc/hosts rw - btrfs /dev/md2 rw
503 500 0:31 /data /data rw - btrfs /dev/md2 rw
";

fn surroundings(first_pid_namespace: bool, own: &str, init: &str) -> Surroundings {
    let (own, init) = (mounts::parse(own.as_bytes()), mounts::parse(init.as_bytes()));
    Surroundings {
        own: own.into(),
        init: first_pid_namespace.then_some(init).into(),
        ..Surroundings::default()
    }
}

/// Who sees what is mounted at each of `points`.
fn reaches(surroundings: &Surroundings, points: &[&str]) -> Vec<Reach> {
    let at = |point: &str| surroundings.own().iter().find(|mount| mount.point == Path::new(point)).unwrap();
    points.iter().map(|point| surroundings.reach(at(point))).collect()
}

#[test]
fn memory_and_layers_are_accepted_on_the_machine_itself() {
    assert_eq!(reaches(&surroundings(true, MACHINE, MACHINE), &["/", "/tmp"]), [Reach::Machine; 2]);
    let live_image = "27 1 0:22 / / rw - overlay overlay rw\n";
    assert_eq!(reaches(&surroundings(true, live_image, live_image), &["/"]), [Reach::Machine]);
}

#[test]
fn in_a_container_only_what_is_mounted_from_the_machine_is_shared() {
    let container = surroundings(false, CONTAINER, CONTAINER);
    assert!(container.in_container());
    assert_eq!(
        reaches(&container, &["/data", "/", "/scratch", "/mnt"]),
        [Reach::Machine, Reach::Container, Reach::Container, Reach::Elsewhere]
    );
}

#[test]
fn a_container_that_is_given_the_machines_processes_is_still_a_container() {
    let container = surroundings(true, CONTAINER, MACHINE);
    assert_eq!(reaches(&container, &["/data", "/"]), [Reach::Machine, Reach::Container]);
}

#[test]
fn a_containers_root_is_its_own_whatever_the_storage_driver() {
    let container = surroundings(false, BTRFS_CONTAINER, BTRFS_CONTAINER);
    assert_eq!(reaches(&container, &["/", "/data"]), [Reach::Container, Reach::Machine]);
}

#[test]
fn a_memory_file_system_that_init_does_not_have_is_not_the_machines() {
    let private = format!("{MACHINE}31 27 0:99 / /srv rw - tmpfs tmpfs rw\n");
    assert_eq!(
        reaches(&surroundings(true, &private, MACHINE), &["/tmp", "/srv"]),
        [Reach::Machine, Reach::Container]
    );
}

#[test]
fn without_proof_memory_and_layers_are_not_shared() {
    let unreadable = surroundings(true, MACHINE, "");
    assert_eq!(reaches(&unreadable, &["/tmp", "/"]), [Reach::Container, Reach::Machine]);
    // A virtual machine's distribution in a PID namespace of its own: WSL 2.
    let subsystem = surroundings(false, MACHINE, MACHINE);
    assert_eq!(reaches(&subsystem, &["/tmp", "/"]), [Reach::Container, Reach::Machine]);
}

#[test]
fn the_operator_allows_a_file_system_by_its_type_and_nothing_else() {
    let container = surroundings(false, CONTAINER, CONTAINER);
    let refused = |allowed: &str| {
        let outcome =
            require(&container.own()[0], Reach::Container, Path::new("/app/app.lock"), "SHOP", allowed);
        outcome.err().map(|error| (error.failure_code().name, error.actions().join("\n")))
    };
    for allowed in ["overlay", "tmpfs, overlay"] {
        assert_eq!(refused(allowed), None, "{allowed}");
    }
    for allowed in ["", "1", "true", "yes", "*", "all", "OVERLAY", "overlayfs", "tmpfs"] {
        let (code, actions) = refused(allowed).expect(allowed);
        assert_eq!(code, "lock.not-shared");
        assert!(actions.contains("SHOP_ALLOW_UNSHARED_LOCK=overlay"), "{actions}");
    }
}

#[test]
fn what_is_not_trusted_is_refused_until_it_is_named() {
    let mount = &mounts::parse(b"1 0 0:5 / /data rw - nfs4 server:/x rw")[0];
    let outcome = |allowed| require(mount, Reach::Elsewhere, Path::new("/data/app.lock"), "SHOP", allowed);
    assert_eq!(outcome("overlay").unwrap_err().error_kind().exit_code(), 78);
    assert!(outcome("nfs4").is_ok());
}
