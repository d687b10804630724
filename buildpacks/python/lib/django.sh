# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources

# django::collect_static BUILD_DIR: when settings have a STATIC_ROOT, unless the repository has a file .disable_collectstatic.
# Builds see no secrets, so settings that insist on one cannot be loaded here: a warning, not the end of the build.
django::collect_static() {
	if [[ ! -f $1/manage.py || -e $1/.disable_collectstatic ]]; then return; fi
	if ! grep -rqsE --include='*.py' --exclude-dir=.venv --exclude-dir=node_modules '^[[:space:]]*STATIC_ROOT' "$1"; then return; fi
	say "manage.py collectstatic"
	if ! (cd -- "$1" && "$packages_python" manage.py collectstatic --noinput); then
		say "collectstatic failed: static files may be missing. If it needs a variable, give the setting a default;" \
			"if it is not wanted, add a file .disable_collectstatic"
	fi
}
