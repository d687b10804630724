"""package.json's scripts: which of them start the app, and what a start command needs."""

from __future__ import annotations

import re

BUILTINS = frozenset("cd export set . source if while for case exec eval test [ { ! : unset ulimit umask trap".split())
RUN = re.compile(
    r"(?:npm|pnpm|yarn|bun)(?:\s+--?[\w-]+(?:=\S+)?)*\s+(?:(?:run|run-script)\s+(?:--?[\w-]+\s+)*)?([\w:.-]+)"
)
PLAIN_RUN = re.compile(r"(?:npm|yarn|pnpm) (?:run )?(?:--silent |-s )?([\w:.-]+)")
#: Commands that only make files: before `&&` in a start script they belong to the build, for a release is read-only.
BUILDS = re.compile(
    r"(?:npm|pnpm|yarn|bun)\s+(?:run\s+)?build|(?:npx\s+)?(?:next|vite|nuxt|nuxi|astro|remix|react-router|gatsby|ng|nest)\s+build"
    r"(?:\s+[\w./=-]+)*|(?:npx\s+)?tsc(?:\s+[\w./=-]+)*|(?:npx\s+)?prisma\s+generate|rimraf\s+[\w./-]+|rm\s+-rf\s+[\w./-]+"
)
#: Servers for development. They compile on demand, reload, and some answer only to localhost.
DEVELOPMENT = re.compile(
    r"(?:^|[\s/;&'\"])(?:next(?:\s+dev)?(?=\s*$|\s+-)|next\s+dev\b|(?:react-scripts|react-app-rewired|craco|docusaurus)\s+start\b"
    r"|ng\s+(?:s|serve)\b|vue-cli-service\s+serve\b|vite(?:\s+(?:dev|serve|preview))?(?=\s*$|\s+-|\s*[&;'\"])"
    r"|astro(?:\s+(?:dev|start|preview))?(?=\s*$|\s+-)|(?:nuxt|nuxi)(?:\s+(?:dev|preview))?(?=\s*$|\s+-)"
    r"|(?:remix|svelte-kit|react-router|vitepress|vuepress|quasar|rsbuild|vinxi)\s+(?:vite:)?(?:dev|preview)\b"
    r"|eleventy\b[^&;]*--(?:serve|watch)|gatsby\s+(?:develop|serve)\b|webpack-dev-server\b|(?:webpack|rspack)\s+(?:serve|s|dev)\b"
    r"|parcel(?!\s+(?:build|watch))(?=\s*$|\s+\S)|live-server\b|lite-server\b|browser-sync\b|hexo\s+s(?:erver)?\b|ember\s+s(?:erve)?\b)"
)
PRODUCTION = ("start:prod", "start:production", "start-prod", "serve:prod", "prod", "production", "start:server")


def resolved(command: str, scripts: dict[str, str], depth: int = 0) -> str:
    """Return the command with `npm run x` replaced by what that runs, as far as that is a whole command."""
    match = PLAIN_RUN.fullmatch(command.strip())
    if not match or match[1] not in scripts or depth > 5:
        return command
    name = match[1]
    if f"pre{name}" in scripts or f"post{name}" in scripts:
        return command
    return resolved(scripts[name], scripts, depth + 1)


def starting(scripts: dict[str, str]) -> tuple[list[str], str]:
    """Return what of the start script belongs to the build, and what starts the app; empty: no script starts it."""
    name = "start" if "start" in scripts else ""
    if name and DEVELOPMENT.search(resolved(scripts[name], scripts)):
        name = ""
    if name and re.match(r"nest start\b(?!.*--prod)", scripts[name]) and "start:prod" in scripts:
        name = "start:prod"
    name = name or next((each for each in PRODUCTION if each in scripts), "")
    if not name or DEVELOPMENT.search(resolved(scripts[name], scripts)):
        return [], ""
    parts = [scripts[f"pre{name}"]] if f"pre{name}" in scripts else []
    parts = [part for text in (*parts, scripts[name]) for part in _segments(text)]
    builds = []
    while len(parts) > 1 and BUILDS.fullmatch(parts[0]):
        builds.append(parts.pop(0))
    parts = [resolved(part, scripts) for part in parts]
    return builds, with_exec(" && ".join(parts)) if len(parts) == 1 else " && ".join(parts)


def _segments(text: str) -> list[str]:
    """The commands of a plain chain; one whole text when there is anything but words and `&&` in it."""
    if re.search(r"[;|<>()`\n#\"']|[^&]&[^&]|^&|&$", text):
        return [text]
    return [part.strip() for part in text.split("&&") if part.strip()]


def with_exec(command: str) -> str:
    """Return the command so that no shell waits beside it, when it is a single program."""
    first = command.split(maxsplit=1)[0] if command.split() else ""
    single = re.fullmatch(r"[A-Za-z0-9_./@-]+", first) and first not in BUILTINS
    return f"exec {command}" if single and not re.search(r"[;&|<>()`\n#]", command) else command


def reached(texts: list[str], scripts: dict[str, str]) -> list[str]:
    """Return these commands and all scripts that they run."""
    found: list[str] = []
    pending = list(texts)
    while pending:
        text = pending.pop()
        if text in found:
            continue
        found.append(text)
        for name in RUN.findall(text):
            pending += [scripts[each] for each in (f"pre{name}", name, f"post{name}") if each in scripts]
    return found


#: Program -> the packages that have it, where the names differ.
PROGRAMS = {
    "tsc": ("typescript",),
    "nest": ("@nestjs/cli",),
    "ng": ("@angular/cli",),
    "babel-node": ("@babel/node", "babel-cli"),
    "babel": ("@babel/cli", "babel-cli"),
    "dotenv": ("dotenv-cli",),
    "tsnd": ("ts-node-dev",),
    "remix-serve": ("@remix-run/serve",),
    "react-router-serve": ("@react-router/serve",),
    "eleventy": ("@11ty/eleventy",),
    "swc-node": ("@swc-node/register",),
    "vue-cli-service": ("@vue/cli-service",),
    "serve": ("serve",),
    "prisma": ("prisma",),
    "run-s": ("npm-run-all", "npm-run-all2"),
    "run-p": ("npm-run-all", "npm-run-all2"),
    "wait-on": ("wait-on",),
}


def needs_development(texts: list[str], development: set[str]) -> bool:
    """Whether one of the commands names a development package or a program of one: nodemon, ts-node/register, tsx."""
    for text in texts:
        for word in re.split(r"[\s='\"();&|]+", text):
            if word in development or any(package in development for package in PROGRAMS.get(word, ())):
                return True
            if any(word.startswith(f"{package}/") for package in development):
                return True
            if any(
                re.fullmatch(rf"(?:\./)?node_modules/(?:\.bin/)?{re.escape(package)}(?:/.*)?", word)
                for package in development
            ):
                return True
    return False


def wanted_programs(texts: list[str]) -> list[str]:
    """Return the packages that the commands run by npx and its kind."""
    pattern = re.compile(
        r"(?:^|[\s;&|(])(?:npx|bunx|pnpx|pnpm\s+dlx|yarn\s+dlx|npm\s+exec)((?:\s+(?:-y|--yes|--|-q|--quiet))*)\s+"
        r"((?:@[\w.-]+/)?[\w.-]+(?:@[\w.^~-]+)?)"
    )
    return sorted({name for text in texts for _, name in pattern.findall(text)})
