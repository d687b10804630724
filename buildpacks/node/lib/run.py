"""npm, npx, yarn and pnpm for an app that runs: `npm start` becomes what the script says, and nothing stays beside it.

`run.py TOOL ARGUMENTS…` lies in the release (.rustploy/node), with a script for each tool in .rustploy/bin.
The real ones are not there: they take 60 MB of memory beside the app, and most hosts have none. What needs them belongs
to the build.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
import sys

#: One program with plain words, which needs no shell beside it.
SINGLE = re.compile(r"[\w./@-]+(?:\s[^;&|<>()`\n#]*)?")
BUILTINS = frozenset(
    "cd export set . source if while for case exec eval exit test [ { ! : unset ulimit umask trap".split()
)
BUILTIN_SCRIPTS = ("start", "test", "stop", "restart")
DEEPEST = 20
#: Options that take a word of their own, by what they mean here.
DIRECTORY = {"npm": ("--prefix", "-C"), "yarn": ("--cwd",), "pnpm": ("--dir", "-C", "--prefix"), "bun": ("--cwd",)}
WORKSPACE = {"npm": ("-w", "--workspace"), "pnpm": ("--filter", "-F"), "yarn": (), "bun": ("--filter", "-F")}
EXECUTES = {
    "npm": ("exec", "x"),
    "yarn": ("exec", "dlx"),
    "pnpm": ("exec", "dlx"),
    "bun": ("x",),
}


class Unusable(Exception):
    """The command cannot be run here; the message says why."""


def fail(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.exit(127)


def package_of(directory: str) -> dict:
    """Return the directory's package.json, an empty object when there is none."""
    try:
        with open(f"{directory}/package.json", encoding="utf-8-sig") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def nearest(directory: str) -> str:
    """Return the closest directory upwards that has a package.json."""
    place = directory
    while not os.path.isfile(f"{place}/package.json"):
        if place == "/":
            return directory
        place = os.path.dirname(place)
    return place


def workspace(root: str, wanted: str) -> str:
    """Return the directory of a workspace, by its name or path."""
    named = package_of(root).get("workspaces")
    patterns = named.get("packages", []) if isinstance(named, dict) else named or []
    try:
        with open(f"{root}/pnpm-workspace.yaml", encoding="utf-8") as file:
            patterns = [*patterns, *re.findall(r"(?m)^\s*-\s*['\"]?([\w./*@-]+)", file.read())]
    except OSError:
        pass
    direct = os.path.normpath(f"{root}/{wanted}")
    if os.path.isfile(f"{direct}/package.json"):
        return direct
    for pattern in patterns:
        for place in sorted(glob.glob(f"{root}/{pattern}", recursive=True)):
            if package_of(place).get("name") == wanted.removesuffix("..."):
                return os.path.normpath(place)
    raise Unusable(f"there is no workspace {wanted}")


class Command:
    """Hold what one command line of a tool asks for."""

    def __init__(self, tool: str, words: list[str], directory: str) -> None:
        self.tool = tool
        self.directory = directory
        self.if_present = False
        self.words = self.without_options(list(words))

    def without_options(self, words: list[str]) -> list[str]:
        """The words from the sub-command on, without the options before it."""
        while words and words[0].startswith("-") and words[0] != "--":
            word, _, value = words.pop(0).partition("=")
            if word in DIRECTORY.get(self.tool, ()):
                self.directory = os.path.join(self.directory, value or (words.pop(0) if words else ""))
            elif word in WORKSPACE.get(self.tool, ()):
                place = value or (words.pop(0) if words else "")
                self.directory = workspace(nearest(self.directory), place)
            elif word == "--if-present":
                self.if_present = True
        if self.tool == "yarn" and len(words) > 2 and words[0] == "workspace":
            self.directory = workspace(nearest(self.directory), words[1])
            words = words[2:]
        return words


def run(tool: str, words: list[str], directory: str) -> None:
    """Become what the command line asks for."""
    command = Command(tool, words, directory)
    words = command.words
    if not words:
        raise Unusable(f"{tool} alone installs packages; that belongs to the build")
    first = words.pop(0)
    if first in EXECUTES.get(tool, ()):
        return execute(words, nearest(command.directory))
    if first in ("run", "run-script", "rum"):
        words = command.without_options(words)
        if not words:
            raise Unusable(f"{tool} {first}: name a script of package.json")
        name = words.pop(0)
    elif tool == "npm" and first not in BUILTIN_SCRIPTS:
        raise Unusable(f"npm {first} is not there when the app runs; put it into the build (a build script)")
    else:
        name = first
    if tool == "npm":  # npm takes options before -- for itself
        words = npm_arguments(command, words)
    elif words[:1] == ["--"]:
        words = words[1:]
    home = nearest(command.directory)
    scripts = package_of(home).get("scripts")
    script = scripts.get(name) if isinstance(scripts, dict) else None
    if not isinstance(script, str):
        return without_script(command, name, words, home)
    start(home, name, script, words, scripts)


def npm_arguments(command: Command, words: list[str]) -> list[str]:
    """The script's arguments: all after `--`, and words without a dash before it; npm takes options for itself."""
    positional = []
    while words and words[0] != "--":
        if words[0].startswith("-"):
            words = command.without_options(words)
        else:
            positional.append(words.pop(0))
    return [*positional, *words[1:]]


def without_script(command: Command, name: str, words: list[str], home: str) -> None:
    if command.if_present:
        sys.exit(0)
    if command.tool != "npm" and found(name, home):
        execute([name, *words], home)
    if name == "start" and os.path.isfile(f"{home}/server.js"):
        start(home, name, "node server.js", words, {})
    raise Unusable(f"{command.tool} {name}: package.json has no script {name!r}")


def start(home: str, name: str, script: str, words: list[str], scripts: dict) -> None:
    """Become the script, between its pre and post scripts."""
    depth = int(os.environ.get("RUSTPLOY_SCRIPT_DEPTH", "0") or "0")
    if depth > DEEPEST:
        raise Unusable(f"npm run {name}: the scripts of package.json call each other without an end")
    text = " ".join([script, *map(shlex.quote, words)])
    chain = [scripts.get(f"pre{name}"), text, scripts.get(f"post{name}")]
    present = [part for part in chain if isinstance(part, str) and part.strip()]
    if len(present) > 1:
        text = " && ".join(f"({part}\n)" for part in present)
    elif SINGLE.fullmatch(text) and text.split()[0] not in BUILTINS:
        text = f"exec {text}"
    environment = dict(os.environ, **variables(home, name, script), RUSTPLOY_SCRIPT_DEPTH=str(depth + 1))
    os.chdir(home)
    os.execve("/bin/sh", ["sh", "-c", text], environment)


def variables(home: str, name: str, script: str) -> dict[str, str]:
    """Return the variables that npm gives a script, as far as programs ask for them."""
    package = package_of(home)
    told = {"npm_lifecycle_event": name, "npm_lifecycle_script": script, "npm_package_json": f"{home}/package.json"}
    told |= {
        f"npm_package_{key}": str(package[key]) for key in ("name", "version") if isinstance(package.get(key), str)
    }
    config = package.get("config")
    for key, value in config.items() if isinstance(config, dict) else ():
        if re.fullmatch(r"\w+", key) and isinstance(value, str | int | float):
            told[f"npm_package_config_{key}"] = str(value)
    told["INIT_CWD"] = os.environ.get("INIT_CWD", os.getcwd())
    told["PATH"] = os.pathsep.join([*binaries(home), os.environ.get("PATH", "/usr/bin:/bin")])
    return told


def binaries(home: str) -> list[str]:
    """The directories of installed programs, the closest first."""
    places = []
    place = home
    while place != "/":
        places.append(f"{place}/node_modules/.bin")
        place = os.path.dirname(place)
    return [place for place in places if os.path.isdir(place)]


def found(name: str, home: str) -> str:
    """Return the path of an installed program, empty when there is none."""
    if not re.fullmatch(r"[\w.@-]+", name):
        return ""
    places = [*binaries(home), *os.environ.get("PATH", "").split(os.pathsep)]
    paths = (f"{place}/{name}" for place in places if place)
    return next((path for path in paths if os.access(path, os.X_OK) and not os.path.isdir(path)), "")


def execute(words: list[str], home: str) -> None:
    """Become the program that npx is asked for."""
    package = ""
    while words and words[0].startswith("-"):
        word, _, value = words.pop(0).partition("=")
        if word in ("-c", "--call") and (value or words):
            text = value or words.pop(0)
            os.execve("/bin/sh", ["sh", "-c", text], dict(os.environ, **variables(home, "npx", text)))
        if word in ("-p", "--package"):
            package = value or (words.pop(0) if words else "")
        if word == "--":
            break
    if not words:
        raise Unusable("npx: name a program")
    asked = words.pop(0)
    name = re.sub(r"(?<=.)@[^/@]*$", "", asked)
    program = found(name.rpartition("/")[2], home) or of_package(name, home)
    if not program and any(os.path.isdir(f"{os.path.dirname(place)}/{name}") for place in binaries(home)):
        raise Unusable(f"npx {asked}: the package is installed and has no program to run")
    if not program:
        raise Unusable(
            f"npx {asked}: it is not installed, and nothing is fetched when the app runs; add it to dependencies"
        )
    os.execve(program, [program, *words], dict(os.environ, **variables(home, "npx", package or name)))


def of_package(name: str, home: str) -> str:
    """The only program of a package whose name differs from it, such as @nestjs/cli."""
    for place in binaries(home):
        programs = package_of(f"{os.path.dirname(place)}/{name}").get("bin")
        if isinstance(programs, dict) and len(programs) == 1:
            return found(next(iter(programs)), home)
    return ""


def main(tool: str, words: list[str]) -> None:
    try:
        if tool in ("npx", "pnpx", "bunx"):
            execute(words, nearest(os.getcwd()))
        elif words in (["-v"], ["--version"]):
            sys.stdout.write("0.0.0\n")
        else:
            run(tool, words, os.getcwd())
    except (Unusable, OSError) as error:
        fail(f"{tool}: {error}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
