# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources
# The Python that runs the app: the host's, which has Debian's security updates, or the one that the app asks for, by uv.

runtime_days=7
runtime_list=https://raw.githubusercontent.com/astral-sh/uv/main/crates/uv-python/download-metadata.json

# runtime::host: sets python and runtime_version (such as 3.11) to the host's.
runtime::host() {
	python=/usr/bin/python3
	runtime_version=$(readlink -f "$python")
	runtime_version=${runtime_version##*/python}
	runtime_minor=$runtime_version
	runtime_fetched=''
	rm -rf -- "$build/.python"
}

# runtime::provide CACHE SPECIFIER: the same for a fetched one; it is at BUILD_DIR/.python, during the build by a link into
# the cache. 1 when it cannot be had, and runtime_reason says why.
runtime::provide() {
	runtime_reason=$uv_reason
	if [[ -z $uv ]]; then return 1; fi
	local kept=$1/python-$2
	if [[ -z $(find "$kept/complete" -mtime "-$runtime_days" 2>/dev/null) ]]; then
		if ! runtime::fetch "$kept" "$2"; then
			if [[ ! -e $kept/complete ]]; then return 1; fi
			say "Python $2 cannot be fetched anew ($runtime_reason); the one from the cache is used"
		fi
	fi
	runtime_fetched=$(echo "$kept"/cpython-3.*.[0-9]*)
	runtime_fetched=${runtime_fetched%% *}
	runtime_version=${runtime_fetched##*/cpython-}
	runtime_version=${runtime_version%%-*}
	runtime_minor=${runtime_version%.*}
	rm -rf -- "$build/.python"
	ln -s -- "$runtime_fetched" "$build/.python"
	python=$build/.python/bin/python$runtime_minor
}

# runtime::fetch KEPT SPECIFIER: asked for again after a week, so that security releases arrive.
runtime::fetch() {
	local list='' said=$1.said
	say "fetching Python $2"
	rm -rf -- "$1.new"
	# Which releases there are is known to uv as of its own release; the list on the web is newer.
	if [[ -z ${UV_PYTHON_INSTALL_MIRROR-}${UV_PYTHON_DOWNLOADS_JSON_URL-} ]]; then list=$runtime_list; fi
	if [[ -z $list ]] || ! UV_PYTHON_DOWNLOADS_JSON_URL=$list runtime::install "$1.new" "$2" >"$said" 2>&1; then
		if ! runtime::install "$1.new" "$2" >"$said" 2>&1; then
			runtime_reason=$("$here/lib/explain" "$said")
			rm -rf -- "$1.new" "$said"
			return 1
		fi
	fi
	rm -rf -- "$said" "${1%/*}"/python-[0-9]*[0-9]
	mv -- "$1.new" "$1"
	touch -- "$1/complete"
}

runtime::install() {
	UV_PYTHON_PREFERENCE=managed UV_HTTP_CONNECT_TIMEOUT=10 UV_HTTP_RETRIES=1 "$uv" python install --no-bin --install-dir "$1" "$2"
}

# runtime::settle BUILD_DIR CACHE: the end of the build: the slug links to the slug that has this Python, or holds it.
runtime::settle() {
	if [[ -z $runtime_fetched ]]; then return; fi
	local origin='' note
	note=${runtime_fetched%/*}/origin
	if [[ -e $note ]]; then origin=$(<"$note"); fi
	rm -- "$1/.python"
	if slugs::kept "$origin"; then
		slugs::share "$1" "$origin" .python
	else
		cp -a --reflink=auto -- "$runtime_fetched" "$1/.python"
		printf '%s' "$1/.python" >"$note"
	fi
}

# runtime::choose CACHE: the host's, or the one that the app asks for, or that its lock file has wheels for.
runtime::choose() {
	runtime::host
	if [[ -n $python_specifier ]]; then
		runtime::provide "$1" "$python_specifier" || fail "python: $python_asked; this host has Python $runtime_version, and" \
			"Python $python_specifier cannot be fetched: $runtime_reason. Ask for $runtime_version, or set" \
			"UV_PYTHON_INSTALL_MIRROR for builds to a mirror that this host reaches (systemctl edit rustploy-build@.service)"
		say "Python $runtime_version ($python_asked)"
	elif [[ -n $lock_older ]]; then
		if runtime::provide "$1" "$lock_older"; then
			say "$lock_lacking: no wheels for this host's Python, and the app would do with an older one: Python $runtime_version"
		else
			say "$lock_lacking: no wheels for Python $runtime_version. There are for $lock_older, which cannot be fetched: $runtime_reason"
		fi
	fi
}
