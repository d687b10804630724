"""The shape that docs/architecture.md promises: one door per outside system, imports that point one way, no shell."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
PACKAGE = TREE / "rustploy_agent"
MODULES = {
    str(path.relative_to(TREE).with_suffix("")).replace("/", ".").removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
#: Programs that run alone and know the agent by files only: those of the fetch and build units, one for certificates.
PROGRAMS = ("builder", "x509")
#: What they and the agent both import.
SHARED = {"outgoing"}
#: Outside system -> the modules that may import it.
DOORS = {
    "pydbus": {"bus"},
    "gi": {"bus", "systemd"},
    "systemd": {"journal", "builder.steplog", "serve"},
    "subprocess": {"process"},
    "git": {"builder.gitrun"},
    "peewee": {"models", "records", "sqlite", "migrations", "apps", "domains"}
    | {"auth", "releases", "worker", "api.errors"},
    "flask": {"api", "server", "small_flask"},
    "argon2": {"passwords"},
    "smtplib": {"mail"},
    "cryptography": {"x509"},
    "idna": {"names"},
    "nacl": {"vault"},
    "prometheus_client": {"metrics"},
    "yaml": {"manifest", "config", "builder.inspection"},
    "waitress": {"server", "doors", "refusals", "spool"},
}
#: What stands at the bottom, and what knows only the bottom.
GROUND = {
    "errors",
    "fields",
    "limits",
    "names",
    "runtime_fields",
    "clock",
    "descriptors",
    "units",
    "config",
    "confinement",
    "files",
    "precedence",
    "ballast",
    "caddy",
    "routes",
    "sockets",
    "unit_files",
    "pipes",
    "lean",
    "listeners",
    "bus",
    "unit_state",
} | {
    "issuance",
    "loglines",
    "outgoing",
    "mail",
    "strangers",
    "visits",
}
DOOR_MODULES = {"systemd", "journal", "process", "http_probe", "ingress", "dns"}


def name(module: str) -> str:
    return module.removeprefix("rustploy_agent").removeprefix(".")


def imports(path: Path) -> set[str]:
    """Absolute names of everything a module imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path) -> set[str]:
    """Modules of the package that a module imports, without the package's name."""
    parts = {name(found) for found in imports(path) if found.startswith("rustploy_agent")}
    known = {name(module) for module in MODULES}
    return {part if part in known else part.rpartition(".")[0] for part in parts} - {""}


@pytest.mark.parametrize("outside", DOORS)
def test_only_its_door_imports_an_outside_system(outside: str) -> None:
    users = {name(module) for module, path in MODULES.items() if outside in {i.split(".")[0] for i in imports(path)}}
    strangers = {user for user in users if user not in DOORS[outside] and user.split(".")[0] not in DOORS[outside]}
    assert strangers == set(), f"{outside} has its doors: {DOORS[outside]}"
    assert users, f"nobody imports {outside} any more; take it off the list"


def test_doors_and_the_ground_know_neither_the_database_nor_http() -> None:
    for module in DOOR_MODULES | GROUND:
        found = imports(MODULES[f"rustploy_agent.{module}"])
        assert not {one.split(".")[0] for one in found} & {"flask", "peewee", "werkzeug"}, module
        assert "rustploy_agent.models" not in found, module


def test_the_ground_stands_on_itself_and_doors_on_the_ground() -> None:
    for module in GROUND:
        assert ours(MODULES[f"rustploy_agent.{module}"]) <= GROUND, module
    for module in DOOR_MODULES:
        assert ours(MODULES[f"rustploy_agent.{module}"]) <= GROUND, module


def test_nothing_below_the_api_imports_it() -> None:
    users = {name(module) for module, path in MODULES.items() if any(one.startswith("api") for one in ours(path))}
    assert {user for user in users if not user.startswith("api")} == {"serve"}


def test_the_programs_of_the_units_and_the_agent_do_not_import_each_other() -> None:
    """A build's program that can open the database would have to be trusted with it."""
    for module, path in MODULES.items():
        alone = name(module).startswith(PROGRAMS)
        assert all(one.startswith(PROGRAMS) == alone for one in ours(path) - SHARED), module


def test_what_both_sides_import_imports_nothing_of_ours() -> None:
    """Else the programs of a build load the agent, or the agent them."""
    assert all(ours(MODULES[f"rustploy_agent.{module}"]) == set() for module in SHARED)


def test_apply_is_standard_library_only_and_knows_nothing_of_ours() -> None:
    for path in (PACKAGE / "apply").glob("*.py"):
        for found in imports(path):
            top = found.split(".")[0]
            assert top in sys.stdlib_module_names or found.startswith("rustploy_agent.apply"), f"{path.name}: {found}"
    users = {module for module, path in MODULES.items() if "rustploy_agent.apply" in " ".join(imports(path))}
    assert all(user.startswith("rustploy_agent.apply") for user in users)


def test_there_is_no_import_in_a_circle() -> None:
    graph = {name(module): ours(path) for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " → ".join((*way, module))
        if module not in done:
            for other in graph.get(module, set()):
                if other != module:
                    visit(other, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


CALLS = {"system", "popen", "getoutput", "getstatusoutput"}


@pytest.mark.parametrize("module", MODULES)
def test_no_shell(module: str) -> None:
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        assert called not in CALLS, f"{module}:{node.lineno} runs a shell"
        assert called not in {"eval", "exec"}, f"{module}:{node.lineno}"
        for keyword in node.keywords:
            assert keyword.arg != "shell", f"{module}:{node.lineno} names a shell"


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_stay_small(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")
    assert text.count("\n") <= 300, f"{module} is too long; split it by nouns"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 50, f"{module}.{node.name} has {length} lines"
            assert node.returns is not None, f"{module}.{node.name} does not say what it returns"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    if MODULES[module].stat().st_size:
        assert ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))


def test_units_never_pass_values_where_pid_1_would_follow_or_unescape_them() -> None:
    """Each of these once gave an unprivileged user root's view; DESIGN and decisions say how."""
    for unit in (TREE / "units").glob("*.service"):
        text = re.sub(r"^#.*$", "", unit.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert not re.search(r"^(EnvironmentFile|LoadCredential|PassEnvironment)=", text, re.MULTILINE), unit.name
        assert not re.search(r"^Exec\w+=[-@:]*[+!]", text, re.MULTILINE), unit.name
        assert "%I" not in text, unit.name


def test_no_committed_text_names_a_path_of_somebody_s_machine() -> None:
    for path in (*PACKAGE.rglob("*.py"), *(TREE / "docs").glob("*.md"), *(TREE / "units").iterdir()):
        assert not re.search(r"/(?:work|root|home/[a-z]+)/", path.read_text(encoding="utf-8")), path
