"""Who is accepted, who is not, and what is said of it."""

from __future__ import annotations

import asyncio
import socket
import threading
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import glacier_tee as glacier


def test_what_was_accepted_is_told(session: glacier.Session) -> None:
    assert session.platform == "simulated"
    assert session.simulated
    assert len(session.measurement) == len(session.enclave_id or "") == 64
    assert session.enclave.post_quantum
    assert all(check.outcome == "pass" for check in session.checks if check.id != "advisories")
    assert len({check.id for check in session.checks}) > 10


def test_simulated_is_said(node: glacier.Node, session: glacier.Session, model: Path, tumours: pd.DataFrame) -> None:
    result = session.infer(model, tumours)
    for value in (node, session, result, result.proof):
        assert "SIMULATED" in repr(value)
    assert "simulated" in repr(node.policy)


def test_a_policy_in_every_form(node: glacier.Node, tmp_path: Path) -> None:
    text = node.policy.to_toml()
    file = tmp_path / "policy.toml"
    file.write_text(text)
    for policy in (node.policy, text, str(file), file, tomllib.loads(text)):
        with glacier.connect(node.url, policy) as session:
            assert session.checks


def test_another_measurement_is_not_accepted(node: glacier.Node) -> None:
    policy = tomllib.loads(node.policy.to_toml()) | {"measurements": ["00" * 32]}
    with pytest.raises(glacier.NotAccepted) as caught:
        glacier.connect(node.url, policy)
    assert [check.id for check in caught.value.failed] == ["policy-code"]
    assert "nothing was sent" in str(caught.value)


def test_the_strict_policy_refuses_what_is_simulated(node: glacier.Node) -> None:
    with pytest.raises(glacier.NotAccepted) as caught:
        glacier.connect(node.url, {})
    assert caught.value.checks
    assert all(check.reason for check in caught.value.checks if check.outcome == "fail")


def test_a_policy_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(glacier.PolicyError, match="did you mean `measurements`"):
        glacier.connect("http://127.0.0.1:1", {"measurement": []})
    with pytest.raises(glacier.PolicyError, match="line 1"):
        glacier.connect("http://127.0.0.1:1", "platforms = [")
    with pytest.raises(glacier.PolicyError, match=r"absent\.toml"):
        glacier.connect("http://127.0.0.1:1", tmp_path / "absent.toml")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:8480", "https://localhost"])
def test_nobody_answers(node: glacier.Node, url: str) -> None:
    with pytest.raises(glacier.NodeUnreachable):
        glacier.connect(url, node.policy)


def test_a_handshake_that_breaks_off_is_no_verdict(node: glacier.Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with server.accept()[0] as peer:
                peer.recv(1)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(glacier.NodeUnreachable, match="try again"):
            glacier.connect(f"http://127.0.0.1:{server.getsockname()[1]}", node.policy)
        thread.join()


def test_a_closed_session_says_so(node: glacier.Node, model: Path) -> None:
    session = node.connect()
    session.close()
    assert "closed" in repr(session)
    with pytest.raises(glacier.GlacierError, match="connect again"):
        session.infer(model, np.zeros((1, 30), np.float32))


def test_fresh_evidence(node: glacier.Node) -> None:
    assert node.connect(fresh=True).checks


def test_async_sessions_work_side_by_side(node: glacier.Node, model: Path, tumours: pd.DataFrame) -> None:
    async def main() -> None:
        async with await node.aconnect() as session:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.005)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            one, two = await asyncio.gather(session.infer(model, tumours), session.infer(model, tumours.head(5)))
            ticking.cancel()
            assert (len(one), len(two)) == (len(tumours), 5)
            assert ticks > 0, "the loop stood still"
            name = await session.serve(model)
            assert (await session.infer(name, tumours.head(3))).labels == (one.labels or [])[:3]

    asyncio.run(main())


def test_a_call_that_is_given_up_takes_no_other_with_it(node: glacier.Node, model: Path, tumours: pd.DataFrame) -> None:
    async def main() -> None:
        async with await node.aconnect() as session:
            name = await session.serve(model)
            many = np.tile(tumours.to_numpy(np.float32), (100, 1))
            given_up = 0
            for wait in (0.001, 0.005, 0.02, 0.05, 0.1):
                long = asyncio.create_task(session.infer(name, many))
                beside = asyncio.gather(*(session.infer(name, tumours.head(rows)) for rows in (1, 2, 3)))
                try:
                    await asyncio.wait_for(long, wait)
                except TimeoutError:
                    given_up += 1
                after = await session.infer(name, tumours.head(4))
                assert [len(result) for result in (*await beside, after)] == [1, 2, 3, 4]
            assert given_up

    asyncio.run(main())


def test_more_calls_at_once_than_connections(node: glacier.Node, model: Path, tumours: pd.DataFrame) -> None:
    async def main() -> None:
        async with await node.aconnect() as session:
            name = await session.serve(model)
            results = await asyncio.gather(*(session.infer(name, tumours.head(rows)) for rows in range(1, 21)))
            assert [len(result) for result in results] == list(range(1, 21))

    asyncio.run(main())


def test_there_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(glacier.GlacierError, match="cargo xtask build"):
        glacier.local_node(program=tmp_path / "glacier")
