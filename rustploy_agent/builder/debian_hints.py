"""Which Debian package a failed build misses: compilers, headers and the programs that find them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Program that was not found -> the package that has it.
PROGRAMS = {
    "make": "build-essential",
    "gcc": "build-essential",
    "g++": "build-essential",
    "cc": "build-essential",
    "c++": "build-essential",
    "x86_64-linux-gnu-gcc": "build-essential",
    "aarch64-linux-gnu-gcc": "build-essential",
    "cmake": "cmake",
    "autoreconf": "autoconf automake libtool",
    "pkg-config": "pkg-config",
    "pg_config": "libpq-dev",
    "mysql_config": "default-libmysqlclient-dev",
    "xml2-config": "libxml2-dev",
    "xslt-config": "libxslt1-dev",
    "curl-config": "libcurl4-openssl-dev",
    "gdal-config": "libgdal-dev",
    "krb5-config": "libkrb5-dev",
    "git": "git",
    "python3": "python3",
    "python": "python3",
    "ffmpeg": "ffmpeg",
    "java": "default-jre-headless",
    "cargo": "cargo",
    "rustc": "rustc",
    "swig": "swig",
}
#: Beginning of a header's path -> the package that has it; the longest match counts.
HEADERS = {
    "Python.h": "python3-dev",
    "pyconfig.h": "python3-dev",
    "node.h": "libnode-dev",
    "node_api.h": "libnode-dev",
    "libpq-fe.h": "libpq-dev",
    "ffi.h": "libffi-dev",
    "openssl/": "libssl-dev",
    "mysql.h": "default-libmysqlclient-dev",
    "mysql/": "default-libmysqlclient-dev",
    "sqlite3.h": "libsqlite3-dev",
    "jpeglib.h": "libjpeg-dev",
    "png.h": "libpng-dev",
    "gif_lib.h": "libgif-dev",
    "zlib.h": "zlib1g-dev",
    "bzlib.h": "libbz2-dev",
    "lzma.h": "liblzma-dev",
    "libxml/": "libxml2-dev",
    "libxslt/": "libxslt1-dev",
    "sasl/": "libsasl2-dev",
    "ldap.h": "libldap-dev",
    "lber.h": "libldap-dev",
    "curl/": "libcurl4-openssl-dev",
    "yaml.h": "libyaml-dev",
    "gmp.h": "libgmp-dev",
    "vips/": "libvips-dev",
    "cairo.h": "libcairo2-dev",
    "cairo/": "libcairo2-dev",
    "pango/": "libpango1.0-dev",
    "pixman.h": "libpixman-1-dev",
    "sodium.h": "libsodium-dev",
    "zmq.h": "libzmq3-dev",
    "sql.h": "unixodbc-dev",
    "magic.h": "libmagic-dev",
    "gssapi/": "libkrb5-dev",
    "krb5.h": "libkrb5-dev",
    "unicode/": "libicu-dev",
}
#: Name in pkg-config -> package.
LIBRARIES = {
    "pixman-1": "libpixman-1-dev",
    "cairo": "libcairo2-dev",
    "pangocairo": "libpango1.0-dev",
    "pango": "libpango1.0-dev",
    "vips": "libvips-dev",
    "vips-cpp": "libvips-dev",
    "libpq": "libpq-dev",
    "libffi": "libffi-dev",
    "openssl": "libssl-dev",
    "mysqlclient": "default-libmysqlclient-dev",
    "libmariadb": "libmariadb-dev",
    "xmlsec1": "libxmlsec1-dev",
    "libsecret-1": "libsecret-1-dev",
    "libusb-1.0": "libusb-1.0-0-dev",
    "dbus-1": "libdbus-1-dev",
    "libzmq": "libzmq3-dev",
    "libxml-2.0": "libxml2-dev",
}
#: Sentences that name nothing that could be looked up -> package.
SENTENCES = (
    (
        re.compile(
            r"(?:Error|failed|4\d\d)\b.*(?:-headers\.tar|nodejs\.org/)|(?:-headers\.tar|nodejs\.org/).*(?:failed|Error)"
        ),
        "libnode-dev",
    ),
    (re.compile(r"files could not be found for jpeg"), "libjpeg-dev zlib1g-dev"),
    (re.compile(r"can't find Rust compiler"), "cargo"),
    (
        re.compile(r"not ok make|make failed to start|`?make`? (?:failed )?.*ENOENT|spawn make ENOENT"),
        "build-essential",
    ),
    (re.compile(r"Could not find any Python installation|Can't find Python executable|find Python$"), "python3"),
    (
        re.compile(r"Can not find valid pkg-config name|Can not find valid pkg-config"),
        "default-libmysqlclient-dev pkg-config",
    ),
)
NAME = r"([A-Za-z0-9_+.-]+)"
#: How shells, make, distutils, node-gyp and Python say that a program is not there.
ABSENT = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?:^|[\s:/'`]){NAME}: (?:command )?not found",
        rf"\bnot found: {NAME}",
        rf"(?:^|\s){NAME} (?:executable )?not found",
        rf"^make(?:\[\d+\])?: {NAME}: No such file",
        rf"(?:command|execute|execvp:?|spawn|No such file or directory:) ['\"]?{NAME}['\"]?(?: failed)?(?::| ENOENT|$)",
    )
)
HEADER = re.compile(r"['\"<]?\b([A-Za-z0-9_./-]+\.h)['\">]?:?\s+(?:No such file|file not found|not found)")
LIBRARY = re.compile(
    rf"(?:Package |No package )['\"]?{NAME}['\"]?,?(?:| required by .*) (?:was not found|not found|found$)"
)


def package(line: str) -> str:
    """Return the Debian packages whose absence this line tells of, empty when it tells of none that is known."""
    for match in (found for pattern in ABSENT for found in pattern.finditer(line)):
        if match[1] in PROGRAMS:
            return PROGRAMS[match[1]]
    header = HEADER.search(line)
    if header:
        known = [start for start in HEADERS if header[1].startswith(start)]
        if known:
            return HEADERS[max(known, key=len)]
    library = LIBRARY.search(line)
    if library and library[1] in LIBRARIES:
        return LIBRARIES[library[1]]
    return next((found for pattern, found in SENTENCES if pattern.search(line)), "")


def hint(lines: Iterable[str]) -> str:
    """Return the first line that tells of a missing package, and what to install; empty when there is none."""
    for line in lines:
        found = package(line)
        if found:
            return f"{line[:300]}; the host lacks it: as root, `apt-get install {found}`, then deploy again"
    return ""
