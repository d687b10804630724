"""waitress-serve that ends the requests in flight when it is asked to stop: by itself it only does so for Ctrl-C."""

import signal

from waitress.runner import run

signal.signal(signal.SIGTERM, signal.default_int_handler)
run()
