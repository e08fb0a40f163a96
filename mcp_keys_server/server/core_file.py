"""What the system would write of a process that crashes."""

import resource


def write_no_core_file() -> None:
    """None is written of this process or its children, because it would hold keys that were just seen. Whoever wants
    one all the same can raise the limit again, with ``prlimit --core``.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
