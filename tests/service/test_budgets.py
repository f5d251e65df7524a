"""Megapixels a minute, by key and by address."""

from __future__ import annotations

import re

import pytest

from service.budgets import Quota, network
from service.errors import Problem
from service.settings import Settings

MEGAPIXEL = 1_000_000


class Sender:
    """Sends photos one after the other, each under a token of its own."""

    def __init__(self, quota: Quota, owner: str, address: str) -> None:
        self.quota, self.who, self.sent = quota, (owner, address), 0

    def charge(self, pixels: int) -> dict[str, str]:
        self.sent += 1
        return self.quota.charge(*self.who, pixels, f"{self.sent:04x}")

    def left_after(self, pixels: int) -> int:
        return int(re.search(r"r=(\d+)", self.charge(pixels)["RateLimit"])[1])


@pytest.fixture
def pass_time(client):
    """Let so many seconds pass, as the server sees what is charged."""

    def shift(seconds: float) -> None:
        for key in client.keys("{autochrome}:quota:*"):
            for charge in client.zrange(key, 0, -1):
                client.zincrby(key, -1000 * seconds, charge)

    return shift


def sender(client, owner: str = "", address: str = "1.2.3.4", **settings: object) -> Sender:
    return Sender(Quota(client, Settings(**settings)), owner, address)


def test_a_minute_has_so_many_megapixels_and_the_refusal_says_when_there_is_room(client, pass_time):
    limited = sender(client, quota_megapixels_per_minute=10)
    headers = limited.charge(6 * MEGAPIXEL)
    assert headers == {"RateLimit-Policy": '"megapixels";q=10;w=60', "RateLimit": '"megapixels";r=4;t=60'}
    pass_time(20)
    assert limited.charge(3 * MEGAPIXEL)["RateLimit"] == '"megapixels";r=1;t=40'

    with pytest.raises(Problem, match="rate_limited") as small:
        limited.charge(2 * MEGAPIXEL)
    assert small.value.headers["Retry-After"] == "40", "when the six of the beginning are a minute old"
    assert small.value.headers["RateLimit"] == '"megapixels";r=1;t=40'
    assert "2 megapixels" in small.value.detail
    with pytest.raises(Problem, match="rate_limited") as large:
        limited.charge(8 * MEGAPIXEL)
    assert large.value.headers["Retry-After"] == "60", "for this the later three have to go as well"

    pass_time(40.5)
    assert limited.charge(2 * MEGAPIXEL)
    with pytest.raises(Problem, match="rate_limited"):
        limited.charge(8 * MEGAPIXEL)
    pass_time(20)
    assert limited.left_after(8 * MEGAPIXEL) == 0, "the two of just now and these are all"
    assert client.zcard("{autochrome}:quota:address:1.2.3.4") == 2, "what is older is kept no more"


def test_what_is_refused_costs_nothing(client):
    limited = sender(client, quota_megapixels_per_minute=10)
    limited.charge(6 * MEGAPIXEL)
    for _ in range(5):
        with pytest.raises(Problem, match="rate_limited"):
            limited.charge(5 * MEGAPIXEL)
    limited.charge(4 * MEGAPIXEL)


def test_a_photo_counts_whole_megapixels_and_never_more_than_there_are(client):
    small, larger, largest = (
        sender(client, address=address, quota_megapixels_per_minute=3) for address in "abc"
    )
    assert small.left_after(64) == 2
    assert larger.left_after(MEGAPIXEL + 1) == 1
    assert largest.left_after(50 * MEGAPIXEL) == 0
    with pytest.raises(Problem, match="rate_limited") as refused:
        largest.charge(50 * MEGAPIXEL)
    assert refused.value.headers["Retry-After"] == "60"


def test_a_quota_that_was_made_smaller_meanwhile_is_used_up(client, pass_time):
    sender(client, quota_megapixels_per_minute=10).charge(9 * MEGAPIXEL)
    with pytest.raises(Problem, match="rate_limited") as refused:
        sender(client, quota_megapixels_per_minute=3).charge(2 * MEGAPIXEL)
    assert refused.value.headers["RateLimit"] == '"megapixels";r=0;t=60'
    pass_time(60)
    assert sender(client, quota_megapixels_per_minute=3).left_after(2 * MEGAPIXEL) == 1


def test_keys_and_addresses_are_charged_apart(client):
    for owner, address in (("aa", "1.1.1.1"), ("bb", "1.1.1.1"), ("", "1.1.1.1"), ("", "1.1.1.2")):
        sender(client, owner, address, quota_megapixels_per_minute=1).charge(1)
    again = sender(client, "aa", "9.9.9.9", quota_megapixels_per_minute=1)  # a key is the same from anywhere
    again.sent = 1
    with pytest.raises(Problem, match="rate_limited"):
        again.charge(1)


def test_an_address_of_ipv6_is_its_network(client):
    assert network("2001:db8:1:2:3:4:5:6") == network("2001:db8:1:2::1") != network("2001:db8:1:3::1")
    assert network("::ffff:1.2.3.4") == network("1.2.3.4") == "1.2.3.4"
    assert network("fe80::1%eth0") == network("fe80::2")
    assert network("a socket") == "a socket"
    sender(client, address="2001:db8:1:2::1", quota_megapixels_per_minute=1).charge(1)
    neighbor = sender(client, address="2001:db8:1:2::2", quota_megapixels_per_minute=1)
    neighbor.sent = 1
    with pytest.raises(Problem, match="rate_limited"):
        neighbor.charge(1)


@pytest.mark.parametrize(
    ("settings", "anonymous", "keyed"),
    [
        ({}, None, None),
        ({"host": "0.0.0.0"}, 600, None),
        ({"host": "0.0.0.0", "quota_megapixels_per_minute": 0}, None, None),
        ({"quota_megapixels_per_minute": 50}, 50, 50),
    ],
)
def test_who_is_limited_by_default(client, settings, anonymous, keyed):
    assert Settings(**settings).quota(anonymous=True) == anonymous
    assert Settings(**settings).quota(anonymous=False) == keyed
    if anonymous is None:
        unlimited = sender(client, **settings)
        assert [unlimited.charge(50 * MEGAPIXEL) for _ in range(100)] == [{}] * 100


@pytest.mark.parametrize("who", [("", "1.2.3.4"), ("0123456789ab", "")])
def test_what_is_given_back_can_be_spent_again_and_no_more_than_that(client, who):
    limited = Quota(client, Settings(quota_megapixels_per_minute=10))
    limited.charge(*who, 3 * MEGAPIXEL, "a")
    limited.charge(*who, 6 * MEGAPIXEL, "b")
    for _ in range(2):
        limited.give_back(*who, 6 * MEGAPIXEL, "b")
    assert "r=0" in limited.charge(*who, 7 * MEGAPIXEL, "c")["RateLimit"]
    with pytest.raises(Problem, match="rate_limited"):
        limited.charge(*who, MEGAPIXEL, "d")
    Quota(client, Settings(quota_megapixels_per_minute=0)).give_back(*who, MEGAPIXEL, "c")


def test_a_charge_whose_answer_was_lost_is_taken_once(client, lose_answers):
    limited = Quota(client, Settings(quota_megapixels_per_minute=10))
    lose_answers(2)
    assert "r=4" in limited.charge("", "1.2.3.4", 6 * MEGAPIXEL, "a")["RateLimit"]
    lose_answers(2)
    limited.give_back("", "1.2.3.4", 6 * MEGAPIXEL, "a")
    assert "r=0" in limited.charge("", "1.2.3.4", 10 * MEGAPIXEL, "b")["RateLimit"]
