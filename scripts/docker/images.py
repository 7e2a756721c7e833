"""The base images that no registry gives us, and the image itself."""

import json
import pathlib
import shutil
import subprocess
import tempfile
import time

from engine import ROOT, STATE, Failed, run

IMAGE = "banboard:test"
SIZE_MOST = 40_000_000
SUITE = "bookworm"


def build(engine):
    """Builds Docker/Dockerfile, and returns the image's size in bytes and the seconds that it took."""
    make_rust(engine)
    make_busybox(engine)
    began = time.monotonic()
    revision = run(["git", "rev-parse", "--short", "HEAD"])
    label = revision.output.strip() if revision.code == 0 else "unknown"
    engine.docker(
        # The build fetches crates, and the containers of this engine have no way out.
        "build", "--network=host", "--file", "Docker/Dockerfile", "--tag", IMAGE,
        "--build-arg", f"REVISION={label}", "--progress", "plain", ".", limit=2400,
    ).ok()
    return size_of(engine), time.monotonic() - began


def layers_of_two_builds(engine):
    """The layers that the last part of the Dockerfile gives, each time made anew, with a program that is given: to
    compile it twice would take minutes."""
    head, end = (ROOT / "Docker" / "Dockerfile").read_text().split("# What the image holds", 1)
    base = head[:head.index("WORKDIR ")]
    given = "COPY banboard target/release/examples/banboard\nCOPY fail2ban.log examples/banboard/sample/\n"
    with tempfile.TemporaryDirectory(dir=STATE) as home:
        context = pathlib.Path(home)
        engine.docker("create", "--name", "program", IMAGE).ok()
        engine.docker("cp", "program:/banboard", context / "banboard").ok()
        shutil.copy(ROOT / "examples/banboard/sample/fail2ban.log", context)
        (context / "Dockerfile").write_text(f"{base}WORKDIR /src\n{given}# {end}")
        layers = []
        for name in ("banboard:once", "banboard:twice"):
            engine.docker("build", "--network=host", "--no-cache", "--tag", name, context, limit=300).ok()
            layers.append(json.loads(engine.docker("image", "inspect", name).ok())[0]["RootFS"]["Layers"])
            # What is of a second must differ.
            time.sleep(1.1)
            engine.docker("rmi", name).ok()
    return layers


def size_of(engine):
    return json.loads(engine.docker("image", "inspect", IMAGE).ok())[0]["Size"]


def rust_image():
    """The name that the Dockerfile uses."""
    for line in (ROOT / "Docker" / "Dockerfile").read_text().splitlines():
        if line.startswith("ARG RUST_IMAGE="):
            return line.split("=", 1)[1].strip()
    raise Failed("Docker/Dockerfile has no ARG RUST_IMAGE")


def make_rust(engine):
    """Debian with a C compiler, and the Rust toolchain of this machine under the name of the official image."""
    name = rust_image()
    sysroot = pathlib.Path(run(["rustc", "--print", "sysroot"]).ok())
    version = run(["rustc", "--version"]).ok()
    wanted = name.split(":", 1)[1].split("-", 1)[0]
    if f" {wanted} " not in f"{version} ":
        raise Failed(f"the Dockerfile wants Rust {wanted}, and this machine has {version}")
    made = engine.docker("image", "inspect", "--format", "{{.Comment}}", name)
    if made.code == 0 and made.output.strip() == version:
        return
    tree = "s,^" + sysroot.name + ",usr/local/rust,"
    tar = [
        "tar", "-c", "--exclude=share/doc", "--exclude=var/cache/apt/*", "--transform", tree,
        "-C", debian(), ".", "-C", sysroot.parent, sysroot.name,
    ]
    path = "ENV PATH=/usr/local/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    pipe_into(engine, tar, "--change", path, "--change", "ENV CARGO_HOME=/usr/local/cargo", "--message", version,
              name=name)


def debian():
    """A minimal Debian with what `rust:slim` has beside Rust. It is made once."""
    tree = STATE / "debian"
    if tree.exists():
        return tree
    new = STATE / "debian.new"
    shutil.rmtree(new, ignore_errors=True)
    packages = "gcc,libc6-dev,ca-certificates"
    run(["debootstrap", "--variant=minbase", f"--include={packages}", SUITE, new], limit=600).ok()
    # What this machine trusts, the build trusts: a mirror of the registry may have an authority of its own.
    trusted = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
    if trusted.exists():
        shutil.copy(trusted, new / trusted.relative_to("/"))
    new.rename(tree)
    return tree


def make_busybox(engine):
    """The image that the reports tell an operator to use for a look into a volume."""
    with tempfile.TemporaryDirectory() as home:
        tools = pathlib.Path(home) / "bin"
        tools.mkdir()
        shutil.copy("/bin/busybox", tools / "busybox")
        for name in ("sh", "chown", "chmod", "cp", "mv", "mkdir", "dd", "df", "du", "sleep", "ls", "cat", "stat", "touch"):
            (tools / name).symlink_to("busybox")
        pipe_into(engine, ["tar", "-c", "-C", home, "."], "--change", "ENV PATH=/bin", name="busybox:latest")


def pipe_into(engine, tar, *options, name):
    """`tar … | docker import`"""
    archive = subprocess.Popen([str(word) for word in tar], stdout=subprocess.PIPE)
    done = subprocess.run(
        ["docker", "import", *options, "-", name], stdin=archive.stdout, env=engine.env,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
    )
    archive.stdout.close()
    if archive.wait() != 0 or done.returncode != 0:
        raise Failed(f"could not make {name}:\n{done.stdout.decode(errors='replace')}")
