# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources
# What the app asks pip to install: requirements.txt with the files it names, or the dependencies of pyproject.toml.

# requirements::collect BUILD_DIR: sets requirements_file (for pip), requirements_text (all of it, for the cache's key and for
# looking names up), requirements_local (1 when something is installed from the repository itself).
requirements::collect() {
	requirements_file=$1/requirements.txt
	requirements_text=''
	requirements_local=''
	if [[ ! -e $requirements_file ]]; then
		requirements_file=$1/.rustploy/requirements.txt
		requirements::from_pyproject "$1/pyproject.toml" >"$requirements_file"
	fi
	requirements::add "$1" "${requirements_file#"$1"/}" 0
}

# requirements::add BUILD_DIR FILE DEPTH: FILE is relative to BUILD_DIR; -r and -c lines are followed as pip does.
requirements::add() {
	local file=$1/$2 text line named
	if [[ ! -f $file ]]; then fail "python: $2 is named in a requirements file but is not in the repository"; fi
	if (($3 > 10)); then fail "python: $2: requirements files include each other"; fi
	text=$(<"$file")
	requirements_text+="$text"$'\n'
	if grep -Eq '^[[:space:]]*(-e|--editable|\.|/|file:)|@[[:space:]]*file:' <<<"$text"; then requirements_local=1; fi
	while read -r line; do
		named=$(dirname -- "$2")/$(sed -E 's/^(-r|-c|--requirement|--constraint)[= ]*//; s/[[:space:]]+#.*//' <<<"$line")
		requirements::add "$1" "$named" $(($3 + 1))
	done < <(grep -E '^(-r|-c|--requirement|--constraint)[= ]*[^ ]' <<<"$text" | tr -d '\r' || true)
}

# requirements::from_pyproject FILE: one requirement a line.
requirements::from_pyproject() {
	"$python" -I -S - "$1" <<'PYTHON' || fail "python: pyproject.toml cannot be used; write requirements.txt"
import sys, tomllib
try:
    with open(sys.argv[1], "rb") as file:
        document = tomllib.load(file)
except tomllib.TOMLDecodeError as error:
    sys.exit(f"pyproject.toml is not valid TOML: {error}")
project = document.get("project", {})
if "dependencies" in project.get("dynamic", []) or (not project and "poetry" in document.get("tool", {})):
    sys.exit("pyproject.toml has no list project.dependencies; export it: poetry export -o requirements.txt")
print("\n".join(project.get("dependencies", [])))
PYTHON
}

# requirements::names NAME: whether a distribution is asked for by name.
requirements::names() {
	grep -Eiq "^[[:space:]]*$1([^A-Za-z0-9._-]|\$)" <<<"$requirements_text"
}
