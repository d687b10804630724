# shellcheck shell=bash
# Sharing what earlier builds of the app made and nothing changes any more (packages, a runtime): the new slug links to it
# instead of holding a copy. A finished slug is sealed: no build can change it, so none can change what is shared either.
# RUSTPLOY_KEPT_SLUGS names the slugs that will stay as long as this one needs them.

# slugs::kept PATH: whether PATH lies in such a slug. A build cannot look inside: slugs are sealed against it.
slugs::kept() {
	local slug=${1%%/app/*}
	[[ -n $slug && " ${RUSTPLOY_KEPT_SLUGS-} " == *" ${slug##*/} "* ]]
}

# slugs::share BUILD_DIR ORIGIN NAME: BUILD_DIR/NAME is a link to ORIGIN, and its slug is named as needed.
slugs::share() {
	local slug=${2%%/app/*}
	ln -s -- "$2" "$1/$3"
	printf '%s\n' "${slug##*/}" >>"$1/.rustploy/needs"
}
