"""The command line: the only reader of arguments and environment."""

import gc

# Until ``program.main``: to look for garbage takes a fifth of the time in which all is imported, and there is none.
gc.disable()
