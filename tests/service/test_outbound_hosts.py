"""Which URLs are let through by a list of hosts, and which addresses count as public."""

from __future__ import annotations

import pytest

from service.errors import Problem, SettingsError
from service.outbound import Allow, is_public
from service.settings import read

NOT_PUBLIC = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.1.2.3", "169.254.169.254"),
    *("172.16.0.1", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "203.0.113.9", "224.0.0.1"),
    *("239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "100::1"),
    *("2001:db8::1", "64:ff9b:1::7f00:1", "::7f00:1", "::ffff:0:7f00:1"),
    # IPv4 inside IPv6: mapped, NAT64, 6to4, Teredo
    *(
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a00:1",
    ),
    # the whole of IANA's tables of special purposes: one address of each block, and each exception in it
    *(
        "0.255.255.255",
        "10.255.255.255",
        "100.127.255.255",
        "100.100.100.200",
        "127.255.255.255",
        "169.254.0.0",
    ),
    *("172.31.255.255", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.171", "192.0.0.192"),
    *("192.0.0.255", "192.0.2.255", "192.168.0.0", "198.19.255.255", "198.51.100.1", "203.0.113.255"),
    *("224.0.0.251", "240.0.0.0", "255.255.255.254"),
    *("::ffff:192.0.0.192", "64:ff9b::c000:c0", "2600::5efe:c000:c0", "64:ff9b:1::1", "100:0:0:1::1"),
    *(
        "2001::1",
        "2001:1::1",
        "2001:1::2",
        "2001:1::3",
        "2001:2::1",
        "2001:3::1",
        "2001:4:112::1",
        "2001:10::1",
    ),
    *("2001:20::1", "2001:30::1", "2001:1ff:ffff::1", "2002:5db8:d822::1", "3fff::1", "3fff:fff:ffff::1"),
    *("5f00::1", "4000::1", "1fff::1", "fdff::1", "febf::1", "ff0e::1"),
    *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:5db8:d822:0:0:80ff:fffe", "2001:0:7f00:1::"),
    # ISATAP; Azure's own services; relays of 6to4
    *("2600::5efe:7f00:1", "2600::200:5efe:a00:1", "168.63.129.16", "::ffff:168.63.129.16", "192.88.99.1"),
    *("localhost", ""),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_inner_address_is_not_public_however_it_is_wrapped(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34",
        "::ffff:93.184.216.34",
        "64:ff9b::93.184.216.34",
        "2606:4700::1111",
        *("192.31.196.1", "192.52.193.1", "192.175.48.1", "191.255.255.255", "192.0.1.0", "198.20.0.0"),
        *("2001:200::1", "2620:4f:8000::1", "2400::1", "3ffe::1"),
        "2600::5efe:93.184.216.34",
        "168.63.129.17",
    ],
)
def test_an_address_of_the_internet_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    ("entries", "url", "host", "port", "path"),
    [
        ("i.redd.it", "https://i.redd.it/a.jpg", "i.redd.it", 443, "/a.jpg"),
        ("i.redd.it", "http://I.REDD.IT.:80/a%20b.jpg?x=1#top", "i.redd.it", 80, "/a%20b.jpg?x=1"),
        ("i.redd.it", "https://i.redd.it", "i.redd.it", 443, "/"),
        ("i.redd.it", "http://i.redd.it#@10.0.0.1:6379/", "i.redd.it", 80, "/"),
        ("i.redd.it", "http://i.redd.it?@10.0.0.1:6379/", "i.redd.it", 80, "/?@10.0.0.1:6379/"),
        ("i.redd.it", "https://i.redd.it/ä.jpg?ö", "i.redd.it", 443, "/%C3%A4.jpg?%C3%B6"),
        ("*.imgur.com", "https://i.imgur.com/a", "i.imgur.com", 443, "/a"),
        ("x, *.imgur.com y", "https://a.b.imgur.com/a", "a.b.imgur.com", 443, "/a"),
        ("*", "https://93.184.216.34/a", "93.184.216.34", 443, "/a"),
        ("*", "https://[2606:4700:0::1111]/a", "2606:4700::1111", 443, "/a"),
        ("http://10.0.0.7:8099", "http://10.0.0.7:8099/a", "10.0.0.7", 8099, "/a"),
        ("http://[::1]:8099", "http://[::1]:8099/a", "::1", 8099, "/a"),
    ],
)
def test_a_listed_host_is_a_target(entries, url, host, port, path):
    target = Allow.of(entries).target(url)
    assert (target.host, target.port, target.path) == (host, port, path)
    assert target.trusted == ("8099" in entries)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "ftp://i.redd.it/a",
            "gopher://i.redd.it/",
            "data:image/png;base64,AA",
            "i.redd.it",
        ),
        *(
            "//i.redd.it/a",
            "javascript:alert(1)",
            "http://",
            "http:///a",
            "https:i.redd.it",
            "",
            "unix:///run/x",
        ),
        *(
            "https://user@i.redd.it/",
            "https://user:pw@i.redd.it/",
            "https://i.redd.it@10.0.0.1/",
            "http://@i.redd.it/",
        ),
        *("http://i.redd.it:8080/", "http://i.redd.it:22/", "http://i.redd.it:0/", "http://i.redd.it:99999/"),
        *("http://i.redd.it:x/", "http://i.redd.it\\@10.0.0.1/", "http://i.redd.it /", "http://i.redd\n.it/"),
        *(
            "http://i.redd.it\t/",
            "http://i.redd.it/\r\nHost: x",
            "http://i.redd.it/\x00",
            "http://i.redd.it../",
        ),
        *("http://i.redd..it/", "http://-i.redd.it/", "http://i.redd.it%2f@10.0.0.1/", "http://i%2eredd.it/"),
        *(
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
        ),
        *(
            "http://0x7f.0.0.0x1/",
            "http://1/",
            "http://0/",
            "http://0x/",
            "http://127.0.0.01/",
            "http://127.0.0.1.1/",
        ),
        *("http://[::1/", "http://::1/", "http://[::1]x/", "http://[fe80::1%25eth0]/", "http://[v1.a]/"),
        # as other parsers would read an address
        *(
            "http://127.0.1/",
            "http://0177.1/",
            "http://017700000001/",
            "http://0x7f.0x0.0x0.0x1/",
            "http://0X7F000001/",
        ),
        *(
            "http://127.0.0.1%00.i.redd.it/",
            "http://127.0.0.0x1/",
            "http://00127.0.0.1/",
        ),
        *(
            "http://4294967296/",
            "http://-1/",
            "http://127.0.0.1:80:80/",
            "http://127.0.0.1:+80/",
            "http://127.0.0.1: 80/",
        ),
        *(
            "http://[0:0:0:0:0:ffff:127.0.0.1/",
            "http://[::ffff:0177.0.0.1]/",
            "http://[::1]]/",
            "http://[[::1]]/",
        ),
        *(
            "http://[::1]@i.redd.it/",
            "http://i.redd.it[::1]/",
            "http://[127.0.0.1]/",
            "http://[::1%lo]/",
            "http://[]/",
        ),
        *("http://i.redd.it;@10.0.0.1/",),
        *(
            "http://i.redd.it&@10.0.0.1/",
            "http://10.0.0.1:80\\@i.redd.it/",
            "http:\\\\10.0.0.1/",
            "http:/\\10.0.0.1/",
        ),
        # dots, digits and letters that IDNA or a careless normalization makes ASCII; zero-width and soft hyphens
        *(
            "http://127．0．0．1/",
            "http://127｡0｡0｡1/",
            "http://①②⑦.⓪.⓪.①/",
            "http://ｌｏｃａｌｈｏｓｔ/",
            "http://ℹ.redd.it/",
        ),
        *(
            "http://local\u200bhost/",
            "http://127.0.0.1\u200b/",
            "http://i\u00ad.redd.it/",
            "http://\ufeffi.redd.it/",
        ),
        *(
            "http://i.redd.it\u2044@10.0.0.1/",
            "http://i.redd.it\u3002/",
            "http://[\uff1a\uff1a1]/",
            "http://١٢٧.٠.٠.١/",
        ),
        *("http://ⓘ.redd.it/", "http://127。0。0。1/", "http://１２７.0.0.1/", "http://bücher.example/"),
        "https://i.redd.it/\ud800",
        "https://i.redd.it/" + "a" * 2048,
    ],
)
def test_what_is_no_plain_url_is_refused_even_where_every_host_is_allowed(url):
    with pytest.raises(Problem, match="url_not_allowed"):
        Allow.of("* http://10.0.0.7:8099").target(url)


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("", "https://i.redd.it/"),
        ("i.redd.it", "https://redd.it/"),
        ("redd.it", "https://i.redd.it/"),
        ("i.redd.it", "https://i.redd.it.evil.example/"),
        ("i.redd.it", "https://evil-i.redd.it/"),
        ("*.imgur.com", "https://imgur.com/"),
        ("*.imgur.com", "https://evilimgur.com/"),
        ("i.redd.it", "https://93.184.216.34/"),
        ("http://10.0.0.7:8099", "http://10.0.0.7:8098/"),
        ("http://10.0.0.7:8099", "https://10.0.0.7:8099/"),
        ("http://10.0.0.7:8099", "http://10.0.0.8:8099/"),
    ],
)
def test_another_host_is_refused(entries, url):
    with pytest.raises(Problem, match="url_not_allowed"):
        Allow.of(entries).target(url)


@pytest.mark.parametrize(
    "entry", ["http://a/path", "ftp://a", "a/b", "user@a", "*.*.a", "bü.example", "http://u@a"]
)
def test_a_list_that_cannot_be_meant_is_refused_at_the_start(monkeypatch, entry):
    monkeypatch.setenv("AUTOCHROME_URL_HOSTS", entry)
    with pytest.raises(SettingsError, match="AUTOCHROME_URL_HOSTS"):
        read()


def test_webhooks_need_a_secret_which_no_error_repeats(monkeypatch):
    monkeypatch.setenv("AUTOCHROME_WEBHOOK_HOSTS", "hooks.example")
    with pytest.raises(SettingsError, match="AUTOCHROME_WEBHOOK_SECRET"):
        read()
    monkeypatch.setenv("AUTOCHROME_WEBHOOK_SECRET", "whsec_c2hvcnQgYnV0IHNlY3JldA==")
    with pytest.raises(SettingsError) as refused:
        read()
    assert "AUTOCHROME_WEBHOOK_SECRET" in str(refused.value)
    assert "c2hvcnQ" not in str(refused.value)
    monkeypatch.setenv("AUTOCHROME_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert read().webhook_hosts
