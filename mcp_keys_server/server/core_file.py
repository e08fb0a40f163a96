"""What the system would write of a process that crashes."""

import resource


def write_no_core_file() -> None:
    """None is written of this process or its children, because it would hold keys that were just seen. Whoever wants
    one all the same can raise the limit again, with ``prlimit --core``.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # Not 0, because where core files are handed to a program (a "|" in core_pattern) Linux heeds no limit but 1.
    # No file is as short as that.
    resource.setrlimit(resource.RLIMIT_CORE, (1 if hard else 0, hard))
