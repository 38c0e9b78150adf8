"""What feeds answer: RSS, Atom, JSON, indices, and what nobody should read."""

from __future__ import annotations

import json
import random

import pytest

from qframe_rl.feeds.items import FeedItem, IndexReading, Unreadable, items_of, moment
from qframe_rl.types import HOUR, SECOND, parse_time

RSS = b"""<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:media="http://search.yahoo.com/mrss/">
<channel><title>News</title><link>https://example.org</link><pubDate>Mon, 01 Jan 2024 00:00:00 GMT</pubDate>
<item><title><![CDATA[Bitcoin <b>rallies</b> &amp; holds]]></title><link>https://example.org/1</link>
<description>&lt;p&gt;It  rose.&lt;/p&gt;</description><guid>1</guid><pubDate>Tue, 02 Jan 2024 10:00:00 +0200</pubDate>
<media:group><media:title>Not this</media:title></media:group></item>
<item><description>Only a body</description><dc:date>2024-01-02T09:00:00Z</dc:date></item>
<item><link>https://example.org/empty</link></item>
</channel></rss>"""
ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom"><title>News</title><updated>2024-01-03T00:00:00Z</updated>
<entry><title type="html">ETF &amp;amp; more</title><id>a</id><link rel="self" href="https://example.org/self"/>
<link href="https://example.org/a"/><published>2024-01-02T08:30:00.250+00:00</published>
<updated>2024-01-05T00:00:00Z</updated><author><name>Title</name></author></entry></feed>"""
RDF = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel><title>News</title></channel><item><title>Old style</title><link>https://example.org/r</link></item></rdf:RDF>"""


def test_rss() -> None:
    assert items_of(RSS) == [
        FeedItem("Bitcoin rallies & holds", "It rose.", parse_time("2024-01-02T08:00"), "https://example.org/1"),
        FeedItem("Only a body", "", parse_time("2024-01-02T09:00"), ""),
    ]


def test_atom_and_rss_one() -> None:
    at = parse_time("2024-01-02T08:30") + SECOND // 4
    assert items_of(ATOM) == [FeedItem("ETF & more", "", at, "https://example.org/a")]
    assert items_of(RDF) == [FeedItem("Old style", "", None, "https://example.org/r")]


def test_json_feeds() -> None:
    row = {"id": 1, "url": "https://example.org/j", "title": "Miners sell", "content_text": "They do."}
    feed = {"version": "https://jsonfeed.org/version/1.1", "items": [row | {"date_published": "2024-01-02T08:00:00Z"}]}
    told = FeedItem("Miners sell", "They do.", parse_time("2024-01-02T08:00"), "https://example.org/j")
    assert items_of(json.dumps(feed).encode()) == [told]
    bare = [{"headline": "Miners sell", "body": "They do.", "published_on": 1704182400, "url": "https://example.org/j"}]
    assert items_of(b"\xef\xbb\xbf" + json.dumps(bare).encode()) == [told]


def test_json_feeds_beside_other_lists_and_without_items() -> None:
    """The standard's own feeds name their authors; a day without news is no failure."""
    told = FeedItem("Miners sell", "", None, "")
    feed = {"authors": [{"name": "me"}], "hubs": [{"type": "x"}], "items": [{"title": "Miners sell"}]}
    assert items_of(json.dumps(feed).encode()) == [told]
    for empty in ({"items": []}, {"data": [], "count": 0}, []):
        assert items_of(json.dumps(empty).encode()) == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_feeds_in_other_encodings_and_behind_blank_lines(encoding: str) -> None:
    told = FeedItem("Miners sell", "", None, "")
    xml = "<rss><channel><item><title>Miners sell</title></item></channel></rss>"
    assert items_of(f'<?xml version="1.0"?>{xml}'.encode(encoding)) == [told]
    assert items_of('{"items": [{"title": "Miners sell"}]}'.encode(encoding)) == [told]
    assert items_of(f'\n\n<?xml version="1.0"?>{xml}'.encode()) == [told]


def test_fear_and_greed_is_an_index() -> None:
    """The shape of alternative.me's answer."""
    said = {
        "name": "Fear and Greed Index",
        "data": [
            {"value": "40", "value_classification": "Fear", "timestamp": "1551157200", "time_until_update": "68499"},
            {"value": "47", "value_classification": "Neutral", "timestamp": "1551070800"},
        ],
        "metadata": {"error": None},
    }
    assert items_of(json.dumps(said).encode()) == [
        IndexReading(1551157200 * SECOND, 40.0),
        IndexReading(1551070800 * SECOND, 47.0),
    ]


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ("2024-01-02T08:00:00Z", 8 * HOUR),
        ("2024-01-02 09:00:00+01:00", 8 * HOUR),
        ("Tue, 02 Jan 2024 08:00:00 GMT", 8 * HOUR),
        (1704182400, 8 * HOUR),
        (1704182400000.0, 8 * HOUR),
        (" 1704182400 ", 8 * HOUR),
    ],
)
def test_times(said: object, at: int) -> None:
    assert moment(said) == parse_time("2024-01-02") + at


@pytest.mark.parametrize("said", ["", "soon", "0001-01-01", 5, True, None, [], 1e30, float("nan"), "9" * 400])
def test_what_states_no_time(said: object) -> None:
    assert moment(said) is None


BOMB = b"""<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<rss><channel><item><title>&b;</title></item></channel></rss>"""
THIEF = b"""<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<rss><channel><item><title>&x;</title></item></channel></rss>"""


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (BOMB, "entities of its own"),
        (THIEF, "entities of its own"),
        (b"<rss>" + b"<a>" * 100, "deeper than 64"),
        (b"<rss><channel><item><title>cut", "cannot be read"),
        (b"<html><body>maintenance</body></html>", "no feed"),
        (b"", "neither XML nor JSON"),
        (b"hello", "neither XML nor JSON"),
        (b"[[1, 2]]", "no list of objects"),
        (b'{"a": 1}', "0 lists of objects"),
        (b"[" * 100_000, "cannot be read"),
        (b'[{"value": "n/a", "timestamp": "1551157200"}]', "a reading of 'n/a'"),
        (b'[{"value": 1' + b"0" * 400 + b', "timestamp": 1551157200}]', "a reading of 10000"),
        (b"<rss>" + b"<item/>" * 5_001 + b"</rss>", "more than 5,000 items"),
        (b" " * 8_000_001, "more than 8,000,000 bytes"),
    ],
    ids=lambda value: None if isinstance(value, str) else "body",
)
def test_what_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        items_of(body)


def test_halves_of_letters_are_none() -> None:
    """JSON may name them, and no file could take them."""
    (found,) = items_of(b'[{"title": "up \\ud83d", "body": "\\udfff", "link": "https://a/\\ud800"}]')
    assert found == FeedItem("up ?", "?", None, "https://a/?")


def test_spoiled_feeds_are_read_or_refused() -> None:
    rng = random.Random(3)
    for body in (RSS, ATOM, RDF, b'{"items":[{"title":"a","date":"2024-01-01"}]}'):
        for _ in range(300):
            spoiled = bytearray(body)
            for _ in range(rng.randrange(1, 6)):
                spoiled[rng.randrange(len(spoiled))] = rng.randrange(256)
            try:
                found = items_of(bytes(spoiled))
            except Unreadable:
                continue
            assert all(isinstance(one, FeedItem | IndexReading) for one in found)
