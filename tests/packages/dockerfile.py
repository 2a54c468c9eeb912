"""Runs the steps of a Dockerfile one by one in directories, with chroot: like a container engine, but without layers,
caches and networks. An unsupported instruction is an error.

    dockerfile.py DOCKERFILE CONTEXT WORK IMAGE=DIRECTORY...      BUILD_ARGUMENTS={"NAME": "VALUE"} in the environment

Each stage is a directory in WORK. A stage that starts FROM an image uses the DIRECTORY given for that IMAGE. The last
line of the output describes the last stage in JSON.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys


def instructions(path):
    """Yields (name, rest) of each instruction, with continuation lines joined and without comments."""
    lines = [line for line in open(path) if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def with_variables(text, variables):
    return re.sub(r"\$\{?(\w+)\}?", lambda it: variables.get(it[1], ""), text)


def is_ignored(path, patterns):
    """The last pattern of .dockerignore that matches the path or one of its directories decides."""
    ignored = False
    parts = path.split("/")
    parents = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    for pattern in patterns:
        if any(fnmatch.fnmatchcase(parent, pattern.lstrip("!")) for parent in parents):
            ignored = not pattern.startswith("!")
    return ignored


def copy_context(context, to):
    file = os.path.join(context, ".dockerignore")
    patterns = [line.strip() for line in open(file) if line.strip() and not line.startswith("#")]
    # Directories that contain an exception are searched.
    inside = {part for it in patterns if it.startswith("!") for part in [it[1:].split("/")[0]]}
    for top in sorted(os.listdir(context)):
        if is_ignored(top, patterns) and top not in inside:
            continue
        whole = os.path.join(context, top)
        found = [whole] if os.path.isfile(whole) else [os.path.join(f, n) for f, _, names in os.walk(whole) for n in names]
        for source in found:
            relative = os.path.relpath(source, context)
            if not is_ignored(relative, patterns):
                os.makedirs(os.path.dirname(os.path.join(to, relative)), exist_ok=True)
                # Keeps the modification time, as engines do.
                shutil.copy2(source, os.path.join(to, relative), follow_symlinks=False)


class Stage:
    def __init__(self, root, environment, variables):
        self.root, self.environment, self.variables = root, environment, variables
        self.folder, self.user, self.entrypoint, self.command, self.labels = "/", "0:0", [], [], {}

    def inside(self, path):
        return os.path.join(self.root, os.path.join(self.folder, path).lstrip("/"))

    def run(self, command):
        script = f"cd {shlex.quote(self.folder)} && {command}"
        variables = [f"{name}={value}" for name, value in {**self.environment, **self.variables}.items()]
        chroot = ["chroot", f"--userspec={self.user}", self.root, "/usr/bin/env", "-i", *variables]
        subprocess.run([*chroot, "/bin/sh", "-c", script], check=True, stdin=subprocess.DEVNULL)

    def copy(self, words, context, stages):
        flags = dict(it[2:].split("=", 1) for it in words if it.startswith("--"))
        source, to = [it for it in words if not it.startswith("--")]
        to = self.inside(to)
        if "from" not in flags:
            if source != ".":
                raise SystemExit(f"unsupported: COPY {source}")
            return copy_context(context, to)
        os.makedirs(to, exist_ok=True)
        subprocess.run(["cp", "-a", stages[flags["from"]].inside(source) + "/.", to], check=True)
        owner = flags.get("chown", "0:0")
        return subprocess.run(["chown", "-R", owner, to], check=True)


def main():
    dockerfile, context, work, *images = sys.argv[1:]
    images = dict(it.split("=", 1) for it in images)
    environment = json.loads(os.environ.get("IMAGE_ENVIRONMENT", "{}"))
    arguments = json.loads(os.environ.get("BUILD_ARGUMENTS", "{}"))
    stages, stage, variables = {}, None, {}
    for name, rest in instructions(dockerfile):
        print(f"{name} {rest}", flush=True)
        words = with_variables(rest, stage.variables if stage else variables).split()
        if name == "ARG":
            key, _, value = rest.partition("=")
            (stage.variables if stage else variables)[key] = arguments.get(key, value)
        elif name == "FROM":
            image, label = words[0].split(":")[0], words[2] if len(words) > 1 else "last"
            root = os.path.join(work, label) if image == "scratch" else images[image]
            os.makedirs(root, exist_ok=True)
            stage = stages[label] = Stage(root, {} if image == "scratch" else environment, {})
        elif name == "WORKDIR":
            stage.folder = words[0]
            os.makedirs(stage.inside("."), exist_ok=True)
        elif name == "COPY":
            stage.copy(words, context, stages)
        elif name == "RUN":
            stage.run(rest)
        elif name == "ENV":
            stage.environment = {**stage.environment, **dict(it.split("=", 1) for it in words)}
        elif name == "USER":
            stage.user = words[0]
        elif name == "ENTRYPOINT":
            stage.entrypoint = json.loads(rest)
        elif name == "CMD":
            stage.command = json.loads(rest)
        elif name == "LABEL":
            labels = shlex.split(with_variables(rest, stage.variables))
            stage.labels.update(it.split("=", 1) for it in labels)
        elif name != "EXPOSE":
            raise SystemExit(f"unsupported: {name}")
    keys = ("root", "environment", "user", "entrypoint", "command", "labels")
    print(json.dumps({key: getattr(stage, key) for key in keys}))


main()
