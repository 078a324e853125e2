"""What containers and pods in deploy/ may do is no more than they need, and linters have nothing to say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from dibs.broker.config.redis_url import check_redis_url

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
#: Read by kubectl itself, and no resource of a cluster.
OURS = [path for path in KUBERNETES if path.name != "kustomization.yaml"]
BROKER = {"app.kubernetes.io/name": "dibs", "app.kubernetes.io/component": "broker"}
WORKER = {"app.kubernetes.io/name": "dibs", "app.kubernetes.io/component": "worker"}
REDIS = {"app.kubernetes.io/name": "redis"}


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "docker" / "docker-compose.yml").read_text()))


def resources(kind: str) -> Iterator[dict[str, Any]]:
    for path in OURS:
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] == kind:
                yield document


def named(kind: str) -> dict[str, dict[str, Any]]:
    return {resource["metadata"]["name"]: resource for resource in resources(kind)}


def pods() -> list[dict[str, Any]]:
    return [deployment["spec"]["template"]["spec"] for deployment in resources("Deployment")]


# Linters


def test_hadolint_has_nothing_to_say_of_the_image() -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists() and not os.environ.get("CI"):
        pytest.skip("hadolint is not installed")
    done = subprocess.run([program, DEPLOY / "docker" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_kubernetes_knows_every_field(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        # The oldest that we speak of, where probes ask over gRPC, is older than the schemas that come with it.
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    document = next(resources("Deployment"))
    document["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


# The image


def test_the_image_has_a_base_of_one_version_and_a_user_without_rights() -> None:
    lines = (DEPLOY / "docker" / "Dockerfile").read_text().splitlines()
    (base,) = [line for line in lines if line.startswith("ARG BASE=")]
    assert re.fullmatch(r"ARG BASE=python:\d+\.\d+\.\d+-slim-\w+", base)
    assert [line for line in lines if line.startswith("FROM ")] == ["FROM ${BASE} AS build", "FROM ${BASE}"]
    (user,) = [line for line in lines if line.startswith("USER ")]
    assert user == "USER 10001:10001"
    # What is copied after it is switched to would belong to it.
    assert not [line for line in lines[lines.index(user) :] if line.startswith(("RUN", "COPY", "ADD"))]


def test_the_image_has_all_that_options_of_brokers_and_workers_need() -> None:
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", (DEPLOY / "docker" / "Dockerfile").read_text())
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    (everything,) = project["optional-dependencies"]["all"]
    # Its Redis is in another container.
    assert {*extras.split(","), "embedded"} == {*re.findall(r"[\w-]+", everything)} - {"dibs"}


# Compose


@pytest.mark.parametrize("name", sorted(compose()["services"]))
def test_a_container_of_compose_gets_no_more_than_it_needs(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"}
    tag = service["image"].partition(":")[2]
    assert re.match(r"\d+\.\d+", tag)
    for mount in service.get("volumes", []):
        assert mount.startswith("redis-data:") or mount.endswith(":ro")


def test_only_brokers_reach_redis_and_only_this_machine_reaches_the_balancer() -> None:
    whole = compose()
    services = whole["services"]
    assert whole["networks"]["redis"] == {"internal": True}
    inside = {name for name, service in services.items() if "redis" in service["networks"]}
    assert inside == {"redis", "broker-1", "broker-2"}
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {"haproxy": ["127.0.0.1:7411:7411"]}


def test_passwords_come_as_mounted_files_and_are_nowhere_else() -> None:
    whole = compose()
    for name, service in whole["services"].items():
        text = f"{service.get('environment')} {service.get('command')}"
        assert not re.search(r"redis://|requirepass|password", text), name
    for secret in whole["secrets"].values():
        assert secret["file"].startswith("./secrets/")
    ignored = (DEPLOY.parent / ".gitignore").read_text().splitlines()
    assert "deploy/docker/secrets/" in ignored
    for name in ("broker-1", "broker-2"):
        path = whole["services"][name]["environment"]["DIBS_REDIS_FILE"]
        assert path.removeprefix("/run/secrets/") in whole["services"][name]["secrets"]


# Kubernetes


@pytest.mark.parametrize("pod", pods(), ids=lambda pod: str(pod["containers"][0]["name"]))
def test_a_pod_fits_the_restricted_security_standard_and_is_bounded(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == 10001
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    allowed = {"secret", "emptyDir", "configMap"}
    assert all((volume.keys() - {"name"}) <= allowed for volume in pod["volumes"])
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert ":" in container["image"]
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        (tmp,) = [volume for volume in pod["volumes"] if volume["name"] == mounts["/tmp"]["name"]]
        assert tmp["emptyDir"]["sizeLimit"]


def test_the_broker_reads_its_redis_from_a_mounted_secret() -> None:
    (pod,) = [pod for pod in pods() if pod["containers"][0]["name"] == "broker"]
    (container,) = pod["containers"]
    file = Path(named("ConfigMap")["dibs-broker"]["data"]["DIBS_REDIS_FILE"])
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == str(file.parent)]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
    assert mount["readOnly"] is True
    # Root's, and readable for the group of the pod and for nobody else.
    assert volume["secret"]["defaultMode"] == 0o440
    assert pod["securityContext"]["fsGroup"] == 10001
    assert check_redis_url(named("Secret")[volume["secret"]["secretName"]]["stringData"][file.name])
    assert not [source for source in container["envFrom"] if "secretRef" in source]


def peers(rule: dict[str, Any], side: str) -> list[dict[str, str]]:
    return [peer["podSelector"]["matchLabels"] for peer in rule[side]]


def test_network_policies_let_nobody_but_brokers_to_redis_and_nobody_but_clients_to_brokers() -> None:
    policies = {name: policy["spec"] for name, policy in named("NetworkPolicy").items()}
    assert policies.keys() == {"dibs-broker", "dibs-worker", "dibs-redis"}

    broker = policies["dibs-broker"]
    assert broker["podSelector"]["matchLabels"] == BROKER
    assert broker["policyTypes"] == ["Ingress", "Egress"]
    (calls,) = broker["ingress"]
    assert peers(calls, "from") == [WORKER, {"dibs-client": "true"}]
    assert calls["ports"] == [{"protocol": "TCP", "port": 7411}]
    to_redis, to_names = broker["egress"]
    assert peers(to_redis, "to") == [REDIS]
    assert to_redis["ports"] == [{"protocol": "TCP", "port": 6379}]
    assert {port["port"] for port in to_names["ports"]} == {53}

    worker = policies["dibs-worker"]
    assert worker["podSelector"]["matchLabels"] == WORKER
    assert (worker["policyTypes"], worker.get("ingress")) == (["Ingress"], None)

    redis = policies["dibs-redis"]
    assert redis["podSelector"]["matchLabels"] == REDIS
    assert redis["policyTypes"] == ["Ingress"]
    (connections,) = redis["ingress"]
    assert peers(connections, "from") == [BROKER, REDIS]


def test_the_labels_that_policies_go_by_are_those_of_the_pods() -> None:
    labels = [deployment["spec"]["template"]["metadata"]["labels"] for deployment in resources("Deployment")]
    assert labels == [BROKER, WORKER]
    applied = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    assert sorted(applied) == [path.name for path in OURS]
