# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources
# The programs of the module: every package main, or those that `// +heroku install` of go.mod names.

# programs::plan FUNCTION ARGUMENT…: one of plan.py's.
programs::plan() {
	/usr/bin/python3 -I -S -B -c 'import sys; sys.path.insert(0, sys.argv[1]); import plan; getattr(plan, sys.argv[2])(*sys.argv[3:])' \
		"$here/lib" "$@"
}

# programs::hook pre|post: the repository's own script around the build, where Heroku's buildpack looks for it.
programs::hook() {
	if [[ -x bin/go-$1-compile ]]; then
		say "bin/go-$1-compile"
		"bin/go-$1-compile" "$PWD"
	fi
}

# programs::build BUILD_DIR: sets programs, the names of what was built.
programs::build() {
	local packages path
	if [[ ! -f go.mod ]]; then
		say "no go.mod: building as a module named app"
		"$go" mod init app
	fi
	mapfile -t packages < <("$go" list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' "${go_packages[@]}" | grep .)
	if ((${#packages[@]} == 0)); then
		# Once more, for what go says of packages that it cannot load.
		"$go" list "${go_packages[@]}" >/dev/null
		fail "go: the module has no package main; name its directory in go.mod: // +heroku install ./cmd/..."
	fi
	mkdir -p -- "$1/bin"
	say "go build: ${packages[*]}"
	"$go" build -buildvcs=false -trimpath -o "$1/bin/" "${packages[@]}"
	programs=()
	for path in "${packages[@]}"; do
		if [[ ${path##*/} =~ ^v[0-9]+$ ]]; then path=${path%/*}; fi
		programs+=("${path##*/}")
	done
}

# programs::choose_web BUILD_DIR
programs::choose_web() {
	local web
	if procfile::has "$1" web; then return; fi
	web=$(programs::plan run_web "$1" "${programs[@]}")
	if [[ -n $web ]]; then
		release::process "$1" web "exec bin/$web"
		say "web: bin/$web"
	else
		say "no web process: a Procfile has to say which of ${programs[*]} it is (web: bin/NAME)"
	fi
}
