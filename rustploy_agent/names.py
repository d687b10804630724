"""One parser per kind of value from outside: it returns the value or raises ValueError saying what is right.

Names are refused, never mended. The patterns of app, process type and slot are those of docs/architecture.md; apply
checks them again on its own.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from urllib.parse import urlsplit

from rustploy_agent.fields import text

KNOWN_SCHEMES = ("https", "ssh", "http", "file")
APP_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,25}[a-z0-9])?")
WRITTEN_PROCESS_TYPE = re.compile(r"[A-Za-z0-9_-]{1,63}")
PROCESS_TYPE = re.compile(r"[a-z][a-z0-9]{0,15}")
COMMIT = re.compile(r"[0-9a-f]{40}")
ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
ROOT_PART = re.compile(r"[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]*")
BUILDPACK = re.compile(r"[a-z][a-z0-9]{0,31}")
SCP_LIKE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^:\s]\S*")
TOKEN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,99}")
HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
WEBHOOK_SECRET = re.compile(r"[!-~]{16,255}")
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")

#: Set by the platform or by the shell itself, so a value given for them would not arrive.
RESERVED_ENV = frozenset(
    {
        "PORT",
        "HOME",
        "PWD",
        "OLDPWD",
        "PPID",
        "IFS",
        "OPTIND",
        "OPTARG",
        "LINENO",
        "SHLVL",
        "PS1",
        "PS2",
        "PS4",
        "_",
        "rustploy_app_dir",
        "rustploy_command",
    }
)
LONGEST_ENV_VALUE = 64 * 1024


def app_name(value: object) -> str:
    if not isinstance(value, str) or not APP_NAME.fullmatch(value) or "--" in value:
        raise ValueError(
            "must be 1 to 27 lower-case letters, digits and single hyphens, starting with a letter and not "
            "ending with a hyphen"
        )
    return value


def process_type(value: object) -> str:
    if not isinstance(value, str) or not PROCESS_TYPE.fullmatch(value):
        raise ValueError("must be 1 to 16 lower-case letters and digits, starting with a letter")
    return value


def written_process_type(value: object) -> str:
    """A process type as Procfiles write it, such as celery-beat or Worker; the internal name that its units have."""
    if not isinstance(value, str) or not WRITTEN_PROCESS_TYPE.fullmatch(value):
        raise ValueError("must be 1 to 63 letters, digits, - and _")
    plain = re.sub(r"[^a-z0-9]", "", value.lower())
    if not PROCESS_TYPE.fullmatch(plain):
        plain = f"p{plain[:9]}{hashlib.sha256(value.encode()).hexdigest()[:6]}"
    return plain


def commit_sha(value: object) -> str:
    if not isinstance(value, str) or not COMMIT.fullmatch(value.lower()):
        raise ValueError("must be a full commit id of 40 hexadecimal digits")
    return value.lower()


def git_ref(value: object) -> str:
    """A branch, a tag or a commit; the rules of git-check-ref-format."""
    ref = text(value, longest=255)
    parts = ref.split("/")
    wrong = (
        ref.startswith(("-", "/"))
        or ref.endswith(("/", "."))
        or ".." in ref
        or "@{" in ref
        or ref == "@"
        or any(character in " ~^:?*[\\" for character in ref)
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
    )
    if wrong:
        raise ValueError("must be a branch, a tag or a full commit id as git writes it")
    return ref


def build_root(value: object) -> str:
    """A directory of a repository, such as apps/web; "." and "" are its top and come back as ""."""
    if value in (".", "", "./"):
        return ""
    if not isinstance(value, str) or len(value) > 255:
        raise ValueError("must be a directory of the repository such as apps/web, at most 255 characters")
    parts = value.removeprefix("./").removesuffix("/").split("/")
    if not all(ROOT_PART.fullmatch(part) and part not in (".", "..") for part in parts):
        raise ValueError("must be a directory of the repository such as apps/web, without .., spaces or a leading /")
    return "/".join(parts)


def env_key(value: object) -> str:
    if not isinstance(value, str) or not ENV_KEY.fullmatch(value):
        raise ValueError("must be letters, digits and underscores, not starting with a digit, at most 128 characters")
    if value in RESERVED_ENV or value.upper().startswith("RUSTPLOY_"):
        raise ValueError("is set by the platform or the shell; choose another name")
    return value


def env_value(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode (lone surrogates cannot be stored)") from None
    if size > LONGEST_ENV_VALUE:
        raise ValueError(f"must be at most {LONGEST_ENV_VALUE} bytes in UTF-8")
    if "\0" in value:
        raise ValueError("must not contain a NUL byte: no environment variable can")
    return value


def command(value: object) -> str:
    return text(value, longest=4096)


def build_mode(value: object) -> str:
    """`auto` or a buildpack's name; the contract's container modes are told apart by their own error code."""
    if not isinstance(value, str) or not BUILDPACK.fullmatch(value):
        raise ValueError("must be auto or the name of a buildpack")
    return value


def clone_url(value: object) -> str:
    """The shape only; which schemes are allowed is a setting."""
    url = text(value, longest=2048)
    if url.startswith("-") or any(character.isspace() for character in url):
        raise ValueError("must be a git URL such as https://host/owner/name.git")
    if "://" not in url:
        if not SCP_LIKE.fullmatch(url):
            raise ValueError("must be a git URL such as https://host/owner/name.git or git@host:owner/name.git")
        return url
    parts = urlsplit(url)
    if parts.scheme != "file" and not parts.hostname:
        raise ValueError("must name a host")
    return url


def url_scheme(url: str) -> str:
    return urlsplit(url).scheme.lower() if "://" in url else "ssh"


def masked_url(url: str) -> str:
    """The URL as it may be shown: a password or token in it is starred out."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    credentials, at, host = parts.netloc.rpartition("@")
    if not at:
        return url
    user, colon, _ = credentials.partition(":")
    shown = user if parts.scheme == "ssh" and not colon else "***"  # over https the user may be a token as well
    return parts._replace(netloc=f"{shown}@{host}").geturl()


def repository_part(value: object) -> str:
    """Owner or name of a hosted repository; owners may be nested groups."""
    part = text(value, longest=200)
    if not re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_.][A-Za-z0-9_.-]*)*", part) or ".." in part:
        raise ValueError("must be letters, digits, '.', '_' and '-'")
    return part


def repository_name(value: object) -> str:
    """The last part of a hosted repository's path, as its host writes it in a webhook."""
    part = repository_part(value)
    if "/" in part or part.endswith(".git"):
        raise ValueError("must be the repository's name alone, without owner and without .git")
    return part


def webhook_secret(value: object) -> str:
    if not isinstance(value, str) or not WEBHOOK_SECRET.fullmatch(value):
        raise ValueError("must be 16 to 255 printable ASCII characters without spaces; openssl rand -hex 32 makes one")
    return value


def token_name(value: object) -> str:
    if not isinstance(value, str) or not TOKEN_NAME.fullmatch(value):
        raise ValueError("must be 1 to 100 letters, digits, spaces and . _ @ -, starting with a letter or digit")
    return value


def email(value: object) -> str:
    if not isinstance(value, str) or not EMAIL.fullmatch(value) or not value.isprintable():
        raise ValueError("must be an e-mail address")
    return unicodedata.normalize("NFC", value).lower()


def token_kind(value: object) -> str:
    if value not in ("personal", "service"):
        raise ValueError("must be one of: personal, service")
    return str(value)


def app_keys(value: object) -> list[str]:
    """Names or ids of apps."""
    if not isinstance(value, list) or not 1 <= len(value) <= 100 or not all(isinstance(key, str) for key in value):
        raise ValueError("must be a list of 1 to 100 names or ids of apps; leave it out for all apps")
    return sorted({text(key, longest=100) for key in value})


def printable(value: str) -> str:
    """For a terminal: what would not print, such as an escape sequence, is spelled out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in value)


def scopes(value: object) -> list[str]:
    known = ("read", "deploy", "admin")
    if not isinstance(value, list) or not value or any(scope not in known for scope in value):
        raise ValueError("must be a non-empty list of: read, deploy, admin")
    return sorted(set(value), key=known.index)


#: Top-level names that never leave a host or a local network.
LOCAL_NAMES = ("localhost", "localdomain", "local")


def domain(value: object) -> str:
    """A host name as DNS carries it: lower case, international labels in punycode (UTS 46); `*.` may stand in front."""
    shown = text(value, longest=253)
    wildcard, name = shown.startswith("*."), shown.removeprefix("*.").lower()
    if not name.isascii() or "xn--" in name:
        name = _punycode(name)
    labels = name.split(".")
    if labels[-1] in LOCAL_NAMES:
        raise ValueError("must be a public name: localhost and local names reach nobody else")
    if labels[-1].isdigit() or re.fullmatch(r"[0-9a-f:.]*:[0-9a-f:.]*|0x[0-9a-f]+", labels[-1]):
        raise ValueError("must be a name, not an IP address")
    if len(labels) < 2 or not all(HOST_LABEL.fullmatch(label) for label in labels):
        raise ValueError("must be a domain name such as www.example.org, without scheme, port, path or final dot")
    whole = f"*.{name}" if wildcard else name
    if len(whole) > 253:
        raise ValueError("must have at most 253 characters as DNS carries it")
    return whole


def _punycode(name: str) -> str:
    import idna

    try:
        return idna.encode(name, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"must be a domain name: {error}") from None


def url_schemes(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or any(scheme not in KNOWN_SCHEMES for scheme in value):
        raise ValueError(f"must be a non-empty list of: {', '.join(KNOWN_SCHEMES)}")
    return tuple(value)
