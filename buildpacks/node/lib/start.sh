# shellcheck shell=bash disable=SC2154 # variables are shared with the files that bin/compile sources
# How the app is started: its start script, the server that the build left, or the site that it left.

# start::early BUILD_DIR: ends a build that could leave nothing to start before it takes its minute.
start::early() {
	if [[ -n $start$builds$before$hooks || -e $1/Procfile ]] || start::in_manifest "$1"; then return; fi
	start::left "$1"
	if [[ -z $left_start$left_site ]]; then
		fail "node: nothing says how to start this app: add a \"start\" script to package.json, or a Procfile with \"web: …\""
	fi
}

start::in_manifest() { [[ -f $1/rustploy.yaml ]] && grep -Eq '^[[:space:]]+start_command:' "$1/rustploy.yaml"; }

# start::left BUILD_DIR: sets left_start, left_site and left_page.
start::left() {
	local found
	found=$(plan after "$1") || exit 1
	eval "$found"
}

# start::choose BUILD_DIR
start::choose() {
	if procfile::has "$1" web; then return; fi
	local theirs=''
	# Next.js refuses this command for two of the three things that it builds.
	if [[ $framework == nextjs && $start =~ ^(exec )?(npx )?next\ start ]]; then
		theirs=$start
		start=''
	fi
	if [[ -z $start ]]; then
		start::left "$1"
		if [[ -n $left_site ]]; then
			site::configure "$1" "$left_site" "$left_page"
			say "no start script for production: serving $left_site with Caddy"
			return
		fi
		start=$left_start
	fi
	if [[ $start == *.next/standalone/* ]]; then start::next_standalone "$1"; else start=${theirs:-$start}; fi
	if [[ -n $start ]]; then
		release::process "$1" web "$start"
		say "web: $start"
	elif [[ -e $1/Procfile ]] || start::in_manifest "$1"; then
		say "no web process: package.json has no start script and no main, and there is no server.js"
	else
		fail "node: the build left nothing to serve: no index.html in dist/, build/, out/, _site/ or public/, and package.json" \
			"has no start script for production; add one, or a Procfile with a line \"web: …\""
	fi
}

# start::next_standalone BUILD_DIR: Next leaves the site's files for a CDN; without one they lie beside the server.
start::next_standalone() {
	cp -a -- "$1/.next/static" "$1/.next/standalone/.next/"
	if [[ -d $1/public ]]; then cp -a -- "$1/public" "$1/.next/standalone/"; fi
}

# start::commands BUILD_DIR: npm, npx, yarn and pnpm for Procfiles and scripts; the app has none of the real ones.
start::commands() {
	local name names=(npm npx yarn yarnpkg pnpm pnpx bun bunx)
	mkdir -p -- "$1/.rustploy/bin" "$1/.rustploy/node"
	cp -- "$here/lib/run.py" "$1/.rustploy/node/run.py"
	if [[ $manager == bun && $install != none ]]; then
		names=(npm npx yarn yarnpkg pnpm pnpx bunx)
		cp --reflink=auto -L -- "$(command -v bun)" "$1/.rustploy/bin/bun"
	fi
	for name in "${names[@]}"; do
		# shellcheck disable=SC2016 # for the script that is written
		printf '#!/bin/sh\nexec /usr/bin/python3 -I -S -B "${0%%/*}/../node/run.py" %s "$@"\n' "${name/yarnpkg/yarn}" \
			>"$1/.rustploy/bin/$name"
	done
	chmod 755 -- "$1/.rustploy/bin"/*
}

# start::plug_and_play BUILD_DIR: programs of packages that Yarn left in their archives; node finds them by .pnp.cjs.
start::plug_and_play() {
	if [[ $manager != berry || ! -e $1/.pnp.cjs ]]; then return; fi
	yarn bin --json | plan pnp_programs "$1/.rustploy/bin"
	pnp="export NODE_OPTIONS=\"--require \$PWD/.pnp.cjs \${NODE_OPTIONS-}\""
	if [[ -e $1/.pnp.loader.mjs ]]; then
		pnp+=$'\n'"export NODE_OPTIONS=\"--experimental-loader file://\$PWD/.pnp.loader.mjs \$NODE_OPTIONS\""
	fi
}

# start::profile BUILD_DIR
start::profile() {
	local shared=''
	if [[ $top != "$1" ]]; then shared=":\$PWD/$(realpath --relative-to="$1" "$top")/node_modules/.bin"; fi
	profile::write "$1" node <<PROFILE
export PATH="\$PWD/node_modules/.bin$shared:\$PWD/.node/bin:\$PWD/.rustploy/bin:\$PWD/.rustploy/npx/node_modules/.bin:\$PATH"
export NODE_ENV="\${NODE_ENV-production}" HOST="\${HOST-127.0.0.1}" HOSTNAME="\${HOSTNAME-127.0.0.1}"
export PROTOCOL_HEADER="\${PROTOCOL_HEADER-x-forwarded-proto}" HOST_HEADER="\${HOST_HEADER-host}"
$exports
${pnp-}
PROFILE
}
