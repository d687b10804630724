# shellcheck shell=bash disable=SC2154 # variables are shared with the files that bin/compile sources

# hooks::run BUILD_DIR NAME: the repository's bin/NAME, with the app's packages first on PATH.
hooks::run() {
	local script=$1/bin/$2
	if [[ ! -f $script ]]; then return; fi
	say "bin/$2"
	chmod u+x -- "$script"
	(
		if [[ -n ${packages_python-} ]]; then
			export PATH="${packages_python%/*}:$PATH" VIRTUAL_ENV="${packages_python%/bin/*}"
		fi
		cd -- "$1"
		"$script"
	) || fail "python: bin/$2 ended with $?"
}
