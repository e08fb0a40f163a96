"""How a program of the benchmark that serves is told to stop."""

import os
import signal
import sys
import threading


def stop_with_standard_input() -> None:
    threading.Thread(target=_stop_at_its_end, daemon=True).start()


def _stop_at_its_end() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    signal.raise_signal(signal.SIGTERM)
