//! What is judged in a service, one thing at a time.

use super::{GOOD, changed, check, check_with};

#[test]
fn more_than_one_container_is_refused() {
    changed("replicas: 1", "replicas: 2").refuses(&["compose.yaml:13: `deploy.replicas` is 2"]);
    changed("    restart: on", "    scale: 3\n    restart: on").refuses(&["compose.yaml:5: `scale` is 3"]);
    changed("replicas: 1", "mode: global").refuses(&["`deploy.mode` puts a copy on each node"]);
    changed("replicas: 1", "replicas: many").refuses(&["`deploy.replicas` is not a whole number"]);
    changed("replicas: 1", "replicas: 0").accepts(&[]);
}

#[test]
fn a_new_container_beside_the_old_one_is_refused() {
    changed("stop-first", "start-first")
        .refuses(&["compose.yaml:13: `deploy.update_config.order: start-first`"]);
    changed("update_config: {order: stop-first}", "rollback_config: {order: start-first}")
        .refuses(&["`deploy.rollback_config.order: start-first`"]);
}

#[test]
fn the_grace_must_hold_the_stop_and_the_drain() {
    changed("20s", "8500ms").accepts(&[]);
    changed("20s", "8499ms")
        .refuses(&["compose.yaml:6: `stop_grace_period` is 8.499s, but a stop may take 8.5s"]);
    changed("20s", "soon").refuses(&["compose.yaml:6: `stop_grace_period` is not a duration"]);
    let drains =
        GOOD.replace("BANBOARD_DATA_DIR: /data", "BANBOARD_DATA_DIR: /data\n      BANBOARD_DRAIN: 12s");
    check(&[("compose.yaml", &drains)])
        .refuses(&["a stop may take 20.5s", "Write `stop_grace_period: 21s` or more"]);
    // Ten seconds, which Compose gives by itself, hold the default stop, but not a longer one.
    let silent = GOOD.replace("    stop_grace_period: 20s\n", "");
    check(&[("compose.yaml", &silent)]).accepts(&[]);
    let longer = silent.replace(
        "BANBOARD_DATA_DIR: /data",
        "BANBOARD_DATA_DIR: /data\n      BANBOARD_SHUTDOWN_TIMEOUT: 25s",
    );
    check(&[("compose.yaml", &longer)]).refuses(&["`stop_grace_period` is not set, and so 10s"]);
}

#[test]
fn a_slow_start_must_not_be_called_unhealthy() {
    changed("130s", "2m").accepts(&[]);
    changed("130s", "119s")
        .refuses(&["compose.yaml:12: `start_period` is 119s", "BANBOARD_STARTUP_TIMEOUT 2m"]);
    let longer = "BANBOARD_DATA_DIR: /data\n      BANBOARD_STARTUP_TIMEOUT: 16m";
    changed("BANBOARD_DATA_DIR: /data", longer)
        .refuses(&["BANBOARD_STARTUP_TIMEOUT 16m", "Write `start_period: 970s` or more"]);
    changed("      start_period: 130s\n", "")
        .accepts(&["WARNING compose.yaml:10: app: `healthcheck` has no `start_period`"]);
}

#[test]
fn a_service_that_nobody_asks_for_its_health_is_told() {
    let silent = GOOD.split("    healthcheck:").next().unwrap().to_owned() + "volumes: {data: {}}\n";
    check_with(&[("compose.yaml", &silent)], &["--prefix", "BANBOARD"], &[])
        .accepts(&["there is no `healthcheck`"]);
    changed("start_period: 130s", "disable: true")
        .accepts(&["compose.yaml:10: app: the health check is switched off"]);
}

#[test]
fn what_lets_compose_scale_or_loop_is_told() {
    changed("    container_name: banboard\n", "")
        .accepts(&["WARNING compose.yaml:2: app: there is no `container_name`"]);
    for policy in ["always", "unless-stopped"] {
        changed("on-failure:5", policy)
            .accepts(&[&format!("compose.yaml:5: app: the restart policy `{policy}`")]);
        let held = GOOD
            .replace("on-failure:5", policy)
            .replace("BANBOARD_DATA_DIR: /data", "BANBOARD_DATA_DIR: /data\n      BANBOARD_FAILURE_HOLD: 5m");
        check(&[("compose.yaml", &held)]).accepts(&[]).omits("WARNING");
    }
    changed("replicas: 1", "restart_policy: {condition: any}").accepts(&["the restart policy `any`"]);
}

#[test]
fn lock_and_data_must_be_on_a_volume_that_outlives_the_container() {
    changed("    volumes: [data:/data]\n", "")
        .refuses(&["[lock.not-shared] compose.yaml:8: BANBOARD_DATA_DIR=/data is on no volume"]);
    changed("[data:/data]", "[data:/database]").refuses(&["BANBOARD_DATA_DIR=/data is on no volume"]);
    changed("[data:/data]", "[/data]")
        .refuses(&["compose.yaml:9: BANBOARD_DATA_DIR=/data is on a volume without a name"]);
    changed("[data:/data]", "[data:/data:ro]").refuses(&["is on a volume that is mounted read-only"]);
    changed("volumes: [data:/data]", "tmpfs: /data:size=64m")
        .refuses(&["BANBOARD_DATA_DIR=/data is on tmpfs"]);
    changed("[data:/data]", "[{type: tmpfs, target: /data/}]").refuses(&["is on tmpfs"]);
    changed("volumes: [data:/data]", "volumes: [data:/]\n    tmpfs: [/data]").refuses(&["is on tmpfs"]);
    changed("  data:\n", "  data: {driver_opts: {type: tmpfs, device: tmpfs}}\n").refuses(&["is on tmpfs"]);
    changed("  data:\n", "  data: {driver_opts: {type: nfs4}}\n")
        .refuses(&["is on nfs4, where one lock can be granted to two"]);
    changed("[data:/data]", "[./data:/data]").accepts(&[]);
    changed("[data:/data]", "[{type: volume, source: data, target: /data}]").accepts(&[]);
}

#[test]
fn a_lock_beside_the_volume_is_refused_and_one_that_is_allowed_is_not() {
    let lock = "BANBOARD_DATA_DIR: /data\n      BANBOARD_LOCK_PATH: /run/app.lock";
    changed("BANBOARD_DATA_DIR: /data", lock)
        .refuses(&["compose.yaml:9: BANBOARD_LOCK_PATH=/run/app.lock is on no volume"]);
    let allowed = format!("{lock}\n      BANBOARD_ALLOW_UNSHARED_LOCK: tmpfs,overlay");
    changed("BANBOARD_DATA_DIR: /data", &allowed).accepts(&[]);
}

#[test]
fn where_only_the_image_says_where_the_data_is_some_volume_must_be_there() {
    let image = GOOD.replace("    environment:\n      BANBOARD_DATA_DIR: /data\n", "");
    check(&[("compose.yaml", &image)]).accepts(&[]);
    let none = image.replace("    volumes: [data:/data]\n", "");
    check(&[("compose.yaml", &none)])
        .refuses(&["[lock.not-shared]", "no volume is mounted that outlives the container"]);
}

#[test]
fn two_services_on_one_volume_are_refused_and_a_stranger_on_it_is_told() {
    let second = "  second:\n    image: banboard:0.1.0\n    environment: {BANBOARD_DATA_DIR: /d}\n    volumes: [data:/d]\nvolumes:";
    let both = GOOD.replace("volumes:\n", &format!("{second}\n"));
    check_with(&[("compose.yaml", &both)], &["--prefix", "BANBOARD"], &[]).refuses(&[
        "[lock.held]",
        "compose.yaml:17: the volume data is that of the service app, too (compose.yaml:9)",
    ]);
    let aliased = both
        .replace("[data:/d]", "[other:/d]")
        .replace("  data:\n", "  data: {name: one}\n  other: {name: one}\n");
    check_with(&[("compose.yaml", &aliased)], &["--prefix", "BANBOARD"], &[])
        .refuses(&["[lock.held]", "the volume one"]);
    let backup =
        GOOD.replace("volumes:\n  data", "  backup:\n    image: b\n    volumes: [data:/d]\nvolumes:\n  data");
    check(&[("compose.yaml", &backup)])
        .accepts(&["WARNING compose.yaml:9: app: the service backup can write to the volume data"]);
    check(&[("compose.yaml", &backup.replace("data:/d]\nvolumes", "data:/d:ro]\nvolumes"))])
        .accepts(&[])
        .omits("WARNING");
}

#[test]
fn variables_that_ask_for_workers_are_refused_wherever_they_stand() {
    let own = "BANBOARD_DATA_DIR: /data\n      WEB_CONCURRENCY: 4\n      GUNICORN_CMD_ARGS: -w 8\n      BANBOARD_WORKERS: 1";
    changed("BANBOARD_DATA_DIR: /data", own).refuses(&[
        "[worker.count-configured] compose.yaml:9: WEB_CONCURRENCY 4: asks for 4 workers",
        "compose.yaml:10: GUNICORN_CMD_ARGS --workers 8: asks for 8 workers",
    ]);
    let file = GOOD.replace("    environment:", "    env_file: app.env\n    environment:");
    check(&[("compose.yaml", &file), ("app.env", "# workers\nUVICORN_WORKERS=2\n")])
        .refuses(&["app.env:2: UVICORN_WORKERS 2: asks for 2 workers"]);
}

#[test]
fn a_time_limit_that_cannot_be_read_is_refused_as_the_service_would() {
    let own = "BANBOARD_DATA_DIR: /data\n      BANBOARD_DRAIN: 30";
    changed("BANBOARD_DATA_DIR: /data", own)
        .refuses(&["[env.invalid] compose.yaml:9: BANBOARD_DRAIN", "write 30s"]);
    let none = "BANBOARD_DATA_DIR: /data\n      BANBOARD_SHUTDOWN_TIMEOUT: 0s";
    changed("BANBOARD_DATA_DIR: /data", none)
        .refuses(&["[env.invalid] compose.yaml:9: BANBOARD_SHUTDOWN_TIMEOUT", "from 1ms"]);
}

#[test]
fn secrets_of_the_environment_are_not_told() {
    let own = "BANBOARD_DATA_DIR: /data\n      BANBOARD_NOTIFY_TOKEN: hunter2\n      WEB_CONCURRENCY: hunter2\n      BANBOARD_DRAIN_FILE: /etc/hostname";
    changed("BANBOARD_DATA_DIR: /data", own)
        .refuses(&["WEB_CONCURRENCY is not a whole number"])
        .omits("hunter2");
}

#[test]
fn the_services_are_found_by_name_by_prefix_or_by_what_they_show() {
    let file = "services:\n  web: {image: nginx}\n  app: {image: example.org:5000/shop-api:1, volumes: [d:/d]}\nvolumes: {d: }\n";
    let files = [("compose.yaml", file)];
    check(&files).refuses(&[
        "none of the services (app, web) shows that it is one of ours",
        "--service NAME --prefix PREFIX",
    ]);
    check_with(&files, &["--prefix", "SHOP_API"], &[]).accepts(&["service app;"]);
    check_with(&files, &["--service", "app"], &[]).refuses(&["does not show what its variables begin with"]);
    check_with(&files, &["--service", "app", "--prefix", "SHOP_"], &[]).accepts(&["service app;"]);
    check_with(&files, &["--service", "apq"], &[]).refuses(&["there is no service apq; did you mean app?"]);
    let telling = file.replace("nginx", "nginx, environment: [SHOP_LEASE_TTL=15s], volumes: ['d:/e']");
    check(&[("compose.yaml", &telling)]).accepts(&["service web;"]);
}
