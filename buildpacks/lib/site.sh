# shellcheck shell=bash
# Serving a directory of files with the host's Caddy.

# site::root BUILD_DIR DIR…: prints the first of DIR that has an index.html.
site::root() {
	local directory
	for directory in "${@:2}"; do
		if [[ -f $1/$directory/index.html ]]; then
			printf '%s' "$directory"
			return 0
		fi
	done
	return 1
}

# site::configure BUILD_DIR DIR [PAGE]: writes .rustploy/site.json and the web process that serves it.
#   No dot files, except below /.well-known; /about is about.html where there is no file of that name; 404.html for what is
#   missing; PAGE instead, or 200.html, for single-page apps.
site::configure() {
	local build=$1 root=$1 page=${3-} json
	if [[ $2 != . ]]; then root=$1/$2; fi
	local hidden="\".*\", \"$build/Procfile\", \"$build/rustploy.yaml\"" routes='' fallback='' errors=''
	if [[ -d $root/.well-known && ! -L $root/.well-known ]]; then
		routes='{"match": [{"path": ["/.well-known/*"]}], "terminal": true, "handle": [
          {"handler": "rewrite", "strip_path_prefix": "/.well-known"},
          {"handler": "file_server", "root": "'$root'/.well-known"}]},'
	fi
	routes+='{"match": [{"file": {"root": "'$root'", "try_files": ["{http.request.uri.path}.html"]}, "not": [
          {"file": {"root": "'$root'", "try_files": ["{http.request.uri.path}", "{http.request.uri.path}/index.html"]}}]}],
        "handle": [{"handler": "rewrite", "uri": "{http.matchers.file.relative}"}]},'
	if [[ -z $page && -f $root/200.html ]]; then page=200.html; fi
	if [[ -n $page ]]; then
		fallback=', "pass_thru": true}, {"handler": "rewrite", "uri": "/'$page'"},
          {"handler": "file_server", "root": "'$root'", "hide": ['$hidden']'
	elif [[ -f $root/404.html ]]; then
		errors=', "errors": {"routes": [{"match": [{"expression": "{http.error.status_code} == 404"}], "handle": [
        {"handler": "rewrite", "uri": "/404.html"},
        {"handler": "file_server", "root": "'$root'", "hide": ['$hidden'], "status_code": 404}]}]}'
	fi
	IFS= read -r -d '' json <<-JSON || :
		{
		  "admin": {"disabled": true, "config": {"persist": false}},
		  "storage": {"module": "file_system", "root": "/tmp/caddy"},
		  "logging": {"logs": {"default": {"level": "ERROR", "encoder": {"format": "console"}}}},
		  "apps": {"http": {"grace_period": "20s", "servers": {"site": {
		    "listen": ["127.0.0.1:{env.PORT}"], "automatic_https": {"disable": true}, "protocols": ["h1"],
		    "routes": [$routes
		      {"handle": [
		        {"handler": "encode", "encodings": {"gzip": {}}, "minimum_length": 512},
		        {"handler": "file_server", "root": "$root", "hide": [$hidden]$fallback}]}
		    ]$errors
		  }}}}
		}
	JSON
	printf '%s' "$json" >"$build/.rustploy/site.json"
	release::process "$build" web "exec /usr/bin/caddy run --config .rustploy/site.json"
}
