"""The checks of tests/checks/helm."""

import os
import subprocess
import sys
import tarfile
import tempfile

import helm_python
import kubernetes_validate
import yaml
from helm_python import chart as helm

CHART = "contrib/helm/mount-status-monitor"
MANIFEST = "contrib/kubernetes/daemonset.yaml"
RULES = "contrib/prometheus/mount_status_monitor.rules.yml"
NAME = "mount-status-monitor"
ALL = {
    "image": {"repository": "registry.example.org/m", "tag": "x"},
    "interval": "10s",
    "timeout": "2s",
    "extraArgs": ["--log-level=info"],
    "config": '[[rule]]\nmountpoint = "/data"\nseverity = "warning"\n',
    "podMonitor": {"enabled": True, "labels": {"release": "p"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "p"}},
}
# Each is a mistake, and what the refusal names.
REFUSED = [
    ({"imagee": {}}, "imagee"),
    ({"image": {"repository": ""}}, "repository"),
    ({"interval": "soon"}, "interval"),
    ({"podMonitor": {"enabled": "yes"}}, "enabled"),
    ({"extraArgs": ["log-level"]}, "extraArgs"),
]


def render(values):
    """The text of each template that is not empty, as `helm template` prints it."""
    files = helm.Chart.load(CHART).render(values, name=NAME, namespace=NAME)
    return {
        os.path.basename(path): f"---\n# Source: {path}\n{text.strip()}\n"
        for path, text in sorted(files.items())
        if text.strip()
    }


def check_lint():
    for values in ({}, ALL):
        report = helm.lint(CHART, values, strict=True)
        # An icon is only recommended.
        bad = [m for m in report["messages"] if "icon is recommended" not in str(m)]
        assert not bad and not report["errors"], report


def check_default():
    files = render({})
    assert list(files) == ["daemonset.yaml"], list(files)
    text = files["daemonset.yaml"]
    if os.environ.get("MSM_REWRITE"):
        open(MANIFEST, "w").write(text)
    assert text == open(MANIFEST).read(), f"{MANIFEST} is not what the chart makes: MSM_REWRITE=1 tests/checks/helm"
    kubernetes_validate.validate(yaml.safe_load(text), "1.37", strict=True)


def check_all():
    files = render(ALL)
    objects = {name: yaml.safe_load(text) for name, text in files.items()}
    kinds = sorted(one["kind"] for one in objects.values())
    assert kinds == ["ConfigMap", "DaemonSet", "PodMonitor", "PrometheusRule"], kinds
    for name in ("configmap.yaml", "daemonset.yaml"):
        kubernetes_validate.validate(objects[name], "1.37", strict=True)
    assert objects["configmap.yaml"]["data"]["config.toml"] == ALL["config"], objects["configmap.yaml"]
    pod = objects["daemonset.yaml"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"] == "registry.example.org/m:x"
    assert container["args"][-3:] == ["--poll-interval=10s", "--timeout=2s", "--log-level=info"], container["args"]
    assert pod["volumes"][1]["configMap"]["name"] == NAME
    assert objects["podmonitor.yaml"]["spec"]["selector"] == objects["daemonset.yaml"]["spec"]["selector"]
    # The rules are those of contrib/prometheus, and what is in the object is what Prometheus accepts.
    spec = objects["prometheusrule.yaml"]["spec"]
    assert spec == yaml.safe_load(open(RULES)), "the rules of the chart are others"
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump(spec, file)
        file.flush()
        subprocess.run(["promtool", "check", "rules", file.name], check=True, stdout=subprocess.DEVNULL)


def check_refused():
    for values, named in REFUSED:
        try:
            render(values)
        except helm_python.HelmError as error:
            assert named in str(error), (values, error)
        else:
            raise AssertionError(f"accepted: {values}")


def check_package():
    """The archive has the rules themselves: it is used far from this repository."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(helm.package(CHART, destination=folder)) as archive:
            member = archive.extractfile(f"{NAME}/{os.path.basename(RULES)}")
            assert member and member.read() == open(RULES, "rb").read()


def main():
    for check in (check_lint, check_default, check_all, check_refused, check_package):
        check()


sys.exit(main())
