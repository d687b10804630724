# shellcheck shell=bash
# What bin/compile leaves for bin/release: one command per process type, in BUILD_DIR/.rustploy/release.yaml.

# release::begin BUILD_DIR: our directory, empty; a repository may not bring its own.
release::begin() {
	if [[ -e $1/.rustploy || -L $1/.rustploy ]]; then rm -rf -- "$1/.rustploy"; fi
	mkdir -- "$1/.rustploy"
	printf 'default_process_types:\n' >"$1/.rustploy/release.yaml"
}

# release::process BUILD_DIR TYPE COMMAND: as a double-quoted YAML scalar.
release::process() {
	local quoted=${3//\\/\\\\}
	quoted=${quoted//\"/\\\"}
	printf '  %s: "%s"\n' "$2" "$quoted" >>"$1/.rustploy/release.yaml"
}

# release::print BUILD_DIR: without any command an empty mapping, so that a Procfile alone is enough.
release::print() {
	local yaml
	yaml=$(<"$1/.rustploy/release.yaml")
	if [[ $yaml == default_process_types: ]]; then yaml='default_process_types: {}'; fi
	printf '%s\n' "$yaml"
}

# profile::write BUILD_DIR NAME: standard input becomes .profile.d/NAME.sh, sourced in the app's directory before its command.
profile::write() {
	local script
	IFS= read -r -d '' script || :
	rm -f -- "$1/.profile.d/$2.sh"
	mkdir -p -- "$1/.profile.d"
	printf '%s' "$script" >"$1/.profile.d/$2.sh"
}

# procfile::has BUILD_DIR TYPE
procfile::has() {
	[[ -f $1/Procfile && ! -L $1/Procfile ]] && grep -Eq "^[[:space:]]*$2[[:space:]]*:" "$1/Procfile"
}

# say TEXT / fail TEXT: a build log line; the last one of a failing build is what the deployment's error quotes.
say() { printf -- '-----> %s\n' "$*"; }
fail() {
	printf ' !     %s\n' "$*" >&2
	exit 1
}
