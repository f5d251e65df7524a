"""Who comes from elsewhere: by another name, below a path, through a proxy, from another site's page."""

from __future__ import annotations

import socket

import pytest

from service.api.app import create_app
from service.errors import SettingsError
from service.settings import Settings

SITE = "https://photos.example"


def test_links_lead_to_the_public_address(settings, client, gray_photo, work, serve):
    api = serve(settings.model_copy(update={"public_url": "https://photos.example/color/"}))
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()})
    id = answer.json()["id"]
    assert answer.headers["location"] == f"https://photos.example/color/v1/colorizations/{id}"
    work(artifacts={"comparison": b"x"})
    job = api.get(f"/v1/colorizations/{id}").json()
    assert job["result"]["url"] == f"https://photos.example/color/v1/colorizations/{id}/result"
    assert job["artifacts"][0]["url"].startswith("https://photos.example/color/v1/")


@pytest.mark.parametrize("seen_as", ["", "/color"])
def test_below_a_path_everything_is_found_whether_the_proxy_leaves_it_out_or_not(
    settings, client, gray_photo, work, serve, seen_as
):
    api = serve(settings.model_copy(update={"root_path": "/color"}))
    answer = api.post(f"{seen_as}/v1/colorizations", files={"photo": gray_photo()})
    assert answer.status_code == 202
    location = answer.headers["location"]
    assert location == f"/color/v1/colorizations/{answer.json()['id']}"
    work()
    assert api.get(location).json()["result"]["url"] == f"{location}/result"
    assert api.get(f"{seen_as}/").status_code == api.get(f"{seen_as}/static/home.js").status_code == 200
    assert api.get(f"{seen_as}/openapi.json").json()["servers"] == [{"url": "/color"}]
    assert api.get(f"{seen_as}/nothing").json()["type"] == "/color/problems/not_found"


def test_of_those_who_speak_for_others_only_trusted_ones_are_believed(settings, client, gray_photo, serve):
    """The address is what limits are by: whoever could choose it would have none."""

    def sent_by(*addresses: str, **more: object) -> list[int]:
        client.flushall()
        api = serve(settings.model_copy(update={"quota_megapixels_per_minute": 1, **more}))
        return [
            api.post(
                "/v1/colorizations", files={"photo": gray_photo()}, headers={"X-Forwarded-For": address}
            ).status_code
            for address in addresses
        ]

    assert sent_by("9.9.9.9", "8.8.8.8") == [202, 429]
    trusting = {"trusted_proxies": ("10.0.0.0/8", "127.0.0.1")}
    assert sent_by("9.9.9.9", "8.8.8.8", "9.9.9.9", **trusting) == [202, 202, 429]
    assert sent_by("1.1.1.1, 9.9.9.9", "2.2.2.2, 9.9.9.9, 10.3.2.1", **trusting) == [202, 429], "the nearest"


def test_pages_of_other_sites_are_let_in_where_the_operator_says_so(settings, client, gray_photo, serve):
    ask = {"Origin": SITE, "Access-Control-Request-Method": "PUT"}
    send = {"files": {"photo": gray_photo()}, "headers": {"Origin": SITE}}
    url = "/v1/colorizations/" + "0" * 32
    closed = serve(settings)
    assert closed.options(url, headers=ask).status_code == 405
    assert "access-control-allow-origin" not in closed.post("/v1/colorizations", **send).headers

    opened = serve(settings.model_copy(update={"cors_origins": (SITE,)}))
    preflight = opened.options(url, headers=ask | {"Access-Control-Request-Headers": "authorization, prefer"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, SITE)
    answer = opened.post("/v1/colorizations", **send)
    assert answer.headers["access-control-allow-origin"] == SITE
    assert {"Location", "Retry-After"} <= set(answer.headers["access-control-expose-headers"].split(", "))
    refused = opened.post("/v1/colorizations", headers={"Origin": SITE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (422, SITE)
    assert opened.options(url, headers=ask | {"Origin": "https://other.example"}).status_code == 400
    other = opened.post("/v1/colorizations", files=send["files"], headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("host", "known"),
    [
        *(
            (name, True)
            for name in ("127.0.0.1:8000", "localhost:8000", "LOCALHOST", "app.localhost", "[::1]:8000")
        ),
        *(
            (name, True)
            for name in ("192.168.1.7:8000", "[2001:db8::1]", "api:8000", "photos.example", "Photos.Example.")
        ),
        *(
            (name, True)
            for name in ("a.wild.example:8000", "a.b.wild.example", "listed.example", socket.gethostname())
        ),
        *((f"{socket.gethostname()}.{domain}:8000", True) for domain in ("local", "lan", "home.arpa")),
        *((name, False) for name in (f"{socket.gethostname()}.evil.example", "other.lan")),
        *(
            (name, False)
            for name in ("evil.example", "127.0.0.1.evil.example", "evil.example:8000", "wild.example")
        ),
        *(
            (name, False)
            for name in ("localhost.evil.example", "notphotos.example", "photos.example.evil.example")
        ),
        *((name, False) for name in ("photos.example@evil.example", "evil.example#localhost")),
    ],
)
def test_a_strangers_name_that_was_made_to_lead_here_is_refused(
    settings, client, serve, check_problem, host, known
):
    named = {"public_url": "https://photos.example/color", "hosts": ("*.wild.example", "listed.example")}
    api = serve(settings.model_copy(update=named))
    for path in ("/", "/v1/nets", "/openapi.json"):
        answer = api.get(path, headers={"Host": host})
        if known:
            assert answer.status_code == 200
        else:
            check_problem(answer, "host_unknown")
            assert host.partition(":")[0] in answer.json()["detail"], (
                "an operator copies it into AUTOCHROME_HOSTS"
            )
    assert api.get("/livez", headers={"Host": host}).status_code == 200, "who watches asks by any address"


@pytest.mark.parametrize("hosts", [(), ("*",)])
def test_metrics_are_not_read_by_a_page_whose_name_was_made_to_lead_here(settings, client, serve, hosts):
    api = serve(settings.model_copy(update={"hosts": hosts}))
    assert api.get("/metrics").status_code == 200
    assert api.get("/metrics", headers={"Host": "localhost:1"}).status_code == 200
    assert api.get("/metrics", headers={"Host": "evil.example"}).status_code in (401, 421)


SENT_BY = [
    ({}, 202),  # no browser
    ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 202),
    ({"Sec-Fetch-Site": "none"}, 202),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site", "Origin": "https://other.photos.example"}, 403),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "null"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "http://127.0.0.1:1"}, 403),
    ({"Origin": "OURS"}, 202),
    ({"Origin": "https://photos.example"}, 202),  # our own public address, whatever the proxy calls us
    ({"Sec-Fetch-Site": "cross-site", "Origin": "https://listed.example"}, 202),
    (
        {"Origin": "http://192.168.1.7:8080", "X-Requested-With": "XMLHttpRequest"},
        202,
    ),  # our page behind a proxy
    (
        {"Sec-Fetch-Site": "cross-site", "Authorization": "Basic eDp5"},
        403,
    ),  # which browsers add by themselves
]


@pytest.mark.parametrize(("headers", "status"), SENT_BY)
def test_a_page_of_another_site_cannot_have_a_browser_color_or_erase(
    settings, client, serve, gray_photo, headers, status
):
    known = {"public_url": "https://photos.example/color", "cors_origins": ("https://listed.example",)}
    api = serve(settings.model_copy(update=known))
    ours = f"http://{api.base_url.host}:{api.base_url.port}"
    headers = {name: ours if value == "OURS" else value for name, value in headers.items()}
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, headers=headers)
    assert answer.status_code == status
    assert api.delete(f"/v1/colorizations/{'0' * 32}", headers=headers).status_code == (
        404 if status == 202 else 403
    )
    assert api.get("/v1/nets", headers=headers).status_code == 200, "to read is for CORS to say"
    assert status == 202 or answer.json()["code"] == "cross_site"


def test_lists_are_written_with_commas_or_spaces(monkeypatch):
    monkeypatch.setenv("AUTOCHROME_CORS_ORIGINS", "https://a.example, https://b.example")
    monkeypatch.setenv("AUTOCHROME_TRUSTED_PROXIES", "10.0.0.0/8 ::1")
    monkeypatch.setenv("AUTOCHROME_ROOT_PATH", "color/")
    settings = Settings()
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")
    assert settings.root_path == "/color"


@pytest.mark.parametrize("url", ["nonsense://x", "localhost:6379", "redis://h:port/0"])
def test_a_broker_that_cannot_be_is_said_at_the_start(settings, url):
    with pytest.raises(SettingsError, match=r"AUTOCHROME_BROKER_URL cannot be used: .{10}"):
        create_app(settings.model_copy(update={"broker_url": url}))
