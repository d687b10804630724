# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources

# django::collect_static BUILD_DIR: when settings have a STATIC_ROOT, unless the repository has a file .disable_collectstatic.
# Builds see no secrets, so settings that insist on a variable get a placeholder for it.
django::collect_static() {
	if [[ -z $django_directory || -e $1/.disable_collectstatic || -n ${DISABLE_COLLECTSTATIC-} ]]; then return; fi
	if ! grep -rqsE --include='*.py' --exclude-dir=.venv --exclude-dir=node_modules '^[[:space:]]*STATIC_ROOT' "$1"; then return; fi
	say "manage.py collectstatic"
	local placeholders=() said=/tmp/collectstatic.said name
	while ! (cd -- "$1/$django_directory" &&
		env "${placeholders[@]}" "$packages_python" manage.py collectstatic --noinput 2>&1 | tee -- "$said"); do
		name=$(/usr/bin/python3 -I -S -B -c "$plan" "$here/lib" unset "$said")
		if [[ -z $name || " ${placeholders[*]}" == *" ${name%%=*}="* ]] || ((${#placeholders[@]} > 20)); then
			say "collectstatic failed: static files may be missing. If it needs a variable, give the setting a default;" \
				"if it is not wanted, add a file .disable_collectstatic"
			return
		fi
		say "${name%%=*} is not set in builds: collectstatic is tried again with a placeholder for it"
		placeholders+=("$name")
	done
}
