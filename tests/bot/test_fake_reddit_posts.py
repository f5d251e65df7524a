"""Posts and uploads at the fake Reddit, made by the real PRAW."""

from __future__ import annotations

from pathlib import Path

import httpx
import praw
import pytest
import requests
from fake_reddit import Server


@pytest.fixture
def uploader(server: Server, tmp_path: Path) -> praw.Reddit:
    """PRAW that trusts the authority of the store behind uploads."""
    session = requests.Session()
    session.trust_env = False  # REQUESTS_CA_BUNDLE would go before `verify`
    session.verify = server.ports.certificate(tmp_path / "authority.pem")
    return praw.Reddit(**server.settings(), requestor_kwargs={"session": session})


def test_a_picture_is_uploaded_and_posted(server: Server, uploader: praw.Reddit) -> None:
    media = praw.models.PostMedia(b"a picture", name="grandma.png")
    profile = uploader.subreddit("u_colorizebot")
    assert profile.submit("Grandma, in color", image=media, without_websockets=True, nsfw=True) is None
    (post,) = uploader.redditor("colorizebot").submissions.new()
    assert (post.title, post.subreddit, post.over_18) == ("Grandma, in color", "u_colorizebot", True)
    shown = httpx.get(post.url)
    assert (shown.content, shown.headers["content-type"]) == (b"a picture", "image/png")
    with pytest.raises(praw.exceptions.WebSocketException):
        profile.submit("Grandma again", image=media)


def test_uploads_need_a_lease_and_a_size(server: Server, uploader: praw.Reddit) -> None:
    store = f"{server.site.tls_url}/uploaded-media"
    form = {"key": "uploads/mine.png", "policy": "a policy"}
    session = uploader._core.requestor._http
    assert session.post(store, data=form, files={"file": b"x"}).status_code == 403
    big = praw.models.PostMedia(b"x" * (20 * 2**20 + 1), name="big.png")
    with pytest.raises(praw.exceptions.TooLargeMediaException):
        uploader.subreddit("u_colorizebot").submit("Big", image=big, without_websockets=True)
    session.verify = True
    with pytest.raises(requests.exceptions.SSLError):
        session.post(store, data=form, timeout=5)


def test_posts_of_all_kinds(server: Server, uploader: praw.Reddit) -> None:
    server.subreddit("pics")
    pics = uploader.subreddit("pics")
    words = pics.submit("Words", selftext="in a post")
    link = pics.submit("A link", url="https://example.org/a.jpg")
    cross = link.crosspost("u_colorizebot")
    media = [{"media": praw.models.PostMedia(data, name="a.png")} for data in (b"one", b"two")]
    gallery = pics.submit("Two", gallery=media)
    assert (words.selftext, words.is_self, words.domain) == ("in a post", True, "self.pics")
    assert (link.url, link.is_self, link.domain) == ("https://example.org/a.jpg", False, "example.org")
    assert (cross.crosspost_parent, cross.url) == (link.fullname, link.url)
    order = [item["media_id"] for item in gallery.gallery_data["items"]]
    urls = [gallery.media_metadata[name]["s"]["u"] for name in order]
    assert [httpx.get(url).content for url in urls] == [b"one", b"two"]
    with pytest.raises(praw.exceptions.RedditAPIException, match="SUBREDDIT_NOEXIST"):
        uploader.subreddit("never").submit("Words", selftext="")
