"""Five hundred people call at once, and Reddit allows a hundred requests a minute: all are answered, in time."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

MANY = 500
ALLOWED = 100


@pytest.mark.timeout(600)
def test_five_hundred_mentions_are_answered_within_the_requests_that_reddit_allows(
    server, gray_photo, quick_service, here, record_property
):
    server.subreddit("OldPhotos", allowed_media=["static"])
    url = server.picture("a.jpg", gray_photo(size=(24, 18)))
    people = [server.person(f"person{number}") for number in range(MANY)]
    posts = [server.person("ann").post("OldPhotos", f"Photo {number}", url=url) for number in range(MANY)]
    mentions = [one.comment(post, "u/colorizebot please") for one, post in zip(people, posts, strict=True)]
    bot = here(bot_service_url=quick_service.url, bot_subreddit_limit=0, bot_ignore_bottiquette=False)
    times: list[float] = []
    bot.rate_limit.keep_time_by(lambda: bot.ahead)
    bot.rate_limit.on_request = lambda: times.append(bot.ahead)
    bot.work(lambda: not server.bot.unread(), rounds=500)
    waited = bot.ahead

    answered = Counter(comment.parent.fullname for comment in server.bot.comments())
    assert answered == Counter(mention.fullname for mention in mentions), "each once, none forgotten"
    assert bot.states() == {"replied": MANY}
    assert Counter(quick_service.sent).most_common(1)[0][1] == 1, "nothing is colored twice"
    in_a_minute = max(sum(start <= at < start + 60 for at in times) for start in times)
    assert in_a_minute <= ALLOWED
    assert len(times) == sum(not call.path.startswith(("/i/", "/uploaded-media")) for call in server.calls), (
        "all are counted"
    )
    each = len(times) / MANY
    record_property("requests an answer", each)
    record_property("minutes", waited / 60)
    sys.stdout.write(f"{each:.2f} requests an answer, {waited / 60:.1f} minutes of waiting for all\n")
    pictures = sum(bool(comment.media) for comment in server.bot.comments())
    assert 0 < pictures < MANY / 10, "they are for calmer times"
    assert each < 1.3
    assert waited < 60 * 1.1 * len(times) / 90, "it does not dawdle either"
    assert server.unknown == []
