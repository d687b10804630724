# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources
# The lock files of Poetry and PDM, which uv does not read itself: see lib/pyplan/locked.py.

# locks::resolve: makes .rustploy/requirements.txt the locked list, with hashes, for the Python that was chosen.
locks::resolve() {
	if [[ $install_how != poetry && $install_how != pdm ]]; then return; fi
	local list=.rustploy/requirements.txt resolved=.rustploy/resolved.txt
	say "resolving within $install_file"
	"$uv" pip compile --quiet --no-header --no-annotate --no-config --emit-index-url --prerelease allow --python "$python" \
		--constraint .rustploy/constraints.txt --output-file "$resolved" "$list" >"$packages_said" 2>&1 ||
		fail "python: $install_file cannot be obeyed, it may be out of step with pyproject.toml:" \
			"$("$here/lib/explain" "$packages_said")"
	/usr/bin/python3 -I -S -B -c "$plan" "$here/lib" locked "$build" "$install_file" "$resolved"
	mv -- "$resolved" "$list"
	: >.rustploy/constraints.txt
	install_how=requirements install_pre=1
	# What has no hash comes from the repository itself or from a commit; the others are checked all the same.
	if ! grep -E '^[^-]' "$list" | grep -qv -- '--hash='; then install_hashed=1; fi
	mapfile -t install_pinned < <(sed -nE 's/^([A-Za-z0-9][A-Za-z0-9._-]*)==.*/\1/p' "$list")
	sed -E 's/ --hash=.*//' "$list" | grep -E '^[A-Za-z0-9][A-Za-z0-9._-]*==' >.rustploy/pins.txt || :
}
