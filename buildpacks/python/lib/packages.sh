# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # variables are shared with the files that bin/compile sources
# The virtual environment: from the cache when nothing that it depends on changed, else by uv, or by pip without uv.

packages_format=3

# packages::install BUILD_DIR CACHE: makes BUILD_DIR/.venv and sets packages_python, what runs with it during the build.
packages::install() {
	local key kept
	packages_said=$2/said
	rm -rf -- "$1/.venv"
	packages::extra
	key=$(printf '%s\0' "$packages_format" "$runtime_version" "${packages_extra[*]}" "$install_key" | sha256sum)
	kept=$2/env-${key%% *}
	if [[ -n $install_local ]]; then
		packages_python=$1/.venv/bin/python
		packages::make "$1/.venv" "$2" copy
	elif [[ -e $kept/complete ]] && packages::same_python "$kept" "$2"; then
		packages::reuse "$1" "$kept"
	else
		find "$2" -mindepth 1 -maxdepth 1 -type d -name 'env-*' -exec rm -rf -- {} +
		mkdir -- "$kept"
		packages::make "$kept/venv" "$2" hardlink
		packages::restore "$1" "$kept"
		uv::trim "$2"
		printf '%s' "$1/.venv" >"$kept/origin"
		printf '%s' "$kept/venv" >"$kept/complete"
	fi
}

# packages::same_python KEPT CACHE: the Python that packages::switch chose for what is kept.
packages::same_python() { [[ ! -e $1/python ]] || runtime::provide "$2" "$(<"$1/python")"; }

# packages::extra: what is installed beside the requirements: a server; and setuptools where Python had it by itself, for
# gunicorn 20 and others load pkg_resources, which newer setuptools have no more.
packages::extra() {
	packages_extra=()
	if [[ -n $entry_extra ]]; then packages_extra+=("$entry_extra"); fi
	if [[ -z $has_setuptools && $install_how != uv && $install_how != pylock && ${runtime_minor#3.} -lt 12 ]]; then
		packages_extra+=('setuptools<81')
	fi
}

# packages::make VENV CACHE LINK_MODE: a new environment. Packages come out of uv's cache by LINK_MODE, so that what is kept
# of them in the app's cache takes no room twice.
packages::make() {
	packages_venv=$1
	say "installing packages for Python $runtime_version from $install_file"
	if [[ -z $uv ]]; then
		packages::by_pip "$1" "$2"
		return
	fi
	# The read-only slug could not keep bytecode later.
	export UV_LINK_MODE=$3 UV_COMPILE_BYTECODE=1
	locks::resolve
	packages::try
	local extra=() name
	for name in "${packages_extra[@]}" $entry_server; do
		if ! packages::has "${name%%<*}" && [[ " ${extra[*]} " != *" $name "* ]]; then extra+=("$name"); fi
	done
	if ((${#extra[@]})); then
		say "also installing ${extra[*]}"
		packages::run "$uv" pip install --python "$1/bin/python" "${extra[@]}" || packages::end
	fi
}

# packages::has NAME: whether a distribution is in packages_venv.
packages::has() { [[ -n $(find "$packages_venv"/lib/python3*/site-packages -maxdepth 1 -iname "$1-*.dist-info" -print -quit) ]]; }

# packages::run COMMAND…: with its output in the log, and kept for packages::end.
packages::run() {
	"$@" 2>&1 | tee -a -- "$packages_said" | { grep --line-buffered -v '^Using ' || :; }
}

packages::end() {
	fail "python: $("$here/lib/explain" "$packages_said")"
}

# packages::try: by wheels for what is pinned; else with an older Python that has them, when the app asks for none; else
# built from source.
packages::try() {
	local wheels=() older name
	for name in "${install_pinned[@]}"; do wheels+=(--only-binary "$name"); done
	packages::venv
	: >"$packages_said"
	if ((${#wheels[@]})); then
		if packages::by_uv "${wheels[@]}" >"$packages_said" 2>&1; then
			grep -v '^Using ' "$packages_said" || :
			return
		fi
		if grep -q 'no usable wheels\|Wheels are required' "$packages_said"; then
			older=$(packages::older)
			if [[ -n $older ]] && packages::switch "${older%%:*}" "${older#*:}"; then return; fi
		fi
		: >"$packages_said"
	fi
	packages::run packages::by_uv && return
	# A package that has no wheel for this Python and could not be built either.
	name=$(sed -nE 's/^.*Failed to (build|download and build) `([A-Za-z0-9._-]+)(==| @).*/\2/p' "$packages_said" | head -n 1)
	if [[ -n $name && $install_how == requirements ]]; then
		older=$(packages::older "$name")
		if [[ -n $older ]] && packages::switch "${older%%:*}" "${older#*:}"; then return; fi
	fi
	packages::end
}

# packages::venv: an empty environment. One that is kept in the cache names a Python in the cache, for slugs are sealed.
packages::venv() {
	local interpreter=$python
	if [[ -n $runtime_fetched && $packages_venv != "$build"/* ]]; then interpreter=$runtime_fetched/bin/python$runtime_minor; fi
	"$uv" venv --quiet --no-project --no-config --clear --python "$interpreter" "$packages_venv"
	if [[ -n $runtime_fetched ]]; then
		sed -i -E "s|^home = .*|home = ${interpreter%/*}|" "$packages_venv/pyvenv.cfg"
		ln -sfn -- "$interpreter" "$packages_venv/bin/python"
	fi
}

# packages::switch VERSION NAMES: another Python and an environment with it; 1 when that Python cannot be had.
packages::switch() {
	local before=$python
	if ! runtime::provide "${packages_venv%%/env-*}" "$1"; then
		say "$2: no wheels for Python $runtime_version. There are for $1, which cannot be fetched: $runtime_reason"
		python=$before
		return 1
	fi
	say "$2: no wheels for this host's Python, and the app asks for no version: Python $1 is used"
	packages::venv
	if [[ -z $install_local ]]; then printf '%s' "$1" >"${packages_venv%/venv}/python"; fi
	: >"$packages_said"
	packages::run packages::by_uv || packages::end
}

# packages::older [NAME]: prints VERSION:NAMES, the newest older Python for which what is pinned has wheels, with the names
# of what has none for this one.
packages::older() {
	local lacking other version
	if [[ $install_how != requirements ]]; then return; fi
	lacking=$(packages::lacking "$runtime_minor" "$@")
	for version in "${python_older[@]}"; do
		other=$(packages::lacking "$version" "$@")
		# All that this one lacks must be there; what has no wheels at all is lacking everywhere.
		if [[ $other != "$lacking" && -z $(comm -13 <(tr ' ' '\n' <<<"$lacking" | sort) <(tr ' ' '\n' <<<"$other" | sort)) ]]; then
			printf '%s:%s' "$version" "$(comm -23 <(tr ' ' '\n' <<<"$lacking" | sort) <(tr ' ' '\n' <<<"$other" | sort) | paste -sd ' ')"
			return
		fi
	done
}

# packages::lacking VERSION [NAME]: prints the names of pinned packages without a wheel for it; NAME is looked at unpinned.
packages::lacking() {
	local without=() said name count
	for ((count = 0; count < 30; count++)); do
		if said=$(cat .rustploy/pins.txt <(printf '%s\n' "${2-}") | "$uv" pip compile --quiet --no-deps --no-header --no-config \
			--only-binary :all: "${without[@]}" --python-version "$1" --python /usr/bin/python3 - 2>&1 >/dev/null); then
			break
		fi
		name=$(sed -nE 's/^.*Wheels are required for `([A-Za-z0-9._-]+)`.*/\1/p' <<<"$said" | head -n 1)
		if [[ -z $name ]]; then break; fi
		without+=(--no-binary "$name")
		printf '%s ' "$name"
	done
}

# packages::by_uv [OPTION…]: installs what the repository asks for into packages_venv.
packages::by_uv() {
	local pip=("$uv" pip install --python "$packages_venv/bin/python") name
	if [[ -n $install_pre ]]; then pip+=(--prerelease allow); fi
	for name in "${install_trusted[@]}"; do pip+=(--allow-insecure-host "$name"); done
	if [[ -z $has_setuptools && -z $install_hashed ]]; then pip+=(--constraint "$here/lib/setuptools.txt"); fi
	case $install_how in
	uv)
		UV_PROJECT_ENVIRONMENT=$packages_venv "$uv" sync --frozen --no-dev --no-install-project --python "$python" "$@"
		;;
	pylock) "$uv" pip sync --preview-features pylock --python "$packages_venv/bin/python" pylock.toml ;;
	project) "${pip[@]}" --requirement "$install_file" ;;
	*)
		if [[ -n $install_hashed ]]; then pip+=(--require-hashes); fi
		if [[ -s .rustploy/constraints.txt ]]; then pip+=(--constraint .rustploy/constraints.txt); fi
		"${pip[@]}" --requirement .rustploy/requirements.txt "$@"
		;;
	esac
}

# packages::by_pip VENV CACHE: without uv, by the host's pip.
packages::by_pip() {
	if [[ $install_how != requirements && $install_how != project ]]; then
		fail "python: $install_file is installed by uv, which the package index does not give: $uv_reason"
	fi
	say "uv cannot be had from the package index ($uv_reason): pip installs, which takes longer"
	"$python" -m venv --without-pip "$1"
	local pip=("$python" -m pip --python "$1/bin/python" --disable-pip-version-check --no-input
		--cache-dir "$2/pip" install --compile --no-warn-script-location --progress-bar off)
	: >"$packages_said"
	if [[ $install_how == project ]]; then
		packages::run "${pip[@]}" . || packages::end
	else
		packages::run "${pip[@]}" --requirement .rustploy/requirements.txt --constraint .rustploy/constraints.txt || packages::end
	fi
	if ((${#packages_extra[@]})); then packages::run "${pip[@]}" "${packages_extra[@]}" || packages::end; fi
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

# packages::restore BUILD_DIR KEPT: scripts name their interpreter by its full path, which is another one in each slug.
packages::restore() {
	local file
	packages_python=$1/.venv/bin/python
	cp -a --reflink=auto -- "$2/venv" "$1/.venv"
	while IFS= read -r -d '' file; do
		sed -i "s|$2/venv|$1/.venv|g" "$file"
	done < <(grep -rlIZF -- "$2/venv" "$1/.venv/bin" "$1/.venv/pyvenv.cfg" || true)
	if [[ -n $runtime_fetched ]]; then
		sed -i -E "s|^home = .*|home = $1/.python/bin|" "$1/.venv/pyvenv.cfg"
		ln -sfn -- "$1/.python/bin/python$runtime_minor" "$1/.venv/bin/python"
	fi
}

# packages::own BUILD_DIR: the repository itself, when it is a package: its commands and its metadata, with its modules where
# they are. It is in .rustploy/own and not in the environment, which other slugs share.
packages::own() {
	own_paths=()
	if [[ -z $install_own || -z $uv ]]; then return; fi
	local own=$1/.rustploy/own file line pip=("$uv" pip install --quiet --python "$packages_python" --no-deps)
	say "installing the project itself"
	: >"$packages_said"
	if ! "${pip[@]}" --target "$own" --editable . >"$packages_said" 2>&1; then
		if [[ -n $install_own_needed ]]; then
			cat -- "$packages_said"
			packages::end
		fi
		say "the project itself is not installed, it runs from its directory: $("$here/lib/explain" "$packages_said")"
		rm -rf -- "$own"
		return
	fi
	if grep -qs '^import ' "$own"/*.pth; then
		rm -rf -- "$own"
		packages::run "${pip[@]}" --target "$own" . || packages::end
	fi
	own_paths=(.rustploy/own)
	for file in "$own"/*.pth; do
		if [[ ! -f $file ]]; then continue; fi
		while IFS= read -r line || [[ -n $line ]]; do
			if [[ $line == "$1" ]]; then own_paths+=(.); fi
			if [[ $line == "$1"/* ]]; then own_paths+=("${line#"$1"/}"); fi
		done <"$file"
	done
	if [[ -d $own/bin ]]; then
		find "$own/bin" -type f -exec sed -i "1s|^#!${packages_python%/*}/|#!$1/.venv/bin/|" {} +
	fi
}

# packages::compile_app BUILD_DIR: only worth an interpreter's start when there is more than a handful of modules.
packages::compile_app() {
	local modules=()
	mapfile -d '' modules < <(find "$1" -name '.[!.]*' -prune -o -name node_modules -prune -o -type f -name '*.py' -print0)
	if ((${#modules[@]} > 8)); then
		printf '%s\n' "${modules[@]}" | "$packages_python" -I -m compileall -q -i - >/dev/null || true
	fi
}
