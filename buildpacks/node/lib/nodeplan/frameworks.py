"""Know what the frameworks build, and how that is started or served in production."""

from __future__ import annotations

import glob
import os
import re
from collections import namedtuple

from nodeplan.packagefile import load, read_bytes, strings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: `build`: the command where there is no build script; `servers`: pairs of a file that the build leaves and a command;
#: `sites`: directories that it leaves; `single_page`: unknown paths are the page's own.
Framework = namedtuple("Framework", "name packages build servers sites single_page", defaults=(False,))
ANGULAR = (("dist/*/server/server.mjs", "node {found}"), ("dist/server/server.mjs", "node {found}"))
#: First match wins: a framework before the library that it is built on.
FRAMEWORKS = (
    Framework(
        "nextjs",
        ("next",),
        "next build",
        ((".next/standalone/server.js", "node {found}"), (".next/BUILD_ID", "next start")),
        ("out",),
    ),
    Framework(
        "nuxt",
        ("nuxt", "nuxt3", "nuxt-edge"),
        "nuxt build",
        ((".output/server/index.mjs", "node {found}"), (".nuxt/dist/server/server.js", "nuxt start")),
        (".output/public", "dist"),
    ),
    Framework("sveltekit", ("@sveltejs/kit",), "vite build", (("build/handler.js", "node build"),), ("build",)),
    Framework(
        "remix",
        ("@remix-run/dev", "@remix-run/react", "@remix-run/serve"),
        "remix build",
        (("build/server/index.js", "remix-serve ./{found}"), ("build/index.js", "remix-serve ./{found}")),
        ("build/client",),
        True,
    ),
    Framework(
        "react-router",
        ("@react-router/dev",),
        "react-router build",
        (("build/server/index.js", "react-router-serve ./{found}"),),
        ("build/client",),
        True,
    ),
    Framework(
        "astro", ("astro",), "astro build", (("dist/server/entry.mjs", "node ./{found}"),), ("dist", "dist/client")
    ),
    Framework(
        "angular", ("@angular/core", "@angular/cli"), "ng build", ANGULAR, ("dist/*/browser", "dist/*", "dist"), True
    ),
    Framework(
        "solidstart",
        ("@solidjs/start",),
        "vinxi build",
        ((".output/server/index.mjs", "node {found}"),),
        (".output/public",),
    ),
    Framework("gatsby", ("gatsby",), "gatsby build", (), ("public",)),
    Framework("docusaurus", ("@docusaurus/core",), "docusaurus build", (), ("build",)),
    Framework("eleventy", ("@11ty/eleventy",), "eleventy", (), ("_site", "dist", "public")),
    Framework("vitepress", ("vitepress",), "", (), (".vitepress/dist", "docs/.vitepress/dist")),
    Framework("hexo", ("hexo",), "hexo generate", (), ("public",)),
    Framework(
        "create-react-app",
        ("react-scripts", "react-app-rewired", "@craco/craco"),
        "react-scripts build",
        (),
        ("build",),
        True,
    ),
    Framework("vue-cli", ("@vue/cli-service",), "vue-cli-service build", (), ("dist",), True),
    Framework(
        "nestjs",
        ("@nestjs/core",),
        "nest build",
        (("dist/main.js", "node dist/main"), ("dist/src/main.js", "node dist/src/main")),
        (),
    ),
    Framework("vite", ("vite",), "vite build", (), ("dist",), True),
    Framework("parcel", ("parcel", "parcel-bundler"), "", (), ("dist",), True),
)
PLAIN = Framework("node", (), "", (), ())
#: Where builds of other tools leave a site.
SITES = ("dist", "build", "out", "_site", "public", "www", "docs/dist")
NAME = re.compile(r"[A-Za-z0-9_./@-]+")


def of(package: dict[str, Any]) -> Framework:
    """Return the framework that package.json depends on."""
    dependencies = strings(package.get("dependencies")) | strings(package.get("devDependencies"))
    return next((each for each in FRAMEWORKS if any(name in dependencies for name in each.packages)), PLAIN)


def server(framework: Framework, build_dir: str) -> str:
    """Return the command for the server that the build left, empty when it left none."""
    if os.path.exists(f"{build_dir}/.next/export-detail.json"):  # Next.js wrote a site; its server refuses it
        return ""
    for pattern, command in framework.servers:
        found = [os.path.relpath(path, build_dir) for path in sorted(glob.glob(f"{build_dir}/{pattern}"))]
        if found and NAME.fullmatch(found[0]):
            return command.format(found=found[0])
    return ""


def site(framework: Framework, build_dir: str) -> str:
    """Return the directory with an index.html that the build left, empty when there is none."""
    for pattern in (*framework.sites, *SITES):
        for directory in sorted(glob.glob(f"{build_dir}/{pattern}")):
            found = os.path.relpath(directory, build_dir)
            pages = (f"{directory}/index.html", f"{directory}/index.csr.html", f"{directory}/200.html")
            if NAME.fullmatch(found) and any(os.path.isfile(page) for page in pages):
                return found
    return ""


def fallback(framework: Framework, build_dir: str, directory: str) -> str:
    """Return the page that a single-page app answers unknown paths with; empty for sites of many pages."""
    root = f"{build_dir}/{directory}"
    for page in ("200.html", "index.csr.html", "__spa-fallback.html"):
        if os.path.isfile(f"{root}/{page}"):
            return page
    many = os.path.isfile(f"{root}/404.html")
    return "index.html" if framework.single_page and not many and os.path.isfile(f"{root}/index.html") else ""


def plain_start(package: dict[str, Any], build_dir: str) -> str:
    """Return the command for an app without a start script: its server.js, its main, or its index.js."""
    main = package.get("main")
    names = ["server.js", main if isinstance(main, str) else "", "index.js", "app.js", "index.mjs", "server.mjs"]
    for name in names:
        usable = name and NAME.fullmatch(name) and not name.startswith(("-", "/")) and ".." not in name.split("/")
        if usable and any(os.path.isfile(f"{build_dir}/{name}{end}") for end in ("", ".js", "/index.js")):
            return f"node {name}"
    return ""


def produced(build_dir: str, *, mend: bool = True) -> tuple[str, str, str]:
    """Return (command, "", "") or ("", site's directory, its page for unknown paths) for what the build left."""
    package = load(build_dir, mend=mend)
    framework = of(package)
    if read_bytes(f"{build_dir}/server.js"):
        return "node server.js", "", ""
    command = server(framework, build_dir)
    if command:
        return command, "", ""
    directory = site(framework, build_dir) if framework is not PLAIN else ""
    if not directory:
        command = plain_start(package, build_dir)
        if command:
            return command, "", ""
        directory = site(framework, build_dir)
    return "", directory, fallback(framework, build_dir, directory) if directory else ""
