# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the files that bin/compile sources
# uv, from the package index that the host's pip is set up for, kept in the app's build cache.

uv_cache_mib=2048

# uv::provide CACHE: sets uv, the command that runs it; empty when it cannot be had, and uv_reason says why.
uv::provide() {
	uv='' uv_reason=''
	local wanted kept
	wanted=$(sed -nE 's/^uv==([0-9.]+).*/\1/p' "$here/lib/uv.txt")
	kept=$1/uv-$wanted
	if [[ ! -x $kept/uv ]]; then
		uv::fetch "$1" "$kept" || return 0
	fi
	uv=$kept/uv
	uv::settings "$1"
}

# uv::fetch CACHE KEPT: pip checks the hash of what it gets.
uv::fetch() {
	local made=$1/uv.new said
	rm -rf -- "$1"/uv-[0-9]* "$made"
	say "fetching uv"
	if ! said=$(/usr/bin/python3 -m pip --disable-pip-version-check --no-input --no-cache-dir --retries 1 --timeout 15 install --quiet --no-deps \
		--require-hashes --only-binary :all: --no-compile --progress-bar off --target "$made" \
		--requirement "$here/lib/uv.txt" 2>&1); then
		uv_reason=$(grep -E '^ERROR:' <<<"$said" | tail -n 1) || uv_reason=${said##*$'\n'}
		uv_reason=${uv_reason#ERROR: }
		rm -rf -- "$made"
		return 1
	fi
	mkdir -- "$2"
	mv -- "$made/bin/uv" "$2/uv"
	rm -rf -- "$made"
}

# uv::trim CACHE: what uv keeps of packages that were wanted once is thrown away when it becomes much.
uv::trim() {
	local mib
	if [[ -z $uv ]]; then return; fi
	mib=$(du -sm -- "$1/uv-cache" 2>/dev/null | cut -f 1) || mib=0
	if ((mib > uv_cache_mib)); then "$uv" cache clean --quiet || :; fi
}

# uv::settings CACHE: what uv goes by: the host's package index as pip knows it, and never a Python that nobody asked for.
uv::settings() {
	export UV_CACHE_DIR=$1/uv-cache UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=manual UV_HTTP_TIMEOUT=60 UV_NO_MODIFY_PATH=1
	export UV_INDEX_STRATEGY=unsafe-best-match UV_PYTHON_PREFERENCE=only-system
	if [[ -e /etc/ssl/certs/ca-certificates.crt ]]; then export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt; fi
	local assignments
	assignments=$(/usr/bin/python3 -I -S -B -c "$plan" "$here/lib" hostindex)
	eval "$assignments"
}
