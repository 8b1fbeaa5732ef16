"""Whose turn it is: shares by time, batches behind, the loaded engine a little before, and nobody starves.

``Device`` simulates clients and one device in seconds of its own. What is fair is told by ``share_ends``.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from overpaint_backend.jobs.lineup import LineUp
from overpaint_backend.jobs.shares import Client, Waiting
from overpaint_protocol.messages import SessionId

PATIENCE = 1.25
"""What the project promises: nobody waits for more than this many times what its share needs, and a run of each other."""

LEAD_S = 10.0
"""The advantage in seconds that the loaded engine may give another client."""


@dataclass(frozen=True)
class Order:
    """A job that somebody will ask for."""

    name: str
    at_s: float
    takes_s: float
    is_batch: bool = False
    engine: str = ""
    principal: str = ""

    @property
    def client(self):
        return Client(self.principal or self.name, SessionId(self.name))


@dataclass
class Device:
    """Runs orders, given in the order of their coming, as the line-up says."""

    orders: list[Order]
    line_up: LineUp = field(default_factory=LineUp)
    started: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)

    def run(self):
        now = 0.0
        coming = list(range(len(self.orders)))
        while coming or len(self.line_up):
            job = None
            if not len(self.line_up):
                now = max(now, self.orders[coming[0]].at_s)
            self._come(coming, now)
            _, job = self.line_up.next([0])
            self.line_up.start(job, 0)
            self.started[job.key] = now
            end = now + self.orders[job.key].takes_s
            while coming and self.orders[coming[0]].at_s < end:
                at_s = self.orders[coming[0]].at_s
                self.line_up.passed(at_s - now)
                now = at_s
                self._come(coming, now)
            self.line_up.passed(end - now)
            self.line_up.end(0)
            now = self.ended[job.key] = end
        return self

    def _come(self, coming, now):
        while coming and self.orders[coming[0]].at_s <= now:
            key = coming.pop(0)
            order = self.orders[key]
            waiting = Waiting(key=key, client=order.client, is_batch=order.is_batch, engine=order.engine)
            self.line_up.add(waiting)

    @property
    def ran(self):
        return "".join(
            self.orders[key].name for key in sorted(self.started, key=lambda key: self.started[key])
        )


def share_ends(orders):
    """When each order would end if its client had a device of its own, as fast as its share: one part of as many as clients."""
    parts = len({order.name for order in orders})
    free_at: dict[str, float] = {}
    ends = []
    for order in orders:
        end = max(order.at_s, free_at.get(order.name, 0.0)) + parts * order.takes_s
        free_at[order.name] = end
        ends.append(end)
    return ends


def longest_of_others(orders, name):
    longest = defaultdict(float)
    for order in orders:
        if order.name != name:
            longest[order.name] = max(longest[order.name], order.takes_s)
    return sum(longest.values())


def check_shares(orders, *, patience=1.0, lead_s=0.0):
    """Each order ends in ``patience`` times what the client's share needs for it, and a run and ``lead_s`` of each other."""
    device = Device(orders).run()
    others = len({order.name for order in orders}) - 1
    for key, (order, end) in enumerate(zip(orders, share_ends(orders), strict=True)):
        allowed_s = patience * (end - order.at_s) + longest_of_others(orders, order.name) + others * lead_s
        assert device.ended[key] - order.at_s <= allowed_s + 1e-6, (key, device.ran)


ORDERS = st.lists(
    st.builds(
        Order,
        name=st.sampled_from("ABCDE"),
        at_s=st.integers(0, 40).map(float),
        takes_s=st.sampled_from([0.5, 1.0, 3.0, 20.0]),
        engine=st.sampled_from(["one", "two", "three"]),
    ),
    min_size=1,
    max_size=40,
).map(lambda orders: sorted(orders, key=lambda order: order.at_s))


@given(ORDERS)
def test_nobody_waits_for_more_than_its_share_and_one_run_of_each_other(orders):
    check_shares([replace(order, engine="") for order in orders])


@given(ORDERS)
def test_the_loaded_engine_delays_nobody_by_more_than_its_lead(orders):
    check_shares(orders, lead_s=LEAD_S)


@given(ORDERS, st.data())
def test_batches_delay_nobody_by_more_than_a_quarter_and_one_of_their_runs(orders, data):
    is_batch = {name: data.draw(st.booleans(), name) for name in "ABCDE"}
    orders = [replace(order, engine="", is_batch=is_batch[order.name]) for order in orders]
    device = Device(orders).run()
    assert len(device.ended) == len(orders), "a batch is done as well"
    prompt = [order for order in orders if not order.is_batch]
    ends = iter(share_ends(prompt))
    longest_batch_s = max((order.takes_s for order in orders if order.is_batch), default=0.0)
    for key, order in enumerate(orders):
        if not order.is_batch:
            allowed_s = PATIENCE * (next(ends) - order.at_s) + PATIENCE * longest_of_others(
                prompt, order.name
            )
            assert device.ended[key] - order.at_s <= allowed_s + 2 * longest_batch_s + 1e-6, (key, device.ran)


def test_shares_go_by_time_and_not_by_job():
    orders = [Order("L", 0, 10.0)] * 4 + [Order("s", 0, 1.0)] * 40
    ran = Device(orders).run().ran
    assert ran.startswith("L" + "s" * 10 + "L"), ran
    assert sorted(ran) == sorted("L" * 4 + "s" * 40)


def test_who_was_idle_has_saved_nothing_up():
    busy = [Order("B", 0, 1.0)] * 40
    back = [Order("A", 0, 1.0), *busy, *[Order("A", 20.0, 1.0)] * 10]
    assert Device(back).run().ran[20:].startswith(("ABABABABAB", "BABABABABA"))


def test_who_had_the_idle_device_alone_owes_nothing():
    alone = [Order("A", 0, 100.0), Order("A", 0, 1.0), Order("A", 0, 1.0)]
    others = [Order("B", 99.0, 1.0)] * 4
    assert Device(alone + others).run().ran == "ABABABB"


def test_principals_share_the_device_and_then_their_sessions():
    one = [Order(name, 0, 1.0, principal="studio") for name in "abc" for _ in range(4)]
    other = [Order("Z", 0, 1.0, principal="home")] * 12
    ran = Device(one + other).run().ran
    assert ran[1::2] == "Z" * 12, ran
    assert all(set(ran[start : start + 6 : 2]) == set("abc") for start in range(0, 24, 6)), ran


def test_a_batch_waits_for_half_a_minute_of_what_people_wait_for():
    people = [Order("A", 0, 5.0)] * 10
    batch = [Order("b", 0, 5.0, is_batch=True)] * 2
    assert Device(people + batch).run().ran == "AAAAAAbAAAAb"


def test_a_batch_gets_a_tenth_in_the_long_run():
    people = [Order("A", 0, 5.0)] * 100
    batch = [Order("b", 0, 20.0, is_batch=True)] * 10
    ran = Device(people + batch).run().ran
    assert ran[:92].count("b") == 3, ran  # after 30 s, then after nine times their 20 s each


def test_the_loaded_engine_goes_first_until_its_lead_is_used_up():
    orders = [Order("A", 0, 4.0, engine="one")] * 8 + [Order("B", 0, 4.0, engine="two")] * 8
    assert Device(orders).run().ran == "AAABBBBBBAAAAABB"


def test_the_jobs_of_one_client_stay_in_their_order():
    orders = [Order("A", 0, 1.0, engine=engine) for engine in ("one", "two", "one", "two")]
    device = Device(orders).run()
    assert list(device.started) == [0, 1, 2, 3]


def test_the_order_that_is_told_is_the_one_in_which_jobs_run():
    rng = random.Random(5)
    line_up = LineUp()
    for key in range(60):
        client = Client(rng.choice("PQ"), SessionId(rng.choice("ABC")))
        job = Waiting(
            key=key,
            client=client,
            is_batch=rng.random() < 0.3,
            engine=rng.choice(["one", "two"]),
            expected_s=rng.choice([0.5, 2.0, 9.0]),
        )
        place = line_up.place_for(job, [0])
        line_up.add(job)
        assert line_up.order([0])[place] == key
    told = line_up.order([0])
    ran = []
    while (turn := line_up.next([0])) is not None:
        job = turn[1]
        ran.append(job.key)
        line_up.start(job, 0)
        line_up.passed(job.expected_s)
        line_up.end(0)
    assert ran == told


def test_an_interrupted_job_goes_before_all_others():
    line_up = LineUp()
    for key, name in enumerate("AAB"):
        line_up.add(Waiting(key=key, client=Client(name, SessionId(name))))
    _, job = line_up.next([0])
    line_up.start(job, 0)
    line_up.passed(100.0)
    line_up.end(0)
    line_up.add(job, is_interrupted=True)
    assert line_up.next([0]) == (0, job)
    line_up.remove(job.key)
    assert line_up.next([0])[1].client.principal == "B"
