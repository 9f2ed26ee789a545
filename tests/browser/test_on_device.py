"""Ranking in a real browser: the bytes are the server's, and the profile is in no request."""

import base64
import json
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from recommendations.services import wiring
from recommendations.services.serving.pack_format import MAX_PACK_BYTES, decode_pack
from recommendations.services.serving.rank_pack import DeviceProfile, rank_pack

pytestmark = pytest.mark.django_db(transaction=True)
OPEN = """async ({ memberId = "ann", change = null, ...options }) => {
    window.packs = await import("/static/recommendations/candidate-pack.js");
    const file = new Uint8Array(await (await fetch(`/api/v1/members/ann/candidate-pack`)).arrayBuffer());
    const { keys } = await (await fetch("/api/v1/candidate-pack-keys")).json();
    window.original = file.slice();
    if (change !== null) file[file.length + change] ^= 1;
    try {
        window.pack = await packs.openPack(file, options.keys ?? keys, { memberId, ...options });
    } catch (error) {
        return [error.name, error.code];
    }
    return [...original];
}"""
RANK = """async ([profile, build]) => {
    const builds = { baseline: `/static/wasm/dist/${build}.wasm` };
    const { order, scores, parts, partNames } = (await packs.createRanker(pack, { builds })).rank(profile);
    const bytes = (array) => [...new Uint8Array(array.buffer, array.byteOffset, array.byteLength)];
    return { order: bytes(order), scores: bytes(scores), parts: bytes(parts), partNames };
}"""
BUILDS = ["kernel", "kernel-relaxed"]


def open_pack(page, **options):
    """Return the pack that the browser received and verified."""
    page.goto("/explore/on-device/")
    return decode_pack(bytes(page.evaluate(OPEN, options)), wiring.signer())


def make_profile(pack, *, likes=(), dislikes=(), tags=(), noise=0):
    """Return a profile with the vectors of these posts, and *noise* random vectors on either side."""
    rng = np.random.default_rng(7)
    random = [{"vector": rng.normal(size=pack.header.dimension).tolist(), "weight": 0.3} for _ in range(noise)]
    interests = [
        [{"vector": pack.vectors[position].tolist(), "weight": weight} for position, weight in chosen] + random
        for chosen in (likes, dislikes)
    ]
    return {
        "format": "recsys-device-profile",
        "version": 1,
        "embedding_model": pack.header.embedding_model,
        "likes": interests[0],
        "dislikes": interests[1],
        "tags": dict(tags),
    }


PROFILES = {
    "nothing": {},
    "likes": {"likes": [(3, 1.0), (7, 0.7)]},
    "dislikes": {"dislikes": [(0, 1.0), (1, 0.1)]},
    "topics": {"tags": [("bread", 0.9), ("war", -0.8), ("toString", 0.4)]},
    "all": {
        "likes": [(3, 1.0), (5, 9.5)],
        "dislikes": [(8, 1 / 3)],
        "tags": [("space", 0.1), ("war", -1)],
        "noise": 40,
    },
}


@pytest.mark.parametrize("build", BUILDS)
def test_the_browser_ranks_byte_for_byte_as_the_server_does(page, build):
    pack = open_pack(page)
    assert len(pack.header.posts) == 30
    orders = set()
    for name, options in PROFILES.items():
        profile = make_profile(pack, **options)
        expected = rank_pack(pack, DeviceProfile.model_validate(profile))
        actual = page.evaluate(RANK, [profile, build])
        assert tuple(actual["partNames"]) == expected.part_names
        for field in ("parts", "scores", "order"):
            assert bytes(actual[field]) == getattr(expected, field).tobytes(), (name, field)
        orders.add(bytes(actual["order"]))
    assert len(orders) == len(PROFILES), "each profile gives another order"


def refuse(page, **options):
    page.goto("/explore/on-device/")
    return page.evaluate(OPEN, options)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"change": -1}, "changed"),  # the signature
        ({"change": -65}, "changed"),  # a vector
        ({"memberId": "bob"}, "different-member"),
        ({"keys": []}, "unknown-key"),
        ({"now": 4_000_000_000_000}, "expired"),
        ({"now": 1_000_000_000_000}, "from-the-future"),
    ],
)
def test_a_pack_that_cannot_be_trusted_is_refused(page, options, code):
    assert refuse(page, **options) == ["PackError", code]


def test_what_is_no_pack_or_no_profile_of_its_vectors_is_refused(page):
    pack = open_pack(page)
    codes = page.evaluate(
        """async () => {
            const code = async (act) => { try { await act(); } catch (error) { return error.code; } };
            const broken = original.slice();
            broken[12] = 0;
            const ranker = await packs.createRanker(pack);
            const profile = packs.emptyProfile(pack);
            return [
                await code(() => packs.openPack(new Uint8Array(10), [])),
                await code(() => packs.openPack(broken, [])),
                await code(() => ranker.rank({ ...profile, embedding_model: "other" })),
                await code(() => ranker.rank({ ...profile, likes: [{ vector: [1], weight: 1 }] })),
                await code(() => packs.profileFromFile({ interests: null })),
            ];
        }"""
    )
    assert codes == ["no-pack", "no-pack", "different-embedding-model", "different-dimension", "no-interests"]
    assert pack.header.member_id == "ann"


def test_a_profile_file_of_the_service_becomes_a_profile_of_the_device(page):
    pack = open_pack(page)
    interests = {
        "embedding_model": pack.header.embedding_model,
        "dimension": pack.header.dimension,
        "positive": encode(pack.vectors[[3, 4]]),
        "positive_mass": encode([4, 1]),
        "negative": "",
        "negative_mass": "",
        "affinities": {"topic": {"war": -40.0}},
    }
    file = {"interests": interests, "preferences": {"interest_tags": ["bread"]}}
    profile = page.evaluate("file => packs.profileFromFile(file)", file)
    assert profile == make_profile(pack, likes=[(3, 1), (4, 0.5)], tags=[("war", -0.5), ("bread", 0.5)])


def encode(numbers):
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


# The page


def first_posts(page):
    """Return the ids of the displayed posts, once there are any: the counts are displayed before them."""
    page.locator("#posts .card").first.wait_for()
    return page.locator("#posts .card").evaluate_all("cards => cards.map(card => card.dataset.post)")


def test_the_page_ranks_by_the_device_and_sends_nothing(page):
    sent = []
    page.on("request", lambda request: sent.append((request.method, request.url, request.post_data)))
    page.goto("/explore/on-device/")
    page.get_by_role("button", name=re.compile("^ann")).click()
    expect(page.locator("#posts .card")).to_have_count(30)
    expect(page.locator("#signature")).to_contain_text("valid")
    [size] = re.findall(r"([\d.]+) KB", page.locator("#pack-size").inner_text())
    assert 0 < 1000 * float(size) <= MAX_PACK_BYTES
    page.wait_for_load_state("networkidle")
    loaded, before = len(sent), first_posts(page)
    card = page.locator(".card", has_text="rocket").last
    liked = card.get_attribute("data-post")
    card.get_by_role("button", name="More like this").click()
    expect(page.locator("#counts")).to_contain_text("1 interest,")
    after = first_posts(page)
    assert after != before and after[0] == liked and all(post.startswith("space") for post in after[1:3])
    assert page.evaluate("document.activeElement.textContent") == "More like this"
    page.get_by_label("war").fill("1")
    page.locator(".card", has_text="oven").first.get_by_role("button", name="Less like this").click()
    expect(page.locator("#counts")).to_have_text("1 interest, 1 dislike, 1 topic")
    ranked = first_posts(page)
    page.wait_for_timeout(500)
    assert sent[loaded:] == [], "no request follows a change of the profile"
    assert {(method, body) for method, _, body in sent} == {("GET", None)}
    expect(page.locator("#requests")).to_have_text("nothing")
    stored = json.loads(page.evaluate("localStorage.getItem('recsys-device-profile:ann')"))
    assert (len(stored["likes"]), len(stored["dislikes"]), stored["tags"]) == (1, 1, {"war": 1})
    page.reload()  # the profile is still on the device
    page.get_by_role("button", name=re.compile("^ann")).click()
    expect(page.locator("#counts")).to_have_text("1 interest, 1 dislike, 1 topic")
    assert first_posts(page) == ranked
    page.get_by_role("button", name="Forget").click()
    expect(page.locator("#counts")).to_contain_text("0 interests")
    assert first_posts(page) == before
    assert page.evaluate("localStorage.getItem('recsys-device-profile:ann')") is None


def test_a_change_is_taken_back_and_a_file_is_loaded_and_saved_on_the_device(page, tmp_path):
    page.goto("/explore/on-device/")
    page.get_by_role("button", name=re.compile("^ann")).click()
    expect(page.locator("#posts .card")).to_have_count(30)
    more = page.locator(".card").first.get_by_role("button", name="More like this")
    more.click()
    expect(more).to_have_attribute("aria-pressed", "true")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a file").click()
    saved = tmp_path / "profile.json"
    download.value.save_as(saved)
    more.click()
    expect(page.locator("#counts")).to_contain_text("0 interests")
    page.get_by_label("Load a file").set_input_files(saved)
    expect(page.locator("#counts")).to_contain_text("1 interest,")
    for content, problem in (("{", "cannot be used"), ('{"format": "recsys-profile"}', "no interests")):
        bad = tmp_path / "bad.json"
        bad.write_text(content)
        page.get_by_label("Load a file").set_input_files(bad)
        expect(page.locator("#status")).to_contain_text(problem)
    expect(page.locator("#counts")).to_contain_text("1 interest,")


def test_a_member_who_is_refused_is_reported(page):
    page.goto("/explore/on-device/")
    expect(page.locator("#posts .card")).to_have_count(30)
    page.get_by_label("Member", exact=True).fill("nobody at all")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("There is no member")
    page.expected_failures += ["404"]  # Chromium reports each failed request as an error


@pytest.mark.parametrize(
    "page",
    [
        {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
        for scheme in ("light", "dark")
        for width in (390, 1280)
    ],
    indirect=True,
)
def test_the_page_is_accessible_and_fits(page):
    page.goto("/explore/on-device/")
    expect(page.locator("#posts .card")).to_have_count(30)
    assert Axe().run(page).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
