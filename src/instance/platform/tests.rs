use super::*;
use crate::instance::mounts::parse;

const WHOLE: &str = "0 0 4294967295";
const REMAPPED: &str = "0 200000 65536";
const ROOTLESS: &str = "0 1000 1\n1 100000 65536";
const KEEP_ID: &str = "0 1 1000\n1000 0 1\n1001 1001 64536";

const MACHINE: &str = "27 1 254:0 / / rw - ext4 /dev/vda rw\n";
const DOCKER: &str = "\
500 400 0:77 / / rw - overlay overlay rw
502 500 254:0 /var/lib/docker/containers/abc/hosts /etc/hosts rw - ext4 /dev/vda rw
503 500 254:0 /var/lib/docker/volumes/app_data/_data /data rw - ext4 /dev/vda rw
504 500 254:0 /home/dev/b1 /bound rw - ext4 /dev/vda rw
505 500 0:91 / /memory rw - tmpfs tmpfs rw
";
const POD: &str = "\
500 400 0:77 / / rw - overlay overlay rw
502 500 254:0 /var/lib/kubelet/pods/5d1c/etc-hosts /etc/hosts rw - ext4 /dev/vda rw
503 500 254:0 /var/lib/kubelet/pods/5d1c/volumes/kubernetes.io~csi/pvc-1/mount /data rw - ext4 /dev/vda rw
";

/// What each part of the evidence is; the rest is that of a shell on a machine.
struct Case {
    mounts: &'static str,
    on_machine: bool,
    cluster: bool,
    containerenv: Option<&'static str>,
    cgroup: &'static str,
    map: &'static str,
}

const SHELL: Case = Case {
    mounts: MACHINE,
    on_machine: false,
    cluster: false,
    containerenv: None,
    cgroup: "0::/user.slice/user-1000.slice/session-2.scope",
    map: WHOLE,
};

fn platform(case: &Case) -> Platform {
    let (mounts, ids) = (parse(case.mounts.as_bytes()), IdMap::with(case.map));
    let Case { on_machine, cluster, containerenv, cgroup, .. } = *case;
    Platform::from(Evidence { mounts: &mounts, on_machine, cluster, containerenv, cgroup, ids: &ids })
}

fn unit(name: &str, of_user: bool) -> Platform {
    Platform::Systemd { unit: name.to_owned(), of_user }
}

#[test]
fn each_platform_is_known_by_what_it_leaves() {
    let podman = Case { mounts: DOCKER, containerenv: Some(""), ..SHELL };
    let cases = [
        (SHELL, Platform::Machine),
        (Case { cgroup: "", ..SHELL }, Platform::Machine),
        (Case { cgroup: "0::/system.slice/shop.service", ..SHELL }, unit("shop.service", false)),
        // The mixed hierarchy: the manager's own has the unit.
        (
            Case { cgroup: "4:memory:/x\n1:name=systemd:/system.slice/shop.service\n0::/", ..SHELL },
            unit("shop.service", false),
        ),
        (
            Case {
                cgroup: "0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service",
                ..SHELL
            },
            unit("shop.service", true),
        ),
        (
            Case { cgroup: "0::/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope", ..SHELL },
            Platform::Machine,
        ),
        (Case { cgroup: "0::/user.slice/user-1000.slice/user@1000.service", ..SHELL }, Platform::Machine),
        (Case { cgroup: "0::/system.slice/$(reboot).service", ..SHELL }, Platform::Machine),
        (Case { mounts: DOCKER, ..SHELL }, Platform::Docker),
        (Case { mounts: DOCKER, map: REMAPPED, ..SHELL }, Platform::Docker),
        // Docker without a namespace of its own for control groups.
        (Case { mounts: DOCKER, cgroup: "0::/system.slice/docker.service", ..SHELL }, Platform::Docker),
        (Case { ..podman }, Platform::Podman { rootless: false }),
        (Case { map: ROOTLESS, ..podman }, Platform::Podman { rootless: true }),
        (
            Case { containerenv: Some("engine=\"podman-5\"\nrootless=1\n"), ..podman },
            Platform::Podman { rootless: true },
        ),
        // `--no-hosts`
        (Case { mounts: MACHINE, ..podman }, Platform::Podman { rootless: false }),
        // The image of a container that became that of a machine, and a machine that mounts its own `/etc/hosts`.
        (Case { on_machine: true, ..podman }, Platform::Machine),
        (Case { mounts: POD, ..SHELL }, Platform::Kubernetes),
        (Case { mounts: DOCKER, cluster: true, ..SHELL }, Platform::Kubernetes),
        // CRI-O
        (Case { mounts: POD, containerenv: Some(""), ..SHELL }, Platform::Kubernetes),
    ];
    for (case, expected) in cases {
        assert_eq!(platform(&case), expected, "{}\n{}\n{:?}", case.mounts, case.cgroup, case.containerenv);
    }
}

#[test]
fn a_pod_is_one_without_the_kubelets_hosts_file_too() {
    for line in [
        "505 500 254:0 /var/lib/kubelet/pods/5d1c/containers/a/1 /dev/termination-log rw - ext4 /dev/vda rw",
        "505 500 0:90 / /run/secrets/kubernetes.io/serviceaccount ro - tmpfs tmpfs rw",
    ] {
        let (mounts, ids) = (parse(format!("{DOCKER}{line}\n").as_bytes()), IdMap::with(WHOLE));
        let evidence = Evidence {
            mounts: &mounts,
            on_machine: false,
            cluster: false,
            containerenv: None,
            cgroup: "",
            ids: &ids,
        };
        assert_eq!(Platform::from(evidence), Platform::Kubernetes, "{line}");
    }
}

fn mount(point: &str) -> Mount {
    parse(DOCKER.as_bytes()).into_iter().find(|mount| mount.point == Path::new(point)).unwrap()
}

/// What gives `path` on the mount at `point` to 65532, and from whom.
fn given(platform: &Platform, map: &str, point: &str, path: &str, foreign: bool) -> String {
    let sentence =
        platform.give_to((65_532, 65_532), Path::new(path), &mount(point), foreign, &IdMap::with(map));
    // The command alone, where there is one.
    sentence.split_once(": ").map_or(sentence.clone(), |(_why, command)| command.to_owned())
}

#[test]
fn a_directory_is_given_away_by_a_command_of_the_platform() {
    let rootless = Platform::Podman { rootless: true };
    let podman = Platform::Podman { rootless: false };
    let cases = [
        (&Platform::Machine, WHOLE, "/", false, "sudo chown -R 65532:65532 /"),
        (&Platform::Machine, REMAPPED, "/", true, "sudo chown -R 265532:265532 /"),
        (&unit("shop.service", false), WHOLE, "/", false, "sudo chown -R 65532:65532 /"),
        (
            &Platform::Docker,
            WHOLE,
            "/data",
            false,
            "docker run --rm -v app_data:/data busybox chown -R 65532:65532 /data",
        ),
        (
            &Platform::Docker,
            WHOLE,
            "/bound",
            false,
            "docker run --rm -v /home/dev/b1:/bound busybox chown -R 65532:65532 /bound",
        ),
        // In the namespace, nobody may change what belongs to a user that it does not know.
        (&Platform::Docker, REMAPPED, "/bound", true, "sudo chown -R 265532:265532 /home/dev/b1"),
        (
            &podman,
            WHOLE,
            "/data",
            false,
            "podman run --rm --network none -v app_data:/data busybox chown -R 65532:65532 /data",
        ),
        (&rootless, ROOTLESS, "/bound", false, "podman unshare chown -R 65532:65532 /home/dev/b1"),
        (
            &rootless,
            ROOTLESS,
            "/bound",
            true,
            "sudo chown -R \"$(id -u):$(id -g)\" /home/dev/b1 && podman unshare chown -R 65532:65532 /home/dev/b1",
        ),
        (
            &rootless,
            ROOTLESS,
            "/data",
            false,
            "podman run --rm --network none -v app_data:/data busybox chown -R 65532:65532 /data",
        ),
        (&rootless, KEEP_ID, "/bound", false, "podman unshare chown -R 65532:65532 /home/dev/b1"),
    ];
    for (platform, map, point, foreign, expected) in cases {
        assert_eq!(given(platform, map, point, point, foreign), expected, "{platform:?} {map}");
    }
    let (path, ids) = (Path::new("/data"), IdMap::with(WHOLE));
    let pod = Platform::Kubernetes.give_to((65_532, 65_532), path, &mount("/data"), false, &ids);
    assert_eq!(pod, "Set `fsGroup: 65532` in the `securityContext` of the pod");
}

#[test]
fn no_command_takes_the_root_of_the_machine_for_what_is_mounted_whole() {
    let podman = [false, true].map(|rootless| Platform::Podman { rootless });
    for platform in podman.iter().chain([&Platform::Docker]) {
        for (map, foreign) in [(WHOLE, false), (REMAPPED, true), (ROOTLESS, true)] {
            for path in ["/memory", "/memory/shop"] {
                let inside = format!("chown -R 65532:65532 {path}");
                assert_eq!(given(platform, map, "/memory", path, foreign), inside, "{platform:?}");
            }
        }
        for point in ["/", "/memory"] {
            assert_eq!(platform.in_helper(&mount(point), "df"), None, "{platform:?} {point}");
        }
    }
}

#[test]
fn what_lies_below_a_mount_is_named_below_it() {
    assert_eq!(
        given(&Platform::Docker, WHOLE, "/bound", "/bound/of shop", false),
        "docker run --rm -v /home/dev/b1:/bound busybox chown -R 65532:65532 '/bound/of shop'"
    );
    assert_eq!(
        given(&Platform::Docker, REMAPPED, "/bound", "/bound/of shop", true),
        "sudo chown -R 265532:265532 '/home/dev/b1/of shop'"
    );
}

#[test]
fn under_keep_id_the_user_who_started_it_is_0_for_unshare() {
    let ids = IdMap::with(KEEP_ID);
    let rootless = Platform::Podman { rootless: true };
    let given = rootless.give_to((1000, 1000), Path::new("/bound"), &mount("/bound"), false, &ids);
    assert!(given.ends_with(": podman unshare chown -R 0:0 /home/dev/b1"), "{given}");
}

#[test]
fn an_owner_whom_the_namespace_does_not_know_is_nobody_to_run_as() {
    let run_as = |platform: &Platform, map, owner| platform.run_as(owner, &IdMap::with(map));
    assert_eq!(run_as(&Platform::Docker, REMAPPED, (65_534, 65_534)), None);
    assert_eq!(run_as(&Platform::Docker, REMAPPED, (1000, 65_534)), None);
    let expected = "`user: \"1000:1000\"` in compose.yaml";
    assert_eq!(run_as(&Platform::Docker, REMAPPED, (1000, 1000)).unwrap(), expected);
    assert!(run_as(&Platform::Docker, WHOLE, (0, 0)).unwrap().ends_with("(less safe)"));
    assert_eq!(run_as(&Platform::Podman { rootless: true }, ROOTLESS, (0, 0)).unwrap(), "`--user 0:0`");
    assert!(run_as(&Platform::Kubernetes, WHOLE, (7, 8)).unwrap().contains("runAsUser: 7`, `runAsGroup: 8"));
    assert!(run_as(&unit("shop.service", false), WHOLE, (7, 8)).unwrap().contains("`User=7`"));
    assert_eq!(run_as(&Platform::Machine, WHOLE, (7, 8)), None);
}

#[test]
fn who_runs_and_what_is_set_is_asked_of_the_platform() {
    let uses = |platform: &Platform, point| platform.who_uses(&mount(point));
    assert_eq!(uses(&Platform::Docker, "/data").unwrap(), "docker ps -a --filter volume=app_data");
    assert_eq!(uses(&Platform::Docker, "/bound").unwrap(), "docker ps -a --filter volume=/bound");
    let rootless = Platform::Podman { rootless: true };
    assert_eq!(uses(&rootless, "/data").unwrap(), "podman ps -a --filter volume=app_data");
    assert_eq!(uses(&Platform::Docker, "/").unwrap(), "docker ps -a");
    assert_eq!(uses(&Platform::Kubernetes, "/data").unwrap(), "kubectl get pods -o wide");
    assert_eq!(uses(&Platform::Machine, "/"), None);
    assert_eq!(unit("shop.service", true).settings_shown(), "systemctl --user cat shop.service");
    assert_eq!(Platform::Docker.settings_shown(), "docker compose config");
    for platform in [Platform::Kubernetes, rootless] {
        let words =
            [platform.settings_shown(), platform.settings_place(), platform.who_ended_it(), platform.grace()]
                .join("\n");
        assert!(!words.contains("docker") && !words.contains("environment:"), "{platform:?}");
    }
}

#[test]
fn this_process_has_a_platform_and_is_a_user_of_its_namespace() {
    let platform = Platform::detect(&crate::instance::mounts::own(), false);
    let ids = IdMap::of_this_process();
    assert!(ids.is_user(geteuid().as_raw()) && ids.is_group(getegid().as_raw()), "{platform:?}, {ids:?}");
}

#[test]
fn another_process_shows_what_keeps_it_by_its_control_group() {
    for (cgroup, expected) in [
        ("0::/user.slice/user-0.slice/session-1.scope", Platform::Machine),
        ("0::/system.slice/shop.service", unit("shop.service", false)),
        ("0::/system.slice/docker-6c907b82af23.scope", Platform::Docker),
        ("4:memory:/docker/6c907b82af23", Platform::Docker),
        ("0::/machine.slice/libpod-6c907b82af23.scope/container", Platform::Podman { rootless: false }),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-6c90.scope/container",
            Platform::Podman { rootless: true },
        ),
        ("0::/kubepods.slice/kubepods-besteffort.slice/cri-containerd-6c90.scope", Platform::Kubernetes),
    ] {
        assert_eq!(Platform::of_group(cgroup), expected, "{cgroup}");
    }
}
