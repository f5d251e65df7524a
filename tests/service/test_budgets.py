"""Megapixels a minute, by key and by address."""

from __future__ import annotations

import pytest

from service.budgets import Quota, network
from service.errors import Problem
from service.settings import Settings

MEGAPIXEL = 1_000_000


@pytest.fixture
def clock(monkeypatch):
    """Time as the quota sees it, to be set by hand."""
    now = [1_800_000_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def quota(client, **settings: object) -> Quota:
    return Quota(client, Settings(**settings))


def test_a_minute_has_so_many_megapixels_and_the_refusal_says_when_there_is_room(client, clock):
    limited = quota(client, quota_megapixels_per_minute=10)
    headers = limited.charge("", "1.2.3.4", 6 * MEGAPIXEL)
    assert headers == {"RateLimit-Policy": '"megapixels";q=10;w=60', "RateLimit": '"megapixels";r=4;t=60'}
    clock[0] += 20
    assert limited.charge("", "1.2.3.4", 3 * MEGAPIXEL)["RateLimit"] == '"megapixels";r=1;t=40'

    with pytest.raises(Problem, match="rate_limited") as small:
        limited.charge("", "1.2.3.4", 2 * MEGAPIXEL)
    assert small.value.headers["Retry-After"] == "40", "when the six of the beginning are a minute old"
    assert small.value.headers["RateLimit"] == '"megapixels";r=1;t=40'
    assert "2 megapixels" in small.value.detail
    with pytest.raises(Problem, match="rate_limited") as large:
        limited.charge("", "1.2.3.4", 8 * MEGAPIXEL)
    assert large.value.headers["Retry-After"] == "60", "for this the later three have to go as well"

    clock[0] += 40.5
    assert limited.charge("", "1.2.3.4", 2 * MEGAPIXEL)
    with pytest.raises(Problem, match="rate_limited"):
        limited.charge("", "1.2.3.4", 8 * MEGAPIXEL)


def test_what_is_refused_costs_nothing(client, clock):
    limited = quota(client, quota_megapixels_per_minute=10)
    limited.charge("", "1.2.3.4", 6 * MEGAPIXEL)
    for _ in range(5):
        with pytest.raises(Problem, match="rate_limited"):
            limited.charge("", "1.2.3.4", 5 * MEGAPIXEL)
    limited.charge("", "1.2.3.4", 4 * MEGAPIXEL)


def test_a_photo_counts_whole_megapixels_and_never_more_than_there_are(client, clock):
    limited = quota(client, quota_megapixels_per_minute=3)
    assert "r=2" in limited.charge("", "a small photo", 64)["RateLimit"]
    assert "r=1" in limited.charge("", "a bit more than one", MEGAPIXEL + 1)["RateLimit"]
    assert "r=0" in limited.charge("", "larger than all", 50 * MEGAPIXEL)["RateLimit"]
    with pytest.raises(Problem, match="rate_limited") as refused:
        limited.charge("", "larger than all", 50 * MEGAPIXEL)
    assert refused.value.headers["Retry-After"] == "60"


def test_keys_and_addresses_are_charged_apart(client):
    limited = quota(client, quota_megapixels_per_minute=1)
    for owner, address in (("aa", "1.1.1.1"), ("bb", "1.1.1.1"), ("", "1.1.1.1"), ("", "1.1.1.2")):
        limited.charge(owner, address, 1)
    with pytest.raises(Problem, match="rate_limited"):
        limited.charge("aa", "9.9.9.9", 1)  # a key is the same from anywhere


def test_an_address_of_ipv6_is_its_network(client):
    assert network("2001:db8:1:2:3:4:5:6") == network("2001:db8:1:2::1") != network("2001:db8:1:3::1")
    assert network("::ffff:1.2.3.4") == network("1.2.3.4") == "1.2.3.4"
    assert network("fe80::1%eth0") == network("fe80::2")
    assert network("a socket") == "a socket"
    limited = quota(client, quota_megapixels_per_minute=1)
    limited.charge("", "2001:db8:1:2::1", 1)
    with pytest.raises(Problem, match="rate_limited"):
        limited.charge("", "2001:db8:1:2::2", 1)


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
        unlimited = quota(client, **settings)
        assert [unlimited.charge("", "1.1.1.1", 50 * MEGAPIXEL) for _ in range(100)] == [{}] * 100


def test_what_is_given_back_can_be_spent_again_and_no_more_than_that(client, clock):
    limited = quota(client, quota_megapixels_per_minute=10)
    for sender in (("", "1.2.3.4"), ("0123456789ab", "")):
        limited.charge(*sender, 3 * MEGAPIXEL)
        limited.charge(*sender, 6 * MEGAPIXEL)
        limited.give_back(*sender, 6 * MEGAPIXEL)
        assert "r=0" in limited.charge(*sender, 7 * MEGAPIXEL)["RateLimit"]
        with pytest.raises(Problem, match="rate_limited"):
            limited.charge(*sender, MEGAPIXEL)
    quota(client, quota_megapixels_per_minute=0).give_back("", "1.2.3.4", MEGAPIXEL)
