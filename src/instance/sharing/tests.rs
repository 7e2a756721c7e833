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
    let judged = |allowed: &str| {
        let outcome =
            require(&container.own()[0], Reach::Container, Path::new("/app/app.lock"), "SHOP", allowed);
        outcome.err().map(|error| (error.failure_code().name, error.actions().join("\n")))
    };
    for allowed in ["overlay", "tmpfs, overlay"] {
        assert_eq!(judged(allowed), None, "{allowed}");
    }
    for allowed in ["", "1", "true", "yes", "*", "all", "OVERLAY", "overlayfs", "tmpfs"] {
        let (code, actions) = judged(allowed).expect(allowed);
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

const FUSE_CONTAINER: &str = "\
500 400 0:77 / / rw - fuse.fuse-overlayfs fuse-overlayfs rw
502 500 254:0 /var/lib/containers/abc/hosts /etc/hosts rw - ext4 /dev/vda rw
504 500 0:77 /srv /data rw - fuse.fuse-overlayfs fuse-overlayfs rw
";
const BOUND_MEMORY: &str = "\
500 400 0:77 / / rw - overlay overlay rw
502 500 254:0 /var/lib/docker/containers/abc/hosts /etc/hosts rw - ext4 /dev/vda rw
503 500 0:23 /shop /data rw - tmpfs tmpfs rw
504 500 0:99 /var/lib/docker/volumes/board_data/_data /volume rw - overlay overlay rw
";

/// The refusal of a lock on the mount at `point`.
fn refused(own: &str, point: &str, platform: Platform) -> String {
    let surroundings = surroundings(false, own, own);
    surroundings.platform.set(platform).unwrap();
    let mount = surroundings.own().iter().rfind(|mount| mount.point == Path::new(point)).unwrap();
    let reach = surroundings.reach(mount);
    assert_ne!(reach, Reach::Machine, "{point}");
    crate::instance::testing::told(&refusal(
        mount,
        reach,
        Path::new("/data/shop.lock"),
        "SHOP",
        &surroundings,
    ))
}

#[test]
fn a_containers_own_layer_is_called_that_whatever_the_storage_driver() {
    for (own, points, kind, can_be_allowed) in [
        (CONTAINER, ["/", "/"], "overlay", true),
        (FUSE_CONTAINER, ["/", "/data"], "fuse.fuse-overlayfs", true),
        (BTRFS_CONTAINER, ["/", "/"], "btrfs", false),
    ] {
        for point in points {
            let text = refused(own, point, Platform::Docker);
            assert!(text.contains("seen: by this container alone"), "{text}");
            assert!(!text.contains("two at once") && text.contains("named volume"), "{text}");
            assert_eq!(text.contains(&format!("SHOP_ALLOW_UNSHARED_LOCK={kind}")), can_be_allowed, "{text}");
        }
    }
}

#[test]
fn what_comes_from_outside_is_not_said_to_be_of_this_container_alone() {
    let memory = refused(BOUND_MEMORY, "/data", Platform::Docker);
    assert!(memory.contains("seen: by all who are given /shop of that file system"), "{memory}");
    let volume = refused(BOUND_MEMORY, "/volume", Platform::Docker);
    assert!(volume.contains("volume: board_data"), "{volume}");
    assert!(!volume.contains("Keep the data on a named volume"), "{volume}");
    for text in [memory, volume] {
        assert!(!text.contains("this container alone") && !text.contains("lock file of its own"), "{text}");
        assert!(text.contains("SHOP_ALLOW_UNSHARED_LOCK="), "{text}");
    }
    let own = refused(CONTAINER, "/scratch", Platform::Docker);
    assert!(own.contains("seen: by this container alone"), "{own}");
}

#[test]
fn where_the_data_belongs_is_said_in_the_words_of_the_platform() {
    let unit = Platform::Systemd { unit: "shop.service".to_owned(), of_user: false };
    for (platform, expected) in [
        (Platform::Docker, "`volumes: [data:/data]`"),
        (Platform::Podman { rootless: true }, "`-v data:/data`"),
        (Platform::Kubernetes, "PersistentVolumeClaim"),
        (unit, "StateDirectory="),
        (Platform::Machine, "on a local disk: SHOP_DATA_DIR"),
    ] {
        let text = refused(CONTAINER, "/scratch", platform.clone());
        assert!(text.contains(expected), "{text}");
        assert_eq!(text.contains("`volumes:"), platform == Platform::Docker, "{text}");
        assert_eq!(text.contains("container"), platform.is_container(), "{text}");
    }
}
