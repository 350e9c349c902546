"""Kind 9: messages that a kernel never hears."""

import time

import pytest
from jupyter_client.manager import start_new_kernel

ROUNDS, REQUESTS = 20, 20  # without `keep_listening` the kernel goes deaf on the way


@pytest.fixture
def client():
    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_kernel_with_a_panel_answers_whatever_comes_while_it_answers(client):
    client.execute_interactive("import course_utils.live", timeout=120)
    for _ in range(ROUNDS):
        waiting = set()
        for number in range(REQUESTS):
            waiting.add(client.execute("1", silent=True))
            time.sleep(number % 5 / 1000)
        while waiting:
            waiting.discard(client.get_shell_msg(timeout=20)["parent_header"]["msg_id"])
