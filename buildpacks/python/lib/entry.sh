# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources
# How the app is started, when its Procfile does not say so: which object, and which server runs it.

entry_files=(wsgi.py asgi.py app.py main.py application.py server.py)
entry_asgi='(FastAPI|Starlette|Quart|Litestar|Sanic|get_asgi_application)[[:space:]]*\('

# entry::choose BUILD_DIR: sets entry_target (module:object), entry_kind (wsgi, asgi, factory or none), entry_server and
# entry_extra (the server to install beside the requirements, or nothing).
entry::choose() {
	entry_target='' entry_kind=none entry_server='' entry_extra=''
	if procfile::has "$1" web; then return; fi
	entry::find "$1"
	case $entry_kind in
	none)
		say "no web process: no Procfile, no Django project and no app object in ${entry_files[*]}"
		return
		;;
	asgi) entry::server uvicorn hypercorn ;;
	*) entry::server waitress gunicorn ;;
	esac
}

# entry::server DEFAULT OTHER: the one that the requirements name, else DEFAULT, installed as well.
entry::server() {
	entry_server=$1
	if requirements::names "$1"; then return; fi
	if requirements::names "$2"; then
		entry_server=$2
		return
	fi
	entry_extra=$1
	say "no web server among the requirements: $1 is installed (name one there to use another)"
}

entry::find() {
	local file
	if entry::find_django "$1"; then return; fi
	for file in "${entry_files[@]}"; do
		if entry::find_in "$1" "$file" "${file%.py}"; then return; fi
	done
	for file in "$1"/*/__init__.py; do
		if [[ -f $file ]]; then
			file=${file#"$1"/}
			if entry::find_in "$1" "$file" "${file%/__init__.py}"; then return; fi
		fi
	done
}

entry::find_django() {
	local package file
	if [[ ! -f $1/manage.py ]]; then return 1; fi
	package=$(sed -nE 's/.*DJANGO_SETTINGS_MODULE["'\'', ]+([A-Za-z0-9_.]+)\.settings.*/\1/p' "$1/manage.py" | head -n 1)
	for file in "$1/${package//./\/}/wsgi.py" "$1"/*/wsgi.py; do
		if [[ -n $package || $file != "$1//wsgi.py" ]] && [[ -f $file ]]; then
			file=${file#"$1"/}
			file=${file%.py}
			entry_target=${file//\//.}:application
			entry_kind=wsgi
			return 0
		fi
	done
	return 1
}

# entry::find_in BUILD_DIR FILE MODULE
entry::find_in() {
	local path=$1/$2 object
	if [[ ! -f $path || -L $path ]]; then return 1; fi
	if object=$(entry::name "$path" '(app|application|api|server)[[:space:]]*(:[^=]*)?=[^=]'); then
		entry_kind=wsgi
		if grep -Eq "^${object}[[:space:]]*(:[^=]*)?=[[:space:]]*([A-Za-z_.]*\.)?$entry_asgi" "$path"; then entry_kind=asgi; fi
	elif object=$(entry::name "$path" 'def (app|application)\(environ'); then
		entry_kind=wsgi
	elif object=$(entry::name "$path" 'async def (app|application)\(scope'); then
		entry_kind=asgi
	elif object=$(entry::name "$path" 'def (create_app|make_app)\('); then
		entry_kind=factory
	else
		return 1
	fi
	entry_target=$3:$object
}

# entry::name FILE PATTERN: the first group of the first line that begins so.
entry::name() {
	sed -nE "s/^$2.*/\1/p" "$1" | head -n 1 | grep .
}

# entry::write BUILD_DIR: the web process. One process with threads: the least memory; WEB_CONCURRENCY asks gunicorn for more.
entry::write() {
	local call='' listen=127.0.0.1:\$PORT
	case $entry_server in
	waitress)
		cp -- "$here/lib/serve_waitress.py" "$1/.rustploy/serve.py"
		if [[ $entry_kind == factory ]]; then call='--call '; fi
		release::process "$1" web "exec .venv/bin/python .rustploy/serve.py --listen=$listen $call$entry_target"
		;;
	gunicorn)
		if [[ $entry_kind == factory ]]; then call='()'; fi
		release::process "$1" web "exec gunicorn --bind=$listen --threads=8 '$entry_target$call'"
		;;
	uvicorn) release::process "$1" web "exec uvicorn --host=127.0.0.1 --port=\$PORT $entry_target" ;;
	hypercorn) release::process "$1" web "exec hypercorn --bind=$listen $entry_target" ;;
	esac
	if [[ -n $entry_server ]]; then say "web: $entry_target with $entry_server"; fi
}
