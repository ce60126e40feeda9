import signal
import threading

import pytest

from gpu_runner.run.control import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_only_asks(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert not stop.requested()
        signal.raise_signal(number)
        assert stop.requested()
        assert stop.reason == number.name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_control_c_after_another_signal_leaves_at_once(number: signal.Signals) -> None:
    with StopRequest():
        signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_sigterm_never_means_more_by_coming_again() -> None:
    """Slurm sends it to every process of a step, and torchrun passes on what it gets."""
    with StopRequest() as stop:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert stop.reason == "SIGTERM"


def test_a_terminal_that_nohup_ignores_is_not_watched() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.requested()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_nothing_is_watched() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def watch() -> None:
        with StopRequest():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert seen == [before]
