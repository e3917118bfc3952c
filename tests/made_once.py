"""What tests of several processes need and one of them makes, in whatever order they come: pytest -n."""

import os
from contextlib import contextmanager


def shared_folder(tmp_path_factory):
    """The session's, of all processes."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@contextmanager
def locked(path):
    """Others wait; the lock of a process that dies is free again."""
    import fcntl  # Linux has it, and so do the builds that are shared

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def made_once(path, make):
    """path, a file or a folder, as make(another name) has made it: what has the name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f"{path.name}.lock")):
        if not path.exists():
            new = path.with_name(f"{path.name}.new")
            make(new)
            new.rename(path)
    return path
