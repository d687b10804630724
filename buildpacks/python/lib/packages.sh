# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources
# The virtual environment: from the cache when nothing it depends on changed, else by pip.

packages_format=2

# packages::install BUILD_DIR CACHE: makes BUILD_DIR/.venv and sets packages_python, what runs with it during the build.
packages::install() {
	local key
	packages_python=$1/.venv/bin/python
	rm -rf -- "$1/.venv"
	key=$(printf '%s\0' "$packages_format" "$runtime_version" "$entry_extra" "$requirements_text" | sha256sum)
	key=${key%% *}
	if [[ -z $requirements_local && -e $2/$key/complete ]]; then
		packages::reuse "$1" "$2/$key"
		return
	fi
	say "installing packages for Python $runtime_version"
	packages::pip "$1" "$2"
	if [[ -z $requirements_local ]]; then packages::keep "$1" "$2" "$key"; fi
}

# packages::pip BUILD_DIR CACHE: the host's pip installs into an environment without one. It compiles to bytecode, which the
# read-only slug could not keep later. Its index comes from /etc/pip.conf.
packages::pip() {
	"$python" -m venv --without-pip "$1/.venv"
	local pip=("$python" -m pip --python "$1/.venv/bin/python" --disable-pip-version-check --no-input
		--cache-dir "$2/pip" install --compile --no-warn-script-location --progress-bar off)
	if [[ -z $entry_extra ]]; then
		"${pip[@]}" --requirement "$requirements_file"
	elif grep -q -- '--hash=' <<<"$requirements_text"; then
		# Hash checking is all or nothing within one run.
		"${pip[@]}" --requirement "$requirements_file"
		"${pip[@]}" "$entry_extra"
	else
		"${pip[@]}" --requirement "$requirements_file" "$entry_extra"
	fi
}

# packages::reuse BUILD_DIR KEPT: by a link to the slug that holds them, else by a copy, which later builds link to.
packages::reuse() {
	local origin
	origin=$(<"$2/origin")
	if slugs::kept "$origin"; then
		slugs::share "$1" "$origin" .venv
		packages_python=$2/venv/bin/python
		say "requirements unchanged: sharing the packages of an earlier build"
	else
		packages::restore "$1" "$2"
		printf '%s' "$1/.venv" >"$2/origin"
		say "requirements unchanged: packages from the cache"
	fi
}

# packages::keep BUILD_DIR CACHE KEY: one environment is kept, with the path that its scripts name (`complete`, written last)
# and that of the slug that holds it (`origin`).
packages::keep() {
	find "$2" -mindepth 1 -maxdepth 1 -type d -name '????????????????*' -exec rm -rf -- {} +
	mkdir -- "$2/$3"
	cp -a --reflink=auto -- "$1/.venv" "$2/$3/venv"
	printf '%s' "$1/.venv" >"$2/$3/origin"
	printf '%s' "$1/.venv" >"$2/$3/complete"
}

# packages::restore BUILD_DIR KEPT: scripts name their interpreter by its full path, which is another one in each slug.
packages::restore() {
	local made_at file
	made_at=$(<"$2/complete")
	cp -a --reflink=auto -- "$2/venv" "$1/.venv"
	while IFS= read -r -d '' file; do
		sed -i "s|$made_at|$1/.venv|g" "$file"
	done < <(grep -rlIZF -- "$made_at" "$1/.venv/bin" "$1/.venv/pyvenv.cfg" || true)
}

# packages::compile_app BUILD_DIR: only worth an interpreter's start when there is more than a handful of modules.
packages::compile_app() {
	local modules=()
	mapfile -d '' modules < <(find "$1" -name .venv -prune -o -name node_modules -prune -o -type f -name '*.py' -print0)
	if ((${#modules[@]} > 8)); then
		printf '%s\n' "${modules[@]}" | "$python" -I -m compileall -q -i - >/dev/null || true
	fi
}
