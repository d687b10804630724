"""How long deployments and rollbacks take, and what an idle agent costs, on a booted machine. Nothing is asserted.

    python3 -m tests.bench deploy     POST until the new content answers, over the same commands run by hand
    python3 -m tests.bench rollback   POST until the old content answers, over `systemctl restart` of the same app
    python3 -m tests.bench idle       memory, processor time and wake-ups of an agent that has nothing to do
    python3 -m tests.bench ingress    requests per second through it over the app's own and over nginx; gaps; switches
    python3 -m tests.bench requests   requests per second over a bare Flask hello on the same server
    python3 -m tests.bench scale      imports, removals, deployments and restarts of the agent with many apps over one;
                                      ten deployments at once; how soon apps serve after a reboot

    --release bookworm|trixie         which Debian to boot (bookworm)
    --machine NAME                    measure on a running machine (python3 -m tests.machine boot) instead of a new one
    --apps static,flask,node,django   which apps (all)
    --pairs N                         measurements of each kind (7; cold deployments a third of that)
    --count N                         apps for `scale` (150)

As root, like tests.machine. Times are wall time; the two sides of each pair follow each other, first one then the other
first, and the ratio is the median of the pairs' ratios, because the machine's speed changes while it is measured.
"""
