"""Validates the files of docs/deploy/kubernetes.md, and shows that a mistake in them would be found."""

import copy
import pathlib
import subprocess
import sys
import tempfile

import yaml
from blocks import block

NEWEST = "1.37"
# The first version with rules for the restart of single containers.
RULES_SINCE, RULES_BEFORE = "1.34", "1.33"
# What the schema has as a plain text, and the API server accepts nothing else of.
WORDS = {
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "terminationMessagePolicy": {"File", "FallbackToLogsOnError"},
    "fsGroupChangePolicy": {"OnRootMismatch", "Always"},
    "accessModes": {"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"},
    "action": {"Restart"},
    "operator": {"In", "NotIn"},
}


class Failed(Exception):
    """What is wrong with a document."""


def check(holds, what):
    if not holds:
        raise Failed(what)


def schema(validator, files, version):
    """What the schemas of this version say of it; nothing where they accept it."""
    with tempfile.TemporaryDirectory() as home:
        path = pathlib.Path(home) / "file.yaml"
        path.write_text(yaml.safe_dump_all(files))
        command = [validator, "--strict", "--no-warn", "-k", version, path]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout if done.returncode != 0 else ""


def every(node, key):
    """All values that this key has anywhere."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from every(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from every(value, key)


def reasons(files):
    """What only an API server, or a pod that does not start, would say."""
    for key, words in WORDS.items():
        for value in every(files, key):
            for word in value if isinstance(value, list) else [value]:
                if word not in words:
                    yield f"{key}: {word}"
    labels, ports, claims = [], set(), set()
    for file in files:
        if file["kind"] == "PersistentVolumeClaim":
            claims.add(file["metadata"]["name"])
        if file["kind"] not in ("Deployment", "StatefulSet"):
            continue
        spec, template = file["spec"], file["spec"]["template"]
        if file["kind"] == "Deployment" and spec["strategy"]["type"] not in ("Recreate", "RollingUpdate"):
            yield f"strategy.type: {spec['strategy']['type']}"
        labels.append(template["metadata"]["labels"])
        if not spec["selector"]["matchLabels"].items() <= labels[-1].items():
            yield "the selector does not match the pod's labels"
        volumes = {each["name"] for each in template["spec"].get("volumes", [])}
        volumes |= {each["metadata"]["name"] for each in spec.get("volumeClaimTemplates", [])}
        for container in template["spec"]["containers"]:
            ports |= {each["name"] for each in container.get("ports", [])}
            mounts = {each["name"] for each in container["volumeMounts"]}
            for name in mounts ^ volumes:
                yield f"the volume {name} is only mounted, or only declared"
    for claim in every(files, "claimName"):
        if claim not in claims:
            yield f"no claim {claim}"
    for file in files:
        if file["kind"] == "Service":
            if not any(file["spec"]["selector"].items() <= each.items() for each in labels):
                yield "the service selects no pod"
            for port in file["spec"]["ports"]:
                if port["targetPort"] not in ports:
                    yield f"no port {port['targetPort']}"


def read():
    """The three files of the document, completed as it says."""
    deployment = list(yaml.safe_load_all(block("kubernetes.md", "kubernetes: deployment")))
    rules = yaml.safe_load(block("kubernetes.md", "kubernetes: rules"))
    stateful = yaml.safe_load(block("kubernetes.md", "kubernetes: statefulset"))
    template = copy.deepcopy(next(each for each in deployment if each["kind"] == "Deployment")["spec"]["template"])
    claim, service = (next(each for each in deployment if each["kind"] == kind)
                      for kind in ("PersistentVolumeClaim", "Service"))
    # A container's rules belong to a pod of its own.
    pod = copy.deepcopy(template)
    pod["spec"]["containers"][0].update(rules)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "banboard"}, "spec": pod["spec"]}
    # "`template:` as above, without the volume `data`"
    template["spec"]["volumes"] = [each for each in template["spec"]["volumes"] if each["name"] != "data"]
    stateful["spec"]["template"] = template
    return deployment, [claim, pod], [stateful, service]


def mistakes(deployment):
    """The deployment with one mistake each, and whether it is the schema that sees it."""
    def with_one(change):
        wrong = copy.deepcopy(deployment)
        change({each["kind"]: each for each in wrong})
        return wrong

    def pod(kinds):
        return kinds["Deployment"]["spec"]["template"]["spec"]

    yield "a misspelt field", True, with_one(lambda it: pod(it).update(enableServiceLink=False))
    yield "a text for a number", True, with_one(lambda it: it["Deployment"]["spec"].update(replicas="one"))
    yield "no selector", True, with_one(lambda it: it["Deployment"]["spec"].pop("selector"))
    yield "a misspelt strategy", False, with_one(lambda it: it["Deployment"]["spec"]["strategy"].update(type="Recrate"))
    yield "a wrong policy", False, with_one(
        lambda it: pod(it)["containers"][0].update(terminationMessagePolicy="Files"))
    yield "labels of another", False, with_one(
        lambda it: it["Deployment"]["spec"]["template"]["metadata"].update(labels={"app": "x"}))
    yield "a mount of nothing", False, with_one(
        lambda it: pod(it)["containers"][0]["volumeMounts"].append({"name": "x", "mountPath": "/x"}))
    yield "another claim", False, with_one(lambda it: it["PersistentVolumeClaim"]["metadata"].update(name="x"))
    yield "another port", False, with_one(lambda it: it["Service"]["spec"]["ports"][0].update(targetPort="x"))


def main(validator):
    deployment, pod, stateful = read()
    for name, files, version in (("deployment", deployment, NEWEST), ("rules", pod, NEWEST), ("rules", pod, RULES_SINCE),
                                 ("statefulset", stateful, NEWEST)):
        said = schema(validator, files, version)
        check(not said, f"{name}, Kubernetes {version}:\n{said}")
        wrong = list(reasons(files))
        check(not wrong, f"{name}: {wrong}")
        print(f"ok  {name}, Kubernetes {version}", flush=True)
    check(schema(validator, pod, RULES_BEFORE), f"the rules are known before {RULES_SINCE}, against the document")
    for name, by_schema, files in mistakes(deployment):
        check(bool(schema(validator, files, NEWEST)) == by_schema, f"{name}: the schema says otherwise now")
        check(by_schema or list(reasons(files)), f"{name} is not found")
    print("ok  mistakes in them would be found")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (Failed, LookupError) as failed:
        print(f"scripts/test-documents: {failed}", file=sys.stderr)
        sys.exit(1)
