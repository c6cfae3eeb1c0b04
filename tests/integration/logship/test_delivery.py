"""The companion as a process: sinks that are down, hang, lose answers; kill -9 of it; what cannot be read."""

import asyncio
import random
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.integration.logship.conftest import companion
from tests.polling import eventually_async
from tests.unit.logship.test_logship_lines import line


@pytest.fixture
def shipping(tmp_path, sinks):
    with companion(tmp_path, sinks.addresses[0]) as one:
        yield one


class Writer:
    """Writes as Envoy does: whole lines most of the time, in one append."""

    def __init__(self, path) -> None:
        self._path = path
        self.written = 0

    def write(self, count: int) -> None:
        with self._path.open("ab") as file:
            for _ in range(count):
                file.write(b"\n" + line(request_id=b"r%d" % self.written) + b"\n")
                self.written += 1


async def test_what_envoy_writes_arrives_in_both(shipping, sinks):
    envoy = Writer(shipping.log)
    shipping.start()
    envoy.write(10)
    await eventually_async(lambda: sinks.all_have(10), within=30)
    envoy.write(5000)
    await eventually_async(lambda: sinks.all_have(5010))
    assert {proxy for proxy, _ in sinks.costs.committed} == {"envoy"}
    assert sinks.costs.committed == sinks.exposures.committed


async def test_one_sink_that_is_down_or_hangs_never_delays_the_other(shipping, sinks):
    envoy = Writer(shipping.log)
    shipping.start()
    for trouble in ("fails", "hangs"):
        setattr(sinks.exposures, trouble, True)
        before = sinks.exposures.calls
        envoy.write(10)
        await eventually_async(lambda: len(sinks.costs.seen) == envoy.written, within=30)
        await eventually_async(lambda before=before: sinks.exposures.calls > before)
        assert len(sinks.exposures.seen) < envoy.written
        envoy.write(10)
        await eventually_async(lambda: len(sinks.costs.seen) == envoy.written)
        setattr(sinks.exposures, trouble, False)
        if trouble == "hangs":
            # the call that hangs would be given up after its deadline; a dying service ends it now
            await sinks.stop()
            await sinks.start()
        await eventually_async(lambda: sinks.all_have(envoy.written), within=40)


async def test_an_answer_that_is_lost_costs_nothing(shipping, sinks):
    envoy = Writer(shipping.log)
    sinks.costs.forgets_to_answer = True
    shipping.start()
    envoy.write(10)
    await eventually_async(lambda: sinks.costs.calls > 3, within=30)
    envoy.write(10)
    sinks.costs.forgets_to_answer = False
    await eventually_async(lambda: sinks.all_have(20))


async def test_kill_9_at_any_moment_loses_nothing_and_tells_nothing_twice(shipping, sinks):
    envoy = Writer(shipping.log)
    chance = random.Random(20261121)
    for round_ in range(6):
        shipping.start()
        calls = sinks.costs.calls + sinks.exposures.calls
        sinks.costs.forgets_to_answer = round_ % 3 == 2
        for _ in range(chance.randrange(1, 4)):
            envoy.write(chance.randrange(1, 3000))
        wanted = calls + chance.randrange(1, 5)
        await eventually_async(
            lambda wanted=wanted: sinks.costs.calls + sinks.exposures.calls >= wanted or sinks.all_have(envoy.written),
            within=30,
        )
        shipping.kill()
    sinks.costs.forgets_to_answer = False
    shipping.start()
    await eventually_async(lambda: sinks.all_have(envoy.written), within=30)


async def test_sinks_that_die_and_come_back_get_the_rest(shipping, sinks):
    envoy = Writer(shipping.log)
    shipping.start()
    for _ in range(3):
        envoy.write(500)
        await eventually_async(lambda: sinks.all_have(envoy.written), within=30)
        await sinks.stop()
        envoy.write(500)
        await sinks.start()
    await eventually_async(lambda: sinks.all_have(envoy.written), within=30)


async def test_places_that_are_lost_or_spoilt_are_found_again_at_the_sinks(shipping, sinks):
    envoy = Writer(shipping.log)
    for spoil in (
        lambda path: path.unlink(missing_ok=True),
        lambda path: path.write_text("{"),
        lambda path: path.write_bytes(b""),
    ):
        shipping.start()
        envoy.write(100)
        await eventually_async(lambda: sinks.all_have(envoy.written), within=30)
        shipping.kill()
        spoil(shipping.state / "cost_tracking.json")
        spoil(shipping.state / "experimentation.json")
    envoy.write(100)
    shipping.start()
    await eventually_async(lambda: sinks.all_have(envoy.written), within=30)


async def test_what_cannot_be_read_is_counted_and_kept(shipping, sinks):
    envoy = Writer(shipping.log)
    envoy.write(3)
    with shipping.log.open("ab") as file:
        file.write(b"\n\xff garbage\n\n1\tcut")
    envoy.write(3)
    shipping.start()
    await eventually_async(lambda: sinks.all_have(6), within=30)
    assert sinks.costs.unreadable == sinks.exposures.unreadable == 2
    kept = shipping.state / "unreadable.jsonl"
    await eventually_async(lambda: len(kept.read_text().splitlines()) == 2)
    metrics = await eventually_async(lambda: urllib.request.urlopen(f"http://{shipping.metrics}").read().decode())
    assert "penstock_logship_unreadable_lines_total 2.0" in metrics
    assert 'penstock_logship_delivered_records_total{sink="cost_tracking"} 6.0' in metrics


async def test_lag_is_told_while_a_sink_is_down(shipping, sinks):
    sinks.costs.fails = True
    envoy = Writer(shipping.log)
    envoy.write(10)
    shipping.start()
    await eventually_async(lambda: len(sinks.exposures.seen) == 10, within=30)

    def lag(sink, unit):
        text = urllib.request.urlopen(f"http://{shipping.metrics}").read().decode()
        return next(
            float(row.split()[-1])
            for row in text.splitlines()
            if row.startswith(f'penstock_logship_lag_{unit}{{sink="{sink}"}}')
        )

    await eventually_async(lambda: lag("cost_tracking", "bytes") == shipping.log.stat().st_size)
    assert lag("cost_tracking", "seconds") > 0
    await eventually_async(lambda: (lag("experimentation", "bytes"), lag("experimentation", "seconds")) == (0, 0))
    sinks.costs.fails = False
    await eventually_async(lambda: (lag("cost_tracking", "bytes"), lag("cost_tracking", "seconds")) == (0, 0))


async def test_sigterm_ends_it_cleanly_and_it_goes_on_where_it_was(shipping, sinks):
    envoy = Writer(shipping.log)
    for _ in range(2):
        process = shipping.start()
        envoy.write(10)
        await eventually_async(lambda: sinks.all_have(envoy.written), within=30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


async def test_two_on_one_state_are_one_too_many(shipping, sinks):
    Writer(shipping.log).write(1)
    shipping.start()
    await eventually_async(lambda: sinks.all_have(1), within=30)
    second = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.envoy.logship", env=shipping._variables, stderr=subprocess.PIPE
    )
    _, errors = await second.communicate()
    assert second.returncode == 1
    assert b"another companion is at work" in errors


def test_faults_of_the_environment_are_told_at_once():
    done = subprocess.run([sys.executable, "-m", "deploy.envoy.logship"], env={}, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count(b" is not set") == 4
