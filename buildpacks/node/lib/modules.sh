# shellcheck shell=bash disable=SC2154 # variables are shared with the files that bin/compile sources
# node_modules: from the cache when the lock file is the same, else by the package manager whose lock file it is.

modules_format=2

# modules::install BUILD_DIR CACHE
modules::install() {
	local kept
	if [[ $install == none ]]; then
		say "no dependencies: nothing to install"
		return
	fi
	kept=$2/modules-$(printf '%s\0' "$modules_format" "$cache_key" "$omit_dev" "$node_specifier" "$runtime_host" |
		sha256sum | cut -c1-32)
	rm -rf -- "$1/node_modules"
	if [[ -n $cacheable && -e $kept/complete ]]; then
		modules::reuse "$1" "$kept"
		return
	fi
	runtime::npm "$2"
	runtime::npm_settings "$2"
	say "installing packages with $manager"
	modules::"$manager" "$2"
	if [[ -n $cacheable && -d $1/node_modules ]]; then
		rm -rf -- "$2"/modules-*
		mkdir -- "$kept"
		cp -a --reflink=auto -- "$1/node_modules" "$kept/node_modules"
		printf '%s' "$1/node_modules" >"$kept/complete"
	fi
}

# modules::reuse BUILD_DIR KEPT: by a link to the slug that holds them; by a copy where a build script may write into it, and
# where no slug holds them any more.
modules::reuse() {
	local origin
	origin=$(<"$2/complete")
	if [[ -z $has_build ]] && slugs::kept "$origin"; then
		slugs::share "$1" "$origin" node_modules
		say "lock file unchanged: sharing node_modules of an earlier build"
	else
		cp -a --reflink=auto -- "$2/node_modules" "$1/node_modules"
		if [[ -z $has_build ]]; then printf '%s' "$1/node_modules" >"$2/complete"; fi
		say "lock file unchanged: node_modules from the cache"
	fi
}

modules::npm() {
	local command=install
	if [[ $install == locked ]]; then
		command=ci
	else
		say "no package-lock.json: versions may change from build to build; commit one"
	fi
	"${npm[@]}" "$command" "$(modules::which_dev)=dev"
}

modules::which_dev() { if [[ -n $omit_dev ]]; then printf -- --omit; else printf -- --include; fi; }

modules::pnpm() {
	"${npm[@]}" exec --yes -- "$(modules::pinned pnpm pnpm@10)" install --frozen-lockfile --store-dir "$1/pnpm" \
		--config.node-linker=hoisted --prod="$([[ -n $omit_dev ]] && echo true || echo false)"
}

modules::yarn() {
	if [[ -e .yarnrc.yml ]]; then
		fail "node: this yarn.lock is of Yarn 2 or newer, which is not supported; use npm, pnpm or Yarn 1"
	fi
	"${npm[@]}" exec --yes -- yarn@1 install --frozen-lockfile --non-interactive --no-progress --cache-folder "$1/yarn" \
		--production="$([[ -n $omit_dev ]] && echo true || echo false)"
}

# modules::pinned NAME DEFAULT: the version that package.json's packageManager asks for.
modules::pinned() {
	local asked
	asked=$(sed -nE 's/.*"packageManager"[[:space:]]*:[[:space:]]*"('"$1"'@[0-9.]+).*/\1/p' package.json | head -n 1)
	printf '%s' "${asked:-$2}"
}

# modules::run_build BUILD_DIR CACHE: the build script, then without what only the build needed.
modules::run_build() {
	if [[ -z $has_build ]]; then return; fi
	runtime::npm "$2"
	runtime::npm_settings "$2"
	say "npm run build"
	PATH="$1/node_modules/.bin:$PATH" "${npm[@]}" run build
	if [[ -n $prune && $manager == npm ]]; then
		say "removing development packages"
		"${npm[@]}" prune --omit=dev
	fi
}
