"""Kind 9: messages that a kernel never hears."""

import time

import pytest
from jupyter_client.manager import KernelManager, start_new_kernel

ROUNDS, REQUESTS = 20, 20  # without `keep_listening` the kernel goes deaf on the way


@pytest.fixture(params=[[], ["--IPKernelApp.extensions=[]"]], ids=["from its start", "from the first panel"])
def client(request):
    manager, client = start_new_kernel(kernel_name="python3", extra_arguments=request.param)
    if request.param:
        client.execute_interactive("import course_utils.live", timeout=120)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_kernel_answers_whatever_comes_while_it_answers(client):
    for _ in range(ROUNDS):
        waiting = set()
        for number in range(REQUESTS):
            waiting.add(client.execute("1", silent=True))
            time.sleep(number % 5 / 1000)
        while waiting:
            waiting.discard(client.get_shell_msg(timeout=20)["parent_header"]["msg_id"])


@pytest.mark.parametrize("_", range(6))  # of kernels that throw messages away at their start, a third to a half do
def test_a_kernel_answers_what_was_asked_before_it_listened(_):
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        waiting = set()
        for _ in range(100):  # over the two seconds, at most, in which it starts
            waiting.add(client.kernel_info())
            time.sleep(0.02)
        while waiting:
            waiting.discard(client.get_shell_msg(timeout=20)["parent_header"]["msg_id"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
