"""The node buildpack's choices: which node, what is installed, how the app is started."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustploy_agent.builder import detection
from tests.unit.nodeplan import module, written
from tests.unit.programs import BUILDPACKS, SAMPLES, Workshop

#: Without a node of the host's the buildpack would fetch one.
needs_node = pytest.mark.skipif(not Path("/usr/bin/node").exists(), reason="the host has no node")
noderange, nodeversion, managers = module("noderange"), module("nodeversion"), module("managers")
plan, scripts, frameworks = module("plan"), module("scripts"), module("frameworks")
Wrong = module("packagefile").Wrong


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("", ["0.1.0", "99.0.0"], []),
        ("*", ["18.0.0"], []),
        (">=18", ["18.0.0", "24.1.0"], ["17.9.9"]),
        (">18", ["19.0.0"], ["18.0.0", "18.5.0"]),
        ("<=20", ["20.9.9", "1.0.0"], ["21.0.0"]),
        ("<20.10", ["20.9.9"], ["20.10.0"]),
        ("20", ["20.0.0", "20.9.1"], ["21.0.0", "19.9.9"]),
        ("20.x", ["20.9.1"], ["21.0.0"]),
        ("v20.10.x", ["20.10.7"], ["20.11.0"]),
        ("=20.1.2", ["20.1.2"], ["20.1.3"]),
        ("^18.17.0 || >=20.5.0", ["18.17.0", "18.99.0", "20.5.0", "24.0.0"], ["18.16.9", "19.0.0", "20.4.0"]),
        ("~20.3.1", ["20.3.1", "20.3.9"], ["20.4.0", "20.3.0"]),
        ("~20", ["20.9.0"], ["21.0.0"]),
        (">=18.0.0 <21", ["18.0.0", "20.99.0"], ["21.0.0"]),
        (">= 18, < 21", ["20.0.0"], ["21.0.0"]),
        ("18 - 20", ["18.0.0", "20.9.0"], ["21.0.0", "17.0.0"]),
        ("18.2 - 20.1.1", ["18.2.0", "20.1.1"], ["20.1.2"]),
        (">=18.0.0-rc.1", ["18.0.0", "24.0.0"], ["17.9.9"]),
        ("^20.0.0-0 || >=22.0.0-pre", ["20.0.0", "22.0.0"], ["21.0.0"]),
        (">=16 <21.0.0-0", ["20.9.9"], ["21.0.0"]),
        ("<=20.0.0-rc.1", ["19.9.9"], ["20.0.0"]),
        (">20.0.0-rc.1", ["20.0.0"], ["19.9.9"]),
        ("20.1.2+build.5", ["20.1.2"], ["20.1.3"]),
    ],
)
def test_ranges_mean_what_npm_means(text: str, inside: list[str], outside: list[str]) -> None:
    intervals = noderange.parse(text)
    for version in inside:
        assert any(noderange.version(version) in interval for interval in intervals), version
    for version in outside:
        assert not any(noderange.version(version) in interval for interval in intervals), version


@given(st.text(max_size=20) | st.from_regex(r"[\^~<>=v0-9x.* |-]{0,20}", fullmatch=True))
def test_any_text_is_a_range_or_a_clear_error(text: str) -> None:
    try:
        noderange.parse(text)
    except ValueError as error:
        assert "version range" in str(error)


LOCK = json.dumps({"name": "x", "lockfileVersion": 3, "packages": {"": {}}})


def planned(package: dict[str, Any], files: dict[str, str] | None = None, host: str = "20.1.0") -> dict[str, str]:
    with tempfile.TemporaryDirectory() as directory:
        found: dict[str, str] = plan.plan(
            written(Path(directory), {"package.json": json.dumps(package)} | (files or {})), host
        )
        return found


def chosen(ranges: str) -> str:
    published = [f"{major}.{minor}.0" for major in range(4, 27) for minor in (0, 5, 9)]
    return ".".join(map(str, nodeversion.pick(nodeversion.read_written(ranges), [*map(noderange.version, published)])))


@pytest.mark.parametrize(
    ("engines", "host", "fetched"),
    [
        (None, "18.20.0", ""),
        (None, "", "24.9.0"),
        (">=18", "18.20.0", ""),
        (">=18", "", "24.9.0"),
        ("22.x", "20.1.0", "22.9.0"),
        ("^20.5 || ^22", "18.1.0", "22.9.0"),
        ("12.x", "20.1.0", "12.9.0"),
        ("14", "20.1.0", "14.9.0"),
        (">=25", "20.1.0", "26.9.0"),
        (">=21.0.0-rc.1", "20.1.0", "24.9.0"),
        ("lts/*", "20.1.0", "24.9.0"),
        ("20.5.3", "20.1.0", "20.9.0"),
    ],
)
def test_the_hosts_node_is_used_when_it_will_do(engines: str | None, host: str, fetched: str) -> None:
    found = planned({"engines": {"node": engines}} if engines else {}, host=host)["node_ranges"]
    assert (chosen(found) if found else "") == fetched


@pytest.mark.parametrize(
    ("files", "package", "fetched"),
    [
        ({".nvmrc": "v18\n"}, {}, "18.9.0"),
        ({".nvmrc": "lts/hydrogen"}, {}, "18.9.0"),
        ({".nvmrc": "lts/-2"}, {}, ""),
        ({".nvmrc": "lts/*\n"}, {}, "24.9.0"),
        ({".nvmrc": "\ufeff16.5\r\n"}, {}, "16.5.0"),
        ({".nvmrc": "# ours\n22 # yes\n"}, {}, "22.9.0"),
        ({".nvmrc": "node"}, {}, ""),
        ({".node-version": "14.9.0"}, {}, "14.9.0"),
        ({".tool-versions": "ruby 3.2.1\nnodejs 22.5.0\n"}, {}, "22.5.0"),
        ({}, {"volta": {"node": "16.9.0"}}, "16.9.0"),
        ({}, {"devEngines": {"runtime": {"name": "node", "version": "^22"}}}, "22.9.0"),
        ({".nvmrc": "22"}, {"engines": {"node": ">=18"}}, "22.9.0"),
        ({".nvmrc": "14"}, {"engines": {"node": ">=18"}}, ""),
        ({".nvmrc": "20"}, {}, ""),
    ],
)
def test_every_place_that_names_a_version_is_read(files: dict[str, str], package: dict[str, Any], fetched: str) -> None:
    found = planned(package, files)["node_ranges"]
    assert (chosen(found) if found else "") == fetched


@pytest.mark.parametrize("engines", ["newest", ">=18 <18", "lts/unheard", "lts/-99"])
def test_a_range_that_is_none_names_the_key(engines: str) -> None:
    with pytest.raises(Wrong, match=r"engines\.node"):
        planned({"engines": {"node": engines}})


def test_a_version_file_that_is_none_is_named() -> None:
    with pytest.raises(Wrong, match=r"\.nvmrc"):
        planned({}, {".nvmrc": "blue"})


def test_a_version_that_no_package_has_says_which_there_are() -> None:
    with pytest.raises(Wrong, match="12, 14"):
        nodeversion.pick(noderange.parse("99"), [(12, 0, 0), (14, 0, 0)])


def locked(*asked: str, **about: Any) -> dict[str, str]:
    packages: dict[str, Any] = {"": {"engines": {"node": "99"}}}
    packages |= {f"node_modules/p{at}": {"engines": {"node": text}} | about for at, text in enumerate(asked)}
    return {"package-lock.json": json.dumps({"lockfileVersion": 3, "packages": packages})}


@pytest.mark.parametrize(
    ("files", "host", "fetched"),
    [
        (locked(">=4"), "18.20.0", ""),
        (locked("^20.19.0 || >=22.12.0"), "18.20.0", "24.9.0"),
        (locked(">=10 <17", ">=4"), "18.20.0", "16.9.0"),
        (locked("nonsense"), "20.1.0", ""),
        (locked(">=99", optional=True), "20.1.0", ""),
        ({"pnpm-lock.yaml": "lockfileVersion: '9.0'\n\n  a@1:\n    engines: {node: '>=22'}\n"}, "20.1.0", "24.9.0"),
        ({"yarn.lock": "# yarn lockfile v1\n"}, "18.20.0", "24.9.0"),
        ({"yarn.lock": "# yarn lockfile v1\n"}, "20.20.0", ""),
    ],
)
def test_without_a_wish_the_locked_packages_decide(files: dict[str, str], host: str, fetched: str) -> None:
    """On Debian 12's node 18 most of today's frameworks do not even start to build."""
    found = planned({"dependencies": {"a": "1"}}, files, host)["node_ranges"]
    assert (chosen(found) if found else "") == fetched


@pytest.mark.parametrize(
    ("package", "start"),
    [
        ({"start": "node server.js"}, "exec node server.js"),
        ({"start": "next start -p $PORT"}, "exec next start -p $PORT"),
        ({"start": "npm run serve", "serve": "node x.js"}, "exec node x.js"),
        ({"start": "npm start"}, "exec npm start"),
        ({"start": "A=1 node x.js"}, "A=1 node x.js"),
        ({"start": "node a.js && node b.js"}, "node a.js && node b.js"),
        ({"start": "cd dist; node x"}, "cd dist; node x"),
        ({"start": "cd dist"}, "cd dist"),
        ({"prestart": "node p", "start": "node s"}, "node p && node s"),
        ({"start": "npm run serve -- --flag", "serve": "node s.js"}, "exec npm run serve -- --flag"),
        ({"start": "next build && next start"}, "exec next start"),
        ({"prestart": "npm run build", "start": "node dist/x.js"}, "exec node dist/x.js"),
        ({"start": "npm run build && npm run serve", "serve": "node s.js"}, "exec node s.js"),
        ({"start": "nest start", "start:prod": "node dist/main"}, "exec node dist/main"),
        ({"start": "vite", "start:prod": "node x"}, "exec node x"),
        ({"start": "nodemon s.js"}, "exec nodemon s.js"),
        ({"start": "vite-node server.ts"}, "exec vite-node server.ts"),
        ({"start": "node build"}, "exec node build"),
    ],
)
def test_how_an_app_is_started(package: dict[str, str], start: str) -> None:
    assert planned({"scripts": package})["start"] == start


@pytest.mark.parametrize(
    "command",
    ["vite", "vite preview", "vite --host", "npx vite", "next dev", "next", "react-scripts start", "ng serve",
     "ng s --open", "vue-cli-service serve", "astro dev", "astro dev --host", "nuxt dev", "remix dev", "gatsby develop",
     "webpack serve --open", "webpack-dev-server", "parcel index.html", "live-server", "npm run dev",
     "cross-env A=1 next dev", "eleventy --serve", "react-router dev", "docusaurus start",
     "npm run build && vite preview"],
)  # fmt: skip
def test_a_development_server_never_starts_an_app(command: str) -> None:
    assert planned({"scripts": {"start": command, "dev": "vite"}})["start"] == ""


@pytest.mark.parametrize(
    ("package", "files", "wanted"),
    [
        ({}, {}, {"install": "none"}),
        ({}, {"package-lock.json": LOCK}, {"install": "none"}),
        ({"dependencies": {"a": "1"}}, {}, {"install": "loose", "cacheable": ""}),
        ({"dependencies": {"a": "1"}}, {"package-lock.json": LOCK},
         {"install": "locked", "cacheable": "1", "omit_dev": "1"}),
        ({"dependencies": {"a": "file:lib"}}, {"package-lock.json": LOCK}, {"cacheable": ""}),
        ({"dependencies": {"a": "1"}, "scripts": {"postinstall": "x"}}, {"package-lock.json": LOCK},
         {"cacheable": "1", "hooks": "postinstall", "omit_dev": ""}),
        ({"dependencies": {"a": "1"}, "scripts": {"prepare": "husky install"}}, {"package-lock.json": LOCK},
         {"cacheable": "1", "hooks": "", "omit_dev": ""}),
        ({"scripts": {"postinstall": "x"}}, {}, {"install": "loose"}),
        ({"dependencies": {"a": "1"}, "workspaces": ["x"]}, {"package-lock.json": LOCK}, {"cacheable": ""}),
        ({"devDependencies": {"a": "1"}, "scripts": {"build": "x"}}, {"yarn.lock": "# yarn lockfile v1\n"},
         {"manager": "yarn", "prune": "1", "omit_dev": "", "builds": "yarn run build"}),
        ({"dependencies": {"a": "1"}}, {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, {"manager": "pnpm"}),
        ({"devDependencies": {"nodemon": "3"}, "scripts": {"start": "nodemon s.js", "build": "x"}}, {},
         {"prune": "", "omit_dev": ""}),
        ({"devDependencies": {"tsx": "3"}, "scripts": {"start": "node --import tsx s.ts"}}, {}, {"omit_dev": ""}),
        ({"devDependencies": {"ts-node": "3"}, "scripts": {"start": "node -r ts-node/register s.ts"}}, {},
         {"omit_dev": ""}),
        ({"devDependencies": {"@nestjs/cli": "3"}, "scripts": {"start": "nest start"}}, {}, {"omit_dev": ""}),
        ({"devDependencies": {"nodemon": "3"}}, {"Procfile": "web: npm run s\n"}, {"omit_dev": "1"}),
        ({"devDependencies": {"nodemon": "3"}, "scripts": {"s": "nodemon s.js"}}, {"Procfile": "web: npm run s\n"},
         {"omit_dev": ""}),
        ({"scripts": {"build": "a", "heroku-postbuild": "b", "heroku-prebuild": "c"}}, {},
         {"builds": "npm run heroku-postbuild", "before": "heroku-prebuild"}),
        ({"scripts": {"start": "tsc && node dist/x.js"}}, {}, {"builds": "tsc"}),
        ({"scripts": {"start": "npm run build && node x", "build": "tsc"}}, {}, {"builds": "npm run build"}),
        ({"devDependencies": {"vite": "7"}, "scripts": {"dev": "vite"}}, {}, {"builds": "vite build"}),
        ({"scripts": {"start": "npx -y serve@14 -s build"}}, {}, {"extras": "serve@14"}),
        ({"dependencies": {"serve": "14"}, "scripts": {"start": "npx serve"}}, {}, {"extras": ""}),
    ],
)  # fmt: skip
def test_what_is_installed_and_kept(package: dict[str, Any], files: dict[str, str], wanted: dict[str, str]) -> None:
    found = planned(package, files)
    assert {key: found[key] for key in wanted} == wanted


BERRY = "# generated\n\n__metadata:\n  version: 8\n"


@pytest.mark.parametrize(
    ("package", "files", "tool", "spec"),
    [
        ({}, {}, "npm", ""),
        ({}, {"package-lock.json": LOCK}, "npm", ""),
        ({"packageManager": "npm@10.2.3"}, {"package-lock.json": LOCK}, "npm", "npm@10.2.3"),
        ({"engines": {"npm": ">=9 <11"}}, {}, "npm", "npm@>=9 <11"),
        ({"engines": {"npm": "6.x"}}, {}, "npm", "npm@6.x"),
        ({"engines": {"npm": ">=6"}}, {}, "npm", ""),
        ({"engines": {"npm": "*"}}, {}, "npm", ""),
        ({"engines": {"npm": "please-use-pnpm"}}, {}, "npm", ""),
        ({"engines": {"pnpm": ">=8"}}, {"pnpm-lock.yaml": "lockfileVersion: '6.0'\n"}, "pnpm", "pnpm@8"),
        ({"engines": {"pnpm": "8.x"}}, {"pnpm-lock.yaml": "lockfileVersion: '6.0'\n"}, "pnpm", "pnpm@8.x"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: 5.4\n"}, "pnpm", "pnpm@7"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '6.0'\n"}, "pnpm", "pnpm@8"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, "pnpm", "pnpm@9"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n", "pnpm-workspace.yaml": "onlyBuiltDependencies: [a]\n"},
         "pnpm", "pnpm@10"),
        ({"packageManager": "pnpm@8.15.9+sha256.abc"}, {}, "pnpm", "pnpm@8.15.9"),
        ({}, {"yarn.lock": "# yarn lockfile v1\n"}, "yarn", "yarn@1"),
        ({"packageManager": "yarn@1.22.19"}, {"yarn.lock": ""}, "yarn", "yarn@1.22.19"),
        ({}, {"yarn.lock": BERRY}, "berry", "@yarnpkg/cli-dist@4"),
        ({}, {"yarn.lock": BERRY.replace("8", "6")}, "berry", "@yarnpkg/cli-dist@3"),
        ({"packageManager": "yarn@3.6.4"}, {"yarn.lock": BERRY}, "berry", "@yarnpkg/cli-dist@3.6.4"),
        ({"packageManager": "yarn@4.5.0"}, {}, "berry", "@yarnpkg/cli-dist@4.5.0"),
        ({"volta": {"yarn": "1.22.0"}}, {"yarn.lock": ""}, "yarn", "yarn@1.22.0"),
        ({}, {"bun.lock": "{}"}, "bun", "bun@1"),
        ({"packageManager": "bun@1.2.0"}, {"bun.lockb": ""}, "bun", "bun@1.2.0"),
        ({"packageManager": "pnpm@9.1.0"}, {"pnpm-lock.yaml": "", "package-lock.json": LOCK}, "pnpm", "pnpm@9.1.0"),
        ({"packageManager": "nonsense"}, {}, "npm", ""),
    ],
)  # fmt: skip
def test_which_package_manager_installs(package: dict[str, Any], files: dict[str, str], tool: str, spec: str) -> None:
    found = planned(package, files)
    assert (found["manager"], found["manager_spec"]) == (tool, spec)
    seen = detection.detect(frozenset({"package.json", *files}), ({"package.json": json.dumps(package)} | files).get)
    assert seen["package_manager"] == tool.replace("berry", "yarn"), "an import says something else than the build does"


@pytest.mark.parametrize(
    ("package", "files", "says"),
    [
        ({}, {"yarn.lock": "", "package-lock.json": LOCK}, "two lock files: yarn.lock and package-lock.json"),
        ({}, {"pnpm-lock.yaml": "", "package-lock.json": LOCK}, "two lock files"),
        ({"packageManager": "yarn@1.22.0"}, {"package-lock.json": LOCK}, "packageManager"),
        ({"dependencies": {"a": "1"}}, {"package-lock.json": "\n"}, "package-lock.json is empty"),
        ({"dependencies": {"a": "1"}}, {"package-lock.json": "{"}, "package-lock.json is not valid JSON"),
        ({"dependencies": {"a": "1"}}, {"package-lock.json": "{}"}, "no lockfileVersion"),
        ({"dependencies": {"a": "1"}}, {"pnpm-lock.yaml": "<<<<<<< HEAD\n"}, "conflict markers"),
    ],
)
def test_lock_files_that_cannot_be_obeyed_say_why(package: dict[str, Any], files: dict[str, str], says: str) -> None:
    with pytest.raises(Wrong, match=says.replace(".", r"\.")):
        planned(package, files)


@pytest.mark.parametrize(
    ("dependency", "left", "start", "site", "page"),
    [
        ("next", [".next/BUILD_ID"], "next start", "", ""),
        ("next", [".next/standalone/server.js"], "node .next/standalone/server.js", "", ""),
        ("next", ["out/index.html", ".next/BUILD_ID", ".next/export-detail.json"], "", "out", ""),
        ("nuxt", [".output/server/index.mjs", ".output/public/index.html"], "node .output/server/index.mjs", "", ""),
        ("nuxt", [".output/public/index.html", ".output/public/200.html"], "", ".output/public", "200.html"),
        ("@sveltejs/kit", ["build/handler.js", "build/index.js"], "node build", "", ""),
        ("@sveltejs/kit", ["build/index.html", "build/404.html"], "", "build", ""),
        ("@remix-run/react", ["build/server/index.js"], "remix-serve ./build/server/index.js", "", ""),
        ("@react-router/dev", ["build/server/index.js"], "react-router-serve ./build/server/index.js", "", ""),
        ("@react-router/dev", ["build/client/index.html"], "", "build/client", "index.html"),
        ("astro", ["dist/server/entry.mjs", "dist/client/x"], "node ./dist/server/entry.mjs", "", ""),
        ("astro", ["dist/index.html"], "", "dist", ""),
        ("vite", ["dist/index.html"], "", "dist", "index.html"),
        ("vite", ["dist/index.html", "dist/404.html"], "", "dist", ""),
        ("react-scripts", ["build/index.html", "public/index.html"], "", "build", "index.html"),
        ("@angular/core", ["dist/shop/browser/index.html"], "", "dist/shop/browser", "index.html"),
        (
            "@angular/core",
            ["dist/shop/server/server.mjs", "dist/shop/browser/x"],
            "node dist/shop/server/server.mjs",
            "",
            "",
        ),
        ("@vue/cli-service", ["dist/index.html"], "", "dist", "index.html"),
        ("@11ty/eleventy", ["_site/index.html"], "", "_site", ""),
        ("@nestjs/core", ["dist/main.js"], "node dist/main", "", ""),
        ("express", ["server.js", "public/index.html"], "node server.js", "", ""),
        ("express", ["index.js", "public/index.html"], "node index.js", "", ""),
        ("express", ["app.js"], "node app.js", "", ""),
        ("left", ["build/index.html"], "", "build", ""),
        ("left", [], "", "", ""),
    ],
)
def test_what_a_build_left_is_started_or_served(
    tmp_path: Path, dependency: str, left: list[str], start: str, site: str, page: str
) -> None:
    package = json.dumps({"dependencies": {dependency: "1"}})
    tree = written(tmp_path, {"package.json": package} | dict.fromkeys(left, ""))
    assert frameworks.produced(tree) == (start, site, page)


@pytest.mark.parametrize(
    ("main", "files", "start"),
    [
        ("lib/x.js", ["lib/x.js"], "node lib/x.js"),
        ("lib/x", ["lib/x.js"], "node lib/x"),
        ("lib", ["lib/index.js"], "node lib"),
        ("gone.js", [], ""),
        ("x.js; id", ["x.js; id"], ""),
        ("--eval=1", ["index.js"], "node index.js"),
        ("../x.js", ["index.js"], "node index.js"),
    ],
)
def test_main_starts_an_app_when_it_is_there(tmp_path: Path, main: str, files: list[str], start: str) -> None:
    tree = written(tmp_path, {"package.json": json.dumps({"main": main})} | dict.fromkeys(files, ""))
    assert frameworks.produced(tree)[0] == start


def test_a_script_does_not_change_the_key_of_the_cache_but_a_dependency_does() -> None:
    base: dict[str, Any] = {"dependencies": {"a": "1"}}
    key = plan.cache_key(base, b"lock", "")
    assert plan.cache_key(base | {"scripts": {"start": "x"}}, b"lock", "") == key
    assert plan.cache_key(base | {"scripts": {"postinstall": "x"}}, b"lock", "") != key
    assert plan.cache_key({"dependencies": {"a": "2"}}, b"lock", "") != key
    assert plan.cache_key(base, b"other", "") != key
    assert plan.cache_key(base, b"lock", "pnpm@8") != key


@pytest.mark.processes
@given(start=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40))
def test_whatever_a_start_script_contains_arrives_in_the_shell_as_it_is(start: str) -> None:
    """The plan is evaluated by a shell; package.json is somebody else's text."""
    command = plan._quoted(start)
    shown = subprocess.run(["sh", "-c", f"printf %s {command}"], capture_output=True, check=True).stdout
    assert shown == start.encode()


@needs_node
@pytest.mark.processes
def test_a_start_command_arrives_in_the_release_as_it_is(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    start = r"""node -e 'console.log("a\\b $PORT")' `true` # \n %s"""
    result = workshop.build({"package.json": json.dumps({"scripts": {"start": start}})}, "node")
    import yaml

    assert yaml.safe_load(result["release"]) == {"default_process_types": {"web": start}}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"package.json": "{"}, "not valid JSON"),
        ({"package.json": "[]"}, "must be an object"),
        ({"package.json": '{"engines": {"node": "new"}}'}, "engines.node"),
    ],
)
def test_a_package_json_that_cannot_be_used_says_why(tmp_path: Path, files: dict[str, str], says: str) -> None:
    result = Workshop(tmp_path).build(files, "node")
    assert result["code"] == "build_failed"
    assert says in result["message"]


@needs_node
@pytest.mark.processes
def test_an_app_without_dependencies_is_built_without_npm(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    result = workshop.build(SAMPLES / "node", "node")
    assert result["ok"], result
    assert not (workshop.checkout / "node_modules").exists()
    assert not (workshop.root / "cache" / "node" / "npm").exists()


@pytest.mark.processes
@pytest.mark.parametrize(
    ("kept", "origin", "shared"),
    [
        ("", "", False),
        ("a", "", False),
        ("", "/x/slugs/a/app/.venv", False),
        ("a", "/x/slugs/a/app/.venv", True),
        ("b a c", "/x/slugs/a/app/deep/node_modules", True),
        ("aa b", "/x/slugs/a/app/.venv", False),
        ("a", "/x/slugs/*/app/.venv", False),
    ],
)
def test_only_what_lies_in_a_kept_slug_is_shared(kept: str, origin: str, shared: bool) -> None:
    script = '. lib/slugs.sh; slugs::kept "$1"'
    environment = {"PATH": "/usr/bin:/bin", "RUSTPLOY_KEPT_SLUGS": kept}
    done = subprocess.run(["bash", "-c", script, "bash", origin], cwd=BUILDPACKS, env=environment, check=False)
    assert (done.returncode == 0) is shared


@pytest.mark.parametrize(
    ("package", "files", "runtime", "web", "warns"),
    [
        ({"scripts": {"start": "node s.js"}}, {}, "node of the host", "exec node s.js", ""),
        ({"engines": {"node": "20.x"}, "scripts": {"start": "node s.js"}}, {}, "node 20.x", "exec node s.js", ""),
        ({"main": "gone.js"}, {}, "node of the host", None, "add a"),
        ({"main": "here.js"}, {"here.js": ""}, "node of the host", "node here.js", ""),
        ({"scripts": {"start": "vite", "build": "vite build"}}, {}, "node of the host", None, "development server"),
        ({"scripts": {"build": "make"}}, {}, "node of the host", None, "index.html"),
        ({"scripts": {"build": "vite build"}, "devDependencies": {"vite": "7"}}, {}, "node of the host", None, ""),
        ({}, {"Procfile": "worker: node w.js\n"}, "node of the host", None, ""),
        ({}, {"yarn.lock": "", "package-lock.json": LOCK}, None, None, "two lock files"),
        ({}, {"rustploy.yaml": "version: 1\napp:\n  start_command: node x\n"}, "node of the host", None, ""),
    ],
)
def test_an_import_says_what_a_build_would_end_with(
    tmp_path: Path, package: dict[str, Any], files: dict[str, str], runtime: str | None, web: str | None, warns: str
) -> None:
    """A minute of building is a long way to "no start command"."""
    tree = written(tmp_path, {"package.json": json.dumps(package)} | files)
    told = module("describe").describe(tree)
    assert (told["runtime"], told["processes"].get("web")) == (runtime, web)
    assert [warning for warning in told["warnings"] if warns in warning] if warns else told["warnings"] == []


def test_an_import_changes_nothing_in_the_checkout(tmp_path: Path) -> None:
    """What fetch leaves is what was committed; only the build may mend it."""
    content = '\ufeff{"scripts": {"start": "node s.js"}}'
    tree = written(tmp_path, {"package.json": content})
    assert module("describe").describe(tree)["processes"] == {"web": "exec node s.js"}
    assert (tmp_path / "package.json").read_text(encoding="utf-8") == content


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_package_json_is_read_and_mended_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    """Editors of Windows save it so; node reads plain UTF-8 only."""
    text = '{"name": "ü", "scripts": {"start": "node s.js"}}'
    (tmp_path / "package.json").write_bytes(text.encode(encoding))
    assert plan.plan(str(tmp_path), "20.1.0")["start"] == "exec node s.js"
    assert (tmp_path / "package.json").read_bytes() == text.encode()


@pytest.mark.parametrize("patterns", [{"workspaces": ["apps/*"]}, {"workspaces": {"packages": ["./apps/web"]}}, {}])
@pytest.mark.parametrize("turbo", [True, False])
def test_a_workspace_is_installed_from_the_top_of_its_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patterns: dict[str, Any], turbo: bool
) -> None:
    """Its lock file and the packages beside it are there; by itself it cannot be installed."""
    whole = {"packageManager": "pnpm@9.1.0", "engines": {"node": "22"}} | patterns
    files = {"package.json": json.dumps(whole), "pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}
    files |= {
        "apps/web/package.json": json.dumps({"scripts": {"build": "x", "start": "node s"}, "dependencies": {"a": "1"}})
    }
    files |= {"pnpm-workspace.yaml": 'packages:\n  - "apps/*"\n'} if not patterns else {}
    files |= {"turbo.json": "{}"} if turbo else {}
    top = written(tmp_path, files)
    monkeypatch.setenv("RUSTPLOY_REPOSITORY_DIR", top)
    found = plan.plan(f"{top}/apps/web", "20.1.0")
    assert (found["top"], found["manager_spec"], found["install"]) == (top, "pnpm@9.1.0", "locked")
    assert chosen(found["node_ranges"]) == "22.9.0"
    assert ("turbo run build --filter='./apps/web'" in found["builds"]) is turbo
    assert (found["cacheable"], found["prune"], found["start"]) == ("", "", "exec node s")


def test_a_directory_with_its_own_lock_file_is_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"package.json": '{"workspaces": ["apps/*"]}', "apps/web/package.json": "{}", "apps/web/yarn.lock": ""}
    files |= {"other/package.json": "{}"}
    top = written(tmp_path, files)
    monkeypatch.setenv("RUSTPLOY_REPOSITORY_DIR", top)
    for inner in ("apps/web", "other"):
        assert plan.plan(f"{top}/{inner}", "20.1.0")["top"] == f"{top}/{inner}"
