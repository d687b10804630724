"""What the deployment engine tells to whoever listens (audit, metrics, tests). It knows none of them."""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

#: sender: the Deployment; step: its name. Sent right before the step does anything.
step_started = _signals.signal("step-started")
#: sender: the Deployment; its status is `healthy` or `failed`.
deployment_finished = _signals.signal("deployment-finished")
#: sender: the App. Its process types, and with them its ports, have become others.
processes_changed = _signals.signal("processes-changed")
