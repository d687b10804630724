#!/usr/bin/env bash
# Builds rustploy-agent's Debian package from this tree, installs it (or upgrades to it), starts the agent; --help says more.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE SETTINGS=/etc/rustploy/agent.yaml DATABASE=/var/lib/rustploy/agent/rustploy.db
readonly LEAST_SYSTEMD=252 DEFAULT_PORT=8080
export DEBIAN_FRONTEND=noninteractive

install::die() {
	printf 'install.sh: %s\n' "$*" >&2
	exit 1
}

install::usage() {
	cat <<-EOF
		usage: ./install.sh [--demo | --help]

		As root: builds rustploy-agent's Debian package from this tree, installs it (or upgrades to it) and starts the agent.
		  --demo      also deploys a bundled sample through the API; where PID 1 is not systemd, all of it in a disposable Debian
		  -h, --help  prints this
	EOF
}

install::say() {
	printf '\n==> %s\n' "$*"
}

install::has_systemd() {
	[[ -d /run/systemd/system ]]
}

# --- before anything is changed

install::check_root() {
	[[ $(id -u) == 0 ]] || install::die "must be run as root: it installs a package"
}

install::check_debian() {
	local id=
	# shellcheck source=/dev/null
	[[ ! -r /etc/os-release ]] || id=$(. /etc/os-release && printf '%s' "${ID:-}")
	[[ $id == debian ]] || install::die "this host runs ${id:-an unknown system}; rustploy-agent is made for Debian 12 and later"
}

install::check_systemd() {
	local version
	install::has_systemd || install::die \
		"PID 1 of this host is not systemd, which runs the apps; ./install.sh --demo shows it all in a disposable Debian"
	version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
	[[ ${version:-0} -ge $LEAST_SYSTEMD ]] ||
		install::die "systemd ${version:-of an unknown version} is too old: $LEAST_SYSTEMD or newer is needed (Debian 12 has 252)"
}

install::port() {
	local port=
	[[ ! -r $SETTINGS ]] || port=$(sed -n '/^listen:/,/^[^ #]/s/.*port: *\([0-9][0-9]*\).*/\1/p' "$SETTINGS" | head -n 1)
	printf '%s' "${port:-$DEFAULT_PORT}"
}

install::check_port() {
	local port
	port=$(install::port)
	# Ours: the agent, or systemd that holds its address while it is stopped.
	! systemctl --quiet is-active rustploy-agent.service rustploy-agent.socket 2>/dev/null || return 0
	if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
		install::die "port $port is taken by another program; stop it, or write 'listen: {port: N}' into $SETTINGS first"
	fi
}

# Downloads come before changes: apt fetches everything it needs before it unpacks the first package.
install::check_index() {
	local said packages
	IFS=, read -ra packages <<<"$("$HERE/packaging/debian-root" depends),curl,debhelper,dh-python"
	said=$(apt-get update -qq -o APT::Update::Error-Mode=any -o Acquire::Retries=1 -o Acquire::http::Timeout=20 \
		-o Acquire::https::Timeout=20 2>&1 </dev/null) && return 0
	apt-get install --simulate -qq --no-install-recommends "${packages[@]}" >/dev/null 2>&1 </dev/null && return 0
	install::die "the package index is out of reach, nothing was installed; apt-get update says: $(grep -m 1 '^[EW]:' <<<"$said" || printf '%s' "$said")"
}

# --- the package

install::build() {
	local directory=$1
	install::say "building the package"
	"$HERE/packaging/build-deb" "$directory"
	# apt reads it as its own unprivileged user.
	chmod 0755 "$directory"
}

# Its output is worth reading only when it fails.
install::apt() {
	apt-get install -qq --yes --no-install-recommends --reinstall --allow-downgrades \
		-o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 "$@" </dev/null >"$WORK/apt.log" 2>&1 && return 0
	tail -n 30 "$WORK/apt.log" >&2
	return 1
}

install::package() {
	local deb=$1
	install::say "installing it and what it depends on"
	install::apt --download-only "$deb" curl ||
		install::die "the package index is out of reach: a download failed, apt-get says which above; nothing was installed"
	install::apt "$deb" curl ||
		install::die "apt-get could not install the package, see above; put that right and run ./install.sh again, or apt-get purge rustploy-agent"
}

install::await_agent() {
	local try
	for try in {1..60}; do
		curl --silent --fail --output /dev/null "$API/health" && return 0
		sleep 0.5
	done
	journalctl --no-pager --lines=20 --unit=rustploy-agent.service >&2
	install::die "the agent does not answer at $API after $((try / 2)) s; its last lines are above"
}

install::report() {
	local first=$1 version
	version=$(dpkg-query -W -f '${Version}' rustploy-agent)
	install::say "rustploy-agent $version runs"
	printf '  API       %s\n' "$API"
	if [[ $first == yes ]]; then
		rustploy-agent admin reset-password | sed -n -e 's/^email: */  admin     /p' -e 's/^password: */  password  /p'
		printf '            shown only now; rustploy-agent admin reset-password makes another\n'
	fi
}

install::next() {
	cat <<-EOF

		Next, as root: a token, then import a repository, deploy it, look at it.

		  TOKEN=\$(rustploy-agent token create --name me --scope admin | tail -n 1)
		  curl --oauth2-bearer "\$TOKEN" $API/apps/import --json \\
		    '{"repository": {"provider": "git", "owner": "me", "name": "blog", "clone_url": "https://example.org/me/blog.git"}}'
		  curl --oauth2-bearer "\$TOKEN" --request POST $API/apps/blog/deployments
		  curl --oauth2-bearer "\$TOKEN" $API/apps/blog
	EOF
}

install::main() {
	local first=no
	[[ -e $DATABASE ]] || first=yes
	install::check_systemd
	install::check_port
	install::check_index
	WORK=$(mktemp -d)
	trap 'rm -rf "$WORK"' EXIT
	install::build "$WORK"
	install::package "$WORK"/rustploy-agent_*.deb
	API=http://127.0.0.1:$(install::port)/api/v1
	install::await_agent
	install::report "$first"
}

# --- the demo

readonly DEMO_ROOT=/srv/rustploy-demo

# A field of the JSON on standard input, by the keys that lead to it.
demo::field() {
	python3 -c 'import functools, json, sys; print(functools.reduce(dict.get, sys.argv[1:], json.load(sys.stdin)))' "$@"
}

# Shows the command as one would type it, then its answer.
demo::curl() {
	local shown=curl argument
	for argument in "$@"; do
		if [[ $argument =~ [^a-zA-Z0-9:/._-] ]]; then shown+=" '$argument'"; else shown+=" $argument"; fi
	done
	printf '\n$ %s\n' "$shown --oauth2-bearer \"\$TOKEN\""
	ANSWER=$(curl --silent --show-error --oauth2-bearer "$TOKEN" "$@") || install::die "curl failed, see above"
	printf '%s\n' "$ANSWER"
}

demo::allow_file() {
	if ! grep -q '^source:' "$SETTINGS"; then
		printf '\n# Added by install.sh --demo: repositories in this directory may be deployed.\nsource:\n  schemes: [https, ssh, file]\n  file_root: %s\n' \
			"$DEMO_ROOT" >>"$SETTINGS"
		systemctl restart rustploy-agent.service
		install::await_agent
	elif ! grep -q "file_root: $DEMO_ROOT" "$SETTINGS"; then
		install::die "--demo needs 'schemes: [https, ssh, file]' and 'file_root: $DEMO_ROOT' under source in $SETTINGS"
	fi
}

demo::repository() {
	local git=(git -C "$DEMO_ROOT/sample")
	# Made once: what somebody changed in it since is theirs.
	if [[ ! -d $DEMO_ROOT/sample/.git ]] || ! "${git[@]}" rev-parse --quiet --verify HEAD >/dev/null; then
		mkdir -p "$DEMO_ROOT"
		git init --quiet --initial-branch=main "$DEMO_ROOT/sample"
		"${git[@]}" config user.name rustploy
		"${git[@]}" config user.email rustploy@localhost
		cp -R /usr/share/rustploy-agent/sample/. "$DEMO_ROOT/sample/"
		"${git[@]}" add --all
		"${git[@]}" commit --quiet --message="the sample"
	fi
}

# New lines of the log as they come, until the deployment has ended.
demo::follow() {
	local app=$1 deployment=$2 shown=0 status=queued logs
	while [[ $status != healthy && $status != failed ]]; do
		sleep 0.3
		status=$(curl --silent --show-error --oauth2-bearer "$TOKEN" "$API/apps/$app/deployments/$deployment" | demo::field status)
		logs=$(curl --silent --show-error --oauth2-bearer "$TOKEN" "$API/apps/$app/deployments/$deployment/logs" | demo::field logs)
		tail -n "+$((shown + 1))" <<<"$logs" | sed 's/^/  | /'
		shown=$(wc -l <<<"$logs")
	done
	[[ $status == healthy ]] || install::die "the deployment of the sample failed; its log is above"
}

demo::deploy() {
	local app deployment address name
	name=demo-$(date +%s)
	TOKEN=$(rustploy-agent token create --name "$name" --scope admin --expires-in-seconds 3600 | tail -n 1)
	demo::allow_file
	demo::repository
	install::say "importing $DEMO_ROOT/sample"
	demo::curl "$API/apps/import" --json \
		"{\"repository\": {\"provider\": \"git\", \"owner\": \"demo\", \"name\": \"sample\", \"clone_url\": \"file://$DEMO_ROOT/sample\"}}"
	app=$(demo::field app id <<<"$ANSWER")
	install::say "deploying it"
	demo::curl --request POST "$API/apps/$app/deployments"
	deployment=$(demo::field deployment_id <<<"$ANSWER")
	demo::follow "$app" "$deployment"
	demo::curl "$API/apps/$app"
	address=$(demo::field address <<<"$ANSWER")
	install::say "the app answers"
	printf '\n$ curl %s/\n' "$address"
	curl --silent --show-error --fail "$address/" || install::die "the sample does not answer at $address"
	rustploy-agent token revoke "$name" >/dev/null
	# Of a disposable Debian its host says how to look into it.
	[[ -n ${RUSTPLOY_DEMO_MACHINE:-} ]] || printf '\nFollow it:  journalctl RUSTPLOY_APP=sample -f\n'
}

demo::in_machine() {
	local machine=$HERE/packaging/demo-machine status=0
	if ! "$machine" running; then
		install::check_port
		install::check_index
	fi
	install::say "PID 1 of this host is not systemd: a disposable Debian it is"
	"$machine" start
	"$machine" run RUSTPLOY_DEMO_MACHINE=yes /usr/local/src/rustploy-agent/install.sh --demo || status=$?
	printf '\nAll of this runs in a disposable Debian in /var/lib/rustploy-demo, with this host'\''s network.\n'
	printf '  follow it:  %s run journalctl RUSTPLOY_APP=sample -f\n  enter it:   %s enter\n  remove it:  %s remove\n' \
		"$machine" "$machine" "$machine"
	return "$status"
}

case ${1:-}/$# in
/0 | --demo/1) ;;
-h/1 | --help/1)
	install::usage
	exit 0
	;;
*) install::die "'$*' is not understood; usage: ./install.sh [--demo | --help]" ;;
esac
install::check_root
install::check_debian
if [[ ${1:-} == --demo ]] && ! install::has_systemd; then
	demo::in_machine
else
	install::main
	if [[ ${1:-} == --demo ]]; then
		demo::deploy
	else
		install::next
	fi
fi
