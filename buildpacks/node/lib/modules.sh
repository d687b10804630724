# shellcheck shell=bash disable=SC2154 # variables are shared with the files that bin/compile sources
# node_modules: from the cache when the lock file is the same, else by the package manager whose lock file it is.

modules_format=3

# modules::install BUILD_DIR CACHE
modules::install() {
	local kept
	if [[ $install == none ]]; then
		say "no dependencies: nothing to install"
		return
	fi
	kept=$2/modules-$(printf '%s\0' "$modules_format" "$cache_key" "$omit_dev" "$node_ranges" "$runtime_host" |
		sha256sum | cut -c1-32)
	rm -rf -- "$1/node_modules"
	if [[ -n $cacheable && -e $kept/complete ]]; then
		modules::reuse "$1" "$kept"
		modules::hooks "$2"
		return
	fi
	say "installing packages with $manager_name"
	if [[ $install == loose ]]; then say "no lock file: versions may change from build to build; commit one"; fi
	cd -- "$top" || exit 1
	modules::"$manager" "$2"
	cd -- "$1" || exit 1
	if [[ -n $cacheable && -d $1/node_modules ]]; then
		rm -rf -- "$2"/modules-*
		mkdir -- "$kept"
		cp -a --reflink=auto -- "$1/node_modules" "$kept/node_modules"
		printf '%s' "$1/node_modules" >"$kept/complete"
	fi
}

# modules::reuse BUILD_DIR KEPT: by a link to the slug that holds them; by a copy where a script may write into it, and where
# no slug holds them any more.
modules::reuse() {
	local origin
	origin=$(<"$2/complete")
	if [[ -z $builds$hooks ]] && slugs::kept "$origin"; then
		slugs::share "$1" "$origin" node_modules
		say "lock file unchanged: sharing node_modules of an earlier build"
	else
		cp -a --reflink=auto -- "$2/node_modules" "$1/node_modules"
		if [[ -z $builds$hooks ]]; then printf '%s' "$1/node_modules" >"$2/complete"; fi
		say "lock file unchanged: node_modules from the cache"
	fi
}

# modules::hooks CACHE: what installing would have run of the repository's own scripts.
modules::hooks() {
	local name
	for name in $hooks; do
		say "npm run $name"
		"${npm[@]}" run "$name"
	done
}

# modules::prepare CACHE: the manager on PATH, at its version.
modules::prepare() {
	manager_name="$manager ${manager_spec:+($manager_spec)}"
	runtime::npm "$1"
	case $manager in
	npm) manager_name="npm $npm_line" ;;
	pnpm)
		runtime::tool "$1" "$manager_spec"
		runtime::command "$1" pnpm "$tool/bin/pnpm.cjs"
		;;
	yarn)
		runtime::tool "$1" "$manager_spec"
		runtime::command "$1" yarn "$tool/bin/yarn.js"
		;;
	berry) modules::berry_command "$1" ;;
	bun)
		runtime::tool "$1" "@oven/$(modules::bun_name)@${manager_spec#bun@}"
		export PATH="$tool/bin:$PATH"
		;;
	esac
}

# modules::bun_name: bun is a binary for each kind of processor; the usual one stops at once on those without AVX2.
modules::bun_name() {
	if [[ $(uname -m) == aarch64 ]]; then
		echo bun-linux-aarch64
	elif grep -qw avx2 /proc/cpuinfo; then
		echo bun-linux-x64
	else
		echo bun-linux-x64-baseline
	fi
}

# modules::berry_command CACHE: the release of Yarn that the repository carries, else one of the package index.
modules::berry_command() {
	local carried=''
	if [[ -f .yarnrc.yml ]]; then carried=$(sed -nE 's/^yarnPath:[[:space:]]*"?([A-Za-z0-9_./-]+)"?[[:space:]]*$/\1/p' .yarnrc.yml); fi
	if [[ -n $carried && -f $carried ]]; then
		runtime::command "$1" yarn "$PWD/$carried"
		manager_name="yarn ($carried)"
	else
		runtime::tool "$1" "$manager_spec"
		runtime::command "$1" yarn "$tool/bin/yarn.js"
	fi
}

modules::npm() {
	local command=install arguments
	if [[ $install == locked ]]; then command=ci; fi
	arguments=(--include=dev)
	if [[ -n $omit_dev ]]; then arguments=(--omit=dev); fi
	if ((npm_line < 7)); then
		arguments=(--production=false)
		if [[ -n $omit_dev ]]; then arguments=(--production=true); fi
	fi
	modules::npm_peers "$command" "${arguments[@]}"
}

# modules::npm_peers ARGUMENT…: npm; where packages want each other in versions that contradict, a second time as npm 6 did
# it: many lock files were made so, and nothing in the repository says it.
modules::npm_peers() {
	local said status=0
	said=$(mktemp)
	"${npm[@]}" "$@" 2>&1 | tee "$said" || status=${PIPESTATUS[0]}
	if ((status)) && ((npm_line >= 7)) && grep -q 'code ERESOLVE' "$said"; then
		say "packages contradict each other's peer dependencies: installing with --legacy-peer-deps"
		status=0
		export NPM_CONFIG_LEGACY_PEER_DEPS=true
		"${npm[@]}" "$@" || status=$?
	fi
	rm -f -- "$said"
	if ((status)); then exit "$status"; fi
}

modules::frozen() { if [[ $install == locked ]]; then echo "$1"; else echo "$2"; fi; }
modules::production() { if [[ -n $omit_dev ]]; then printf true; else printf false; fi; }

# Copies, not hard links: a later build could change through the store what a sealed slug holds.
modules::pnpm() {
	pnpm install "$(modules::frozen --frozen-lockfile --no-frozen-lockfile)" --store-dir "$1/pnpm" --reporter=append-only \
		--config.node-linker=hoisted --config.package-import-method=clone-or-copy --prod="$(modules::production)"
}

modules::yarn() {
	yarn install "$(modules::frozen --frozen-lockfile --pure-lockfile)" --non-interactive --no-progress \
		--cache-folder "$1/yarn-1" --production="$(modules::production)"
}

modules::berry() {
	local arguments=(--immutable)
	if [[ $install == loose ]]; then arguments=(--no-immutable); fi
	# With Plug'n'Play the packages stay where they were fetched to; they belong into the slug then.
	if ! grep -Eqs '^nodeLinker:[[:space:]]*"?(node-modules|pnpm)' .yarnrc.yml; then
		export YARN_CACHE_FOLDER="$PWD/.yarn/cache"
	fi
	yarn install "${arguments[@]}"
}

modules::bun() {
	local arguments=(--backend=copyfile --cache-dir "$1/bun")
	if [[ $install == locked ]]; then arguments+=(--frozen-lockfile); fi
	if [[ -n $omit_dev ]]; then arguments+=(--production); fi
	NODE_ENV='' bun install "${arguments[@]}"
}

# modules::run_builds BUILD_DIR CACHE: the build's commands, then without what only the build needed.
modules::run_builds() {
	if [[ -n $builds ]]; then
		local command
		modules::build_settings
		while IFS= read -r command; do
			say "$command"
			PATH="$1/node_modules/.bin:$top/node_modules/.bin:$PATH" /bin/sh -c "$command" </dev/null
		done <<<"$builds"
	fi
	if [[ -n $prune ]]; then modules::prune "$2" || say "they cannot be removed: they stay"; fi
}

# modules::build_settings: what some tools need to build in production, unattended.
modules::build_settings() {
	# react-scripts takes warnings for errors under CI.
	if [[ $framework == create-react-app ]]; then export CI=false; fi
	# SvelteKit's adapter-auto knows hosts by their environment; this one means adapter-node.
	if [[ $framework == sveltekit && -d node_modules/@sveltejs/adapter-auto ]] &&
		! grep -qs 'adapter-\(node\|static\)' svelte.config.*; then
		export GCP_BUILDPACKS=1
		if [[ ! -d node_modules/@sveltejs/adapter-node ]]; then
			say "installing @sveltejs/adapter-node, which adapter-auto uses here"
			modules::add @sveltejs/adapter-node@5
		fi
	fi
	# webpack 4 asks OpenSSL for a digest that node 17 and later have only in this mode.
	if ((node_major >= 17)) && grep -Eqs '^  "version": "4\.' node_modules/webpack/package.json; then
		export NODE_OPTIONS="${NODE_OPTIONS-} --openssl-legacy-provider"
	fi
}

# modules::add SPEC: a package beside those that are installed, whatever tool installed them.
modules::add() {
	local aside
	aside=$(mktemp -d)
	printf '{"private": true}' >"$aside/package.json"
	(cd -- "$aside" && "${npm[@]}" install --no-save --no-package-lock --legacy-peer-deps --loglevel=error "$1" >/dev/null)
	cp -an -- "$aside/node_modules/." node_modules/
	rm -rf -- "$aside"
}

modules::prune() {
	say "removing development packages"
	case $manager in
	npm)
		if ((npm_line < 7)); then "${npm[@]}" prune --production; else "${npm[@]}" prune --omit=dev --ignore-scripts; fi
		;;
	yarn)
		yarn install --frozen-lockfile --non-interactive --no-progress --cache-folder "$1/yarn-1" --production=true \
			--ignore-scripts --prefer-offline
		;;
	pnpm)
		if [[ -e pnpm-workspace.yaml ]]; then return; fi
		npm_config_store_dir=$1/pnpm npm_config_node_linker=hoisted npm_config_package_import_method=clone-or-copy \
			pnpm prune --prod --ignore-scripts
		;;
	*) say "$manager has no way to do that without installing again: they stay" ;;
	esac
}

# modules::extras BUILD_DIR CACHE: what the start command asks npx for and no dependency is; nothing is fetched at the start.
modules::extras() {
	if [[ -z $extras ]]; then return; fi
	local spec specs=()
	for spec in $extras; do
		if [[ ! -e $1/node_modules/.bin/${spec%@*} ]]; then specs+=("$spec"); fi
	done
	if ((${#specs[@]} == 0)); then return; fi
	say "installing ${specs[*]} for npx"
	mkdir -p -- "$1/.rustploy/npx"
	printf '{"private": true}' >"$1/.rustploy/npx/package.json"
	(cd -- "$1/.rustploy/npx" && "${npm[@]}" install --no-save --no-package-lock --loglevel=error "${specs[@]}" >/dev/null) ||
		say "they cannot be installed: add them to dependencies"
}
