"""The size of a list, a document or a picture is checked before its content."""

import importlib
import io
import pkgutil
from itertools import chain

import pytest
from django.urls import get_resolver
from PIL import Image
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

import access
import flags
import recommendations
from access.limited_fields import LimitedListField
from flags.services.errors import InvalidChangeError
from flags.services.transfer import MAX_YAML_LENGTH, parse_yaml
from recommendations.embedders import pictures
from recommendations.embedders.pictures import open_pictures
from recommendations.ports import ImageError
from recommendations.services.errors import InvalidRequest
from recommendations.services.members.profile_file.import_profile import parse_profile
from values.problems import InvalidValueError, quote_value
from values.types import Language, Media, SafetyLabels, list_of, read


class Unread(serializers.Field):
    """A field that must not be validated."""

    def to_internal_value(self, data):
        raise AssertionError("the item was read")


def test_the_items_of_a_long_list_are_not_validated():
    field = LimitedListField(child=Unread(), max_length=3)
    with pytest.raises(ValidationError) as caught:
        field.run_validation(["x"] * 4)
    assert [error.code for error in caught.value.detail] == ["max_length"]
    with pytest.raises(AssertionError, match="was read"):
        field.run_validation(["x"] * 3)


def import_all():
    """Import every module with a serializer."""
    get_resolver().url_patterns  # noqa: B018 -- it imports the views
    for package in (access, flags, recommendations):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".api" in module.name or module.name.endswith("documents"):
                importlib.import_module(module.name)


def subclasses(cls):
    return chain.from_iterable((child, *subclasses(child)) for child in cls.__subclasses__())


def fields_within(field):
    """Yield the field and the fields of its items."""
    yield field
    if isinstance(child := getattr(field, "child", None), serializers.Field):
        yield from fields_within(child)


RESPONSES = {"Problem", "ErrorItem", "EvaluatedFlags", "EvaluatedFlag", "ProfileReportOut"}


def test_every_list_of_a_request_has_a_maximum_length_that_is_checked_first():
    """Responses have serializers with names that end with Out."""
    import_all()
    checked = []
    for serializer in set(subclasses(serializers.Serializer)):
        is_ours = serializer.__module__.startswith(("access.", "flags.", "recommendations."))
        if not is_ours or serializer.__name__.endswith("Out") or serializer.__name__ in RESPONSES:
            continue
        for field in chain.from_iterable(map(fields_within, serializer().fields.values())):
            name = f"{serializer.__name__}.{field.field_name}"
            if isinstance(field, serializers.ListSerializer):
                assert field.max_length, name
                checked.append(name)
            elif isinstance(field, serializers.ListField):
                assert isinstance(field, LimitedListField), name
                checked.append(name)
    assert {"UncheckedEvents.events", "SeenPostsBody.post_ids", "FlagDocument.rules", "TokenIn.scopes"} <= set(checked)


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        ({"seen": [1] * 5_001}, "/seen"),
        ({"negative_feedback": [1] * 5_001}, "/negative_feedback"),
        ({"relationships": {"mute": [1] * 10_001}}, "/relationships/mute"),
        ({"preferences": {"languages": [1] * 101}}, "/preferences/languages"),
        ({"preferences": {"muted_tags": [1] * 501}}, "/preferences/muted_tags"),
    ],
)
def test_a_long_list_of_a_profile_file_is_rejected_by_its_length(content, pointer):
    """Each item is invalid, but the error is one for the list and names none of them."""
    with pytest.raises(InvalidRequest) as caught:
        parse_profile({"format": "recsys-profile", "version": 1} | content)
    assert caught.value.pointer == pointer and "items" in str(caught.value)
    assert "more errors" not in str(caught.value)


@pytest.mark.parametrize(
    ("parser", "value"),
    [
        (list_of(Language), ["?"] * 101),
        (SafetyLabels, {f"?{n}": "?" for n in range(101)}),
        (Media, [7] * 21),
    ],
)
def test_a_long_list_of_a_row_is_rejected_by_its_length(parser, value):
    with pytest.raises(InvalidValueError, match=r"is not (a list|an object) of up to") as caught:
        read(parser, value)
    assert len(caught.value.problem) < 120


def test_a_long_value_is_quoted_without_its_items():
    class Unquoted:
        def __repr__(self):
            raise AssertionError("the item was read")

    assert quote_value([Unquoted()] * 61) == "a list of 61 items"
    assert quote_value({n: Unquoted() for n in range(61)}) == "an object of 61 items"
    assert quote_value([1, 2]) == "[1, 2]"


# YAML


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flags: [&a [x], *a]", "Aliases are not supported"),
        ("a: &a [x, x]\nflags: [*a, *a]", "Aliases are not supported"),
        ("&a flags: []\nplans: {<<: *a}", "Aliases are not supported"),
        ("#" * (MAX_YAML_LENGTH + 1), "characters"),
        ("[" * 5_000, "nested too deeply"),
        ("flags: " + "9" * 5_000, "Line 1: .*cannot be read"),
        ("flags: 2026-02-30", "Give an object with lists"),
    ],
)
def test_yaml_that_expands_or_is_too_large_is_rejected(text, message):
    with pytest.raises(InvalidChangeError, match=message):
        parse_yaml(text)


# Pictures


def encode(size, file_format="PNG", mode="RGB", **options):
    content = io.BytesIO()
    Image.new(mode, size, "red" if mode == "RGB" else 0).save(content, file_format, **options)
    return content.getvalue()


@pytest.fixture
def no_decoding(monkeypatch):
    def decode(number, picture):
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr(pictures, "decode_pixels", decode)


FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (8, 8))]}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([encode((5_001, 5_000), mode="1")], "Image 0 has 5001 x 5000 pixels"),
        ([encode((8, 8)), encode((25_000_001, 1), mode="1")], "Image 1 has"),
        ([encode((4_000, 4_200), mode="1")] * 3, "50,000,000 pixels in total"),
        ([encode((8, 8), **FRAMES)], "animation"),
        ([encode((8, 8), "WEBP", **FRAMES)], "animation"),
        ([encode((8, 8), "GIF")], "JPEG, PNG or WebP"),
        ([encode((8, 8), "BMP")], "JPEG, PNG or WebP"),
        ([encode((8, 8), "TIFF")], "JPEG, PNG or WebP"),
        ([b"\x89PNG\r\n\x1a\n" + b"\0" * 40], "cannot be read"),
        ([b""], "cannot be read"),
    ],
)
def test_pictures_are_rejected_from_their_headers(no_decoding, images, message):
    with pytest.raises(ImageError, match=message):
        open_pictures(images)


def test_an_incomplete_picture_is_rejected():
    with pytest.raises(ImageError, match="Image 1 cannot be read"):
        open_pictures([encode((8, 8)), encode((500, 500), "JPEG")[:-200]])


def test_large_pictures_are_reduced_and_others_stay_as_they_are():
    sizes = [
        picture.size for picture in open_pictures([encode((64, 48)), encode((1_023, 2_000)), encode((2_100, 1_100))])
    ]
    assert sizes == [(64, 48), (1_023, 2_000), (1_050, 550)]
    assert open_pictures([encode((1_100, 1_100), mode="1")])[0].mode == "RGB"


def test_a_photograph_with_a_second_picture_is_read():
    """Telephones write such files (MPO)."""
    photograph = encode((32, 32), "MPO", save_all=True, append_images=[Image.new("RGB", (32, 32))])
    assert open_pictures([photograph])[0].size == (32, 32)
