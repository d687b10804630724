# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources
# The Python that runs the app is the host's: one interpreter, with Debian's security updates.

python=/usr/bin/python3

# runtime::choose BUILD_DIR: sets runtime_version (such as 3.11), or ends the build when the app asks for another.
runtime::choose() {
	runtime_version=$(readlink -f "$python")
	runtime_version=${runtime_version##*/python}
	local asked
	asked=$(runtime::asked "$1")
	if [[ -n $asked && $asked != 3 && $asked != "$runtime_version" && $asked != "$runtime_version".* ]]; then
		fail "python: the app asks for Python $asked (runtime.txt or .python-version), this host has $runtime_version;" \
			"write $runtime_version there or remove the file"
	fi
}

# runtime::asked BUILD_DIR: the version number that the app names, without python-; empty if it names none.
runtime::asked() {
	local file line
	for file in runtime.txt .python-version; do
		if [[ -f $1/$file && ! -L $1/$file ]]; then
			line=$(grep -Ev '^[[:space:]]*(#|$)' "$1/$file" | head -n 1 | tr -d '[:space:]') || true
			line=${line#python-}
			if [[ ! $line =~ ^[0-9]+(\.[0-9]+){0,2}$ ]]; then
				fail "python: $file must name a version such as 3.11, not '${line:0:40}'"
			fi
			printf '%s' "$line"
			return
		fi
	done
}
