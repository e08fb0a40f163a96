from pathlib import Path

import bcrypt
import pytest

from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.benchmarks.figures import Quantity
from tests.benchmarks.keys_at_hand import opened_ring
from tests.benchmarks.noop_server import cold_keys, without_usage
from tests.benchmarks.storm import KEYS_IN_TURN, both


def test_keys_that_are_to_be_cold_are_proven_by_bcrypt_at_each_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = 0
    check = bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        nonlocal checks
        checks += 1
        return check(password, hashed)

    with opened_ring(tmp_path / "keys.db", bcrypt_cost=CHEAPEST_COST) as opened:
        keys = opened.add_keys(KEYS_IN_TURN)
        cold = cold_keys(opened.ring.verifier, CHEAPEST_COST)
        monkeypatch.setattr(bcrypt, "checkpw", counted)
        for _ in range(3):
            for key in keys:
                opened.runner.run(cold.verify(key.reveal()))
    assert checks == 3 * KEYS_IN_TURN


def test_a_verifier_without_usage_notes_none(tmp_path: Path) -> None:
    with opened_ring(tmp_path / "keys.db", bcrypt_cost=CHEAPEST_COST) as opened:
        (key,) = opened.add_keys(1)
        opened.runner.run(without_usage(opened.ring.verifier).verify(key.reveal()))
    with opened_ring(tmp_path / "keys.db", bcrypt_cost=CHEAPEST_COST) as opened:
        (user,) = opened.runner.run(opened.ring.administration.list_keys())
        assert user.last_used_at is None


def test_two_that_work_at_once_are_measured_once_in_each_round_whoever_begins() -> None:
    measured = iter(range(10))

    def measure() -> tuple[dict[Quantity, float], dict[Quantity, float]]:
        number = float(next(measured))
        return {Quantity.RATE: number}, {Quantity.P99: number}

    one, other = both(measure)
    assert [one(), other(), other(), one()] == [
        {Quantity.RATE: 0},
        {Quantity.P99: 0},
        {Quantity.P99: 1},
        {Quantity.RATE: 1},
    ]
