"""Which precision `auto` is, and what finding out leaves alone."""

import pytest
import torch

from diffens_core.networks import precision
from diffens_core.networks.precision import PRECISIONS, autocast, block_times, fastest_precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def asked_anew():
    """No answer from before the test, and none after it."""
    fastest_precision.cache_clear()
    yield
    fastest_precision.cache_clear()


def measured(monkeypatch, float32: float, bf16: float, fast: bool = True) -> list:
    """Let the machine have these times; a list that grows with each measurement."""
    calls = []
    monkeypatch.setattr(precision, "has_fast_bf16", lambda _: fast)
    monkeypatch.setattr(precision, "block_times", lambda: calls.append(1) or {"float32": float32, "bf16": bf16})
    return calls


@pytest.mark.parametrize("float32, bf16, expected", [(2, 1, "bf16"), (1, 2, "float32"), (1, 1.05, "bf16")])
def test_auto_is_what_is_faster_and_bf16_where_they_are_close(monkeypatch, float32, bf16, expected):
    calls = measured(monkeypatch, float32, bf16)
    for _ in range(2):
        with autocast(CPU):
            assert torch.is_autocast_enabled("cpu") == (expected == "bf16")
    assert fastest_precision(CPU) == expected and len(calls) == 1


def test_emulated_bf16_is_not_even_tried(monkeypatch):
    calls = measured(monkeypatch, 2, 1, fast=False)
    assert fastest_precision(CPU) == "float32" and not calls


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_given_precision_is_not_measured(monkeypatch, precision):
    calls = measured(monkeypatch, 2, 1)
    with autocast(CPU, precision):
        assert torch.is_autocast_enabled("cpu") == (precision == "bf16")
    assert not calls


def test_other_names_are_refused():
    with pytest.raises(ValueError, match="unknown precision 'fp8'"):
        autocast(CPU, "fp8")


@pytest.mark.skipif(not precision.has_fast_bf16(CPU), reason="emulated bf16 would take minutes")
def test_measuring_works_during_inference_and_draws_no_random_numbers():
    state = torch.get_rng_state()
    with torch.inference_mode(), torch.device("meta"):
        times = block_times(rounds=1)
    assert set(times) == {*PRECISIONS} - {"auto"} and min(times.values()) > 0
    assert torch.equal(torch.get_rng_state(), state)
