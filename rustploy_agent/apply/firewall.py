"""The nftables rules for the apps' ports. apply has no network, so it writes them and has another unit load them.

A port of an app is for the app's own user, the agent, the ingress and root; the API's is not for apps and builds.
Only the packet that opens a connection from this host to itself is looked at, so what is established goes on, and no
state is kept.
"""

from __future__ import annotations

import sys

from rustploy_agent.apply import rendering
from rustploy_agent.apply.host import Host
from rustploy_agent.apply.wish import Refused

RULES = f"{rendering.STATE}/apply/firewall.nft"
PENDING = f"{rendering.STATE}/apply/firewall-pending"
UNIT = "rustploy-firewall.service"
#: Who reaches every app, besides root.
TRUSTED = ("rustploy", "rustploy-ingress")


def elements(values: list[str]) -> str:
    """An empty list of elements is no valid rule file."""
    return f" elements = {{ {', '.join(values)} }};" if values else ""


def rules(host: Host, apps: set[str], ports: dict[str, list[int]], closed: list[int]) -> str:
    """The file that replaces the table as a whole. `apps` have users, some of them have ports."""
    trusted = ["0", *(str(user.pw_uid) for name in TRUSTED if (user := host.user(name)))]
    users = {app: [host.user(account) for account, _, _ in rendering.accounts(app)] for app in sorted(apps)}
    sandboxed = [str(user.pw_uid) for pair in users.values() for user in pair if user]
    own = [
        f"{pair[0].pw_uid} . {port}" for app, pair in users.items() if pair[0] for port in sorted(ports.get(app, []))
    ]
    taken = sorted({port for app in users for port in ports.get(app, [])})
    return f"""{rendering.HEADER}table inet rustploy
delete table inet rustploy
table inet rustploy {{
	set sandboxed {{ type uid;{elements(sandboxed)} }}
	set own {{ type uid . inet_service;{elements(own)} }}
	set ports {{ type inet_service;{elements([str(port) for port in taken])} }}
	set closed {{ type inet_service;{elements([str(port) for port in sorted(closed)])} }}
	chain output {{
		type filter hook output priority filter; policy accept;
		oifname != "lo" accept
		tcp flags & (fin | syn | rst | ack) != syn accept
		meta skuid {{ {", ".join(trusted)} }} accept
		meta skuid . tcp dport @own accept
		tcp dport @ports reject with tcp reset
		meta skuid @sandboxed tcp dport @closed reject with tcp reset
	}}
}}
"""


def update(host: Host, apps: set[str], ports: dict[str, list[int]], closed: list[int]) -> None:
    """Write the rules and have them loaded, if they are others than before or a run was broken off in between.

    That they cannot be loaded (a kernel without nftables, say) stops no app; `rustploy-agent doctor` tells.
    """
    text = rules(host, apps, ports, closed)
    if host.read(RULES) != text:
        host.write(PENDING, "")
        host.write(RULES, text)
    if host.exists(PENDING):
        try:
            host.run("/usr/bin/systemctl", "reload-or-restart", UNIT)
            host.remove(PENDING)
        except Refused as error:  # the next run tries again
            sys.stderr.write(f"{error}\n")
