"""The processes that a file in deploy/ describes: their command lines and environments as written.

[Part("redis", ["redis-server", ...], {...}), Part("collector", ...), Part("gateway", ...), ...]
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.journeys.gateway_process import ROOT

DEPLOY = ROOT / "deploy"
_COMPOSE_VARIABLE = re.compile(r"\$\{(\w+)(?::[?-][^}]*)?\}")
_KUBERNETES_VARIABLE = re.compile(r"\$\((\w+)\)")


@dataclass(frozen=True, slots=True)
class Part:
    """One container: its role, what it runs, and what it is told by its environment."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    probes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """Everything of one file, and the configuration it mounts."""

    parts: Sequence[Part]
    config: str

    def named(self, name: str) -> list[Part]:
        return [part for part in self.parts if part.name == name]


def read_compose(given: Mapping[str, str]) -> Deployment:
    """deploy/compose.yaml with the variables of its caller's environment."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    parts = []
    for name, service in services.items():
        env = {
            key: _COMPOSE_VARIABLE.sub(lambda found: given[found[1]], value)
            for key, value in service.get("environment", {}).items()
        }
        test = " ".join(service["healthcheck"]["test"])
        probes = re.findall(r"http://127\.0\.0\.1:8080(/\w+)", test)
        parts.append(Part(name.partition("-")[0], service["command"], env, probes))
    return Deployment(parts, (DEPLOY / "config.toml").read_text())


def kubernetes_objects() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def read_kubernetes(secret: Mapping[str, str]) -> Deployment:
    """deploy/kubernetes.yaml with what the Secret holds that it refers to."""
    parts: list[Part] = []
    config = ""
    for item in kubernetes_objects():
        if item["kind"] == "ConfigMap":
            config = item["data"]["config.toml"]
        if item["kind"] not in ("Deployment", "StatefulSet"):
            continue
        [container] = item["spec"]["template"]["spec"]["containers"]
        env = _environment(container["env"], secret)
        command = [_filled(text, env) for text in (*container["command"], *container["args"])]
        probes = [
            container[kind]["httpGet"]["path"]
            for kind in ("startupProbe", "readinessProbe", "livenessProbe")
            if "httpGet" in container.get(kind, {})
        ]
        part = Part(item["metadata"]["name"], command, env, probes)
        parts += [part] * item["spec"]["replicas"]
    return Deployment(parts, config)


def _environment(listed: Sequence[Any], secret: Mapping[str, str]) -> dict[str, str]:
    env: dict[str, str] = {}
    for variable in listed:
        if "value" in variable:
            env[variable["name"]] = _filled(variable["value"], env)
        else:
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference["name"] == "weir"
            env[variable["name"]] = secret[reference["key"]]
    return env


def _filled(text: str, env: Mapping[str, str]) -> str:
    return _KUBERNETES_VARIABLE.sub(lambda found: env[found[1]], text)


def here(text: str, places: Mapping[str, str]) -> str:
    """A text of a container with its hosts and paths replaced by those of this machine."""
    for theirs, ours in places.items():
        text = text.replace(theirs, ours)
    return text


def write_config(path: Path, text: str, places: Mapping[str, str]) -> Path:
    path.write_text(here(text, places))
    return path
