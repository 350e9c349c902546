"""A kernel that hears every message: an extension of IPython, and what a panel asks for where it is not loaded."""

from IPython import get_ipython

LOOK_EVERY = 0.1  # seconds


def load_ipython_extension(shell) -> None:
    """From the kernel's start: `binder/ipython_kernel_config.json`, which set-up copies to where IPython looks."""
    keep_listening()


def keep_listening() -> None:
    """Look for messages ten times a second: ipykernel 7.0 to 7.3 may miss that one has come, and is deaf from then on.

    It sends replies past the stream that reads requests from the same socket, and a request that arrives meanwhile
    wakes nobody (as ipykernel 7.4, which has other faults, says in `_send_on_shell_channel`).
    """
    kernel = getattr(get_ipython(), "kernel", None)
    thread, stream = getattr(kernel, "shell_channel_thread", None), getattr(kernel, "shell_stream", None)
    if not thread or not stream or getattr(kernel, "keeps_listening", False):
        return
    kernel.keeps_listening = True

    def look():
        if not stream.closed():
            thread.io_loop.call_later(LOOK_EVERY, look)  # first: an error in a message must not end it
            if stream.receiving():  # before the kernel has said who reads them, messages would be thrown away
                stream.flush(limit=1)

    thread.io_loop.add_callback(look)
