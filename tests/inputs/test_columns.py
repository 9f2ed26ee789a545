"""The limits of the types are those of the database's columns, and every field of an entry point has a type."""

import pytest
from django.db import models
from django.forms import modelform_factory
from django.urls import URLResolver, get_resolver
from rest_framework import serializers

from access.typed_fields import StrictSerializer, TypedField
from access.views import NO_INPUTS
from flags.experiments.documents import ExperimentDocument
from flags.serializers import FlagDocument, RolloutPlanDocument, SegmentDocument
from recommendations.admin import typed_forms
from recommendations.api import serializers as api
from recommendations.models import Interaction, Member, NegativeFeedback, Post, PostEmbedding, RegionStats, Undo
from recommendations.services.content.importing.fields import file_layouts
from tests.factories import NOW
from values import types as t
from values.types import json_schema

COLUMNS = [
    (Member, "external_id", t.Id),
    (Member, "region", t.Region),
    (Post, "external_id", t.Id),
    (Post, "kind", t.Slug),
    (Post, "language", t.Language),
    (PostEmbedding, "embedding_model", t.ModelName),
    (Interaction, "event_id", t.Id),
    (Undo, "event_id", t.Id),
    (Undo, "undoes_event_id", t.Id),
    (NegativeFeedback, "event_id", t.Id),
    (NegativeFeedback, "target_key", t.Word),
    (RegionStats, "region", t.Region),
]
UNTYPED = {
    "SearchQuery": {"space", "text"},
    "SearchBody": {"space"},
    "MembersQuery": {"prefix"},
    "FeedQuery": {"feed", "cursor"},
    "FollowRequestsQuery": {"direction", "cursor"},
    "InteractionsQuery": {"cursor"},
    "JobsQuery": {"kind", "state"},
    "JobOptions": {"priority"},
    "JobBody": {"kind", "params", "priority"},
    "PictureItem": {"image"},
}
"""Fields of the API that are no values of members and posts: names that a list states, cursors and searched texts."""


@pytest.mark.parametrize(
    ("model", "name", "value_type"), COLUMNS, ids=lambda part: str(getattr(part, "__name__", part))
)
def test_the_longest_value_fits_its_column(model, name, value_type):
    assert json_schema(value_type)["maxLength"] == model._meta.get_field(name).max_length


def request_serializers():
    """Return the serializers of requests, except the lists of unchecked items."""
    found = {name: value for name, value in vars(api).items() if isinstance(value, type)}
    return {
        name: value
        for name, value in found.items()
        if issubclass(value, StrictSerializer) and value is not StrictSerializer and not name.startswith("Unchecked")
    }


def has_type(field):
    if isinstance(field, serializers.ListField):
        return has_type(field.child)
    return isinstance(field, TypedField | StrictSerializer)


def test_every_field_of_a_request_has_a_type():
    untyped = {
        name: {field for field, value in serializer().fields.items() if not has_type(value)}
        for name, serializer in request_serializers().items()
    }
    assert {name: names for name, names in untyped.items() if names} == UNTYPED


@pytest.mark.parametrize(
    ("serializer", "kind"), [(api.MemberIn, "members"), (api.PostIn, "posts"), (api.EventIn, "interactions")]
)
def test_the_api_and_the_files_have_the_same_types(serializer, kind):
    """Times and years differ in the schema only in that a file's must be past."""
    types = file_layouts(NOW.year)[kind].types
    for name, field in serializer().fields.items():
        if name not in types:
            assert name == "undoes_event_id", "a file has no undo"
            continue
        described = (
            {"type": "array", "items": json_schema(field.child.value_type)}
            if isinstance(field, serializers.ListField)
            else json_schema(field.value_type)
        )
        expected = json_schema(types[name])
        limits = {"maxItems", "maximum"}
        assert {key: value for key, value in described.items() if key not in limits} == {
            key: value for key, value in expected.items() if key not in limits
        }, name


def test_the_admin_reads_every_text_and_list_of_its_models():
    for form, model in (
        (typed_forms.MemberForm, Member),
        (typed_forms.PostForm, Post),
    ):
        read = {
            field.name
            for field in model._meta.concrete_fields
            if isinstance(field, models.JSONField | models.CharField) and not field.choices
        }
        assert set(form.types) == read


def declared_serializers(patterns=None):
    """Yield the serializers of the query and the body of every operation of the API."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            yield from declared_serializers(pattern.url_patterns)
            continue
        view = getattr(pattern.callback, "view_class", None)
        for method in ("get", "post", "put", "patch", "delete"):
            operation = getattr(getattr(view, method, None), "operation", NO_INPUTS)
            yield from (
                part
                for part in (operation.query, getattr(operation.parse_body, "__self__", None))
                if isinstance(part, serializers.Serializer)
            )


def inner_fields(field):
    """Yield a field, and those of its items and fields."""
    yield field
    inner = [getattr(field, "child", None), *getattr(field, "fields", {}).values()]
    for part in inner:
        if part is not None:
            yield from inner_fields(part)


DOCUMENTS = (FlagDocument, SegmentDocument, RolloutPlanDocument, ExperimentDocument)
"""The bodies that a function of the view reads, and the documents of a YAML file."""


def test_no_request_and_no_document_has_a_number_or_a_time_without_a_type():
    """DRF's own fields read digits of other scripts and 1_000, and fail for a whole number of 400 digits."""
    found = [*declared_serializers(), *(document() for document in DOCUMENTS)]
    assert len(found) > 30
    plain = (serializers.FloatField, serializers.IntegerField, serializers.DateTimeField, serializers.DecimalField)
    assert [
        (type(serializer).__name__, field.field_name)
        for serializer in found
        for field in inner_fields(serializer)
        if isinstance(field, plain) and not field.read_only
    ] == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("form", "model", "data", "error"),
    [
        (typed_forms.MemberForm, Member, {"external_id": "a/feed"}, "external_id"),
        (typed_forms.MemberForm, Member, {"external_id": "a", "languages": '["xx"]'}, "languages"),
        (typed_forms.MemberForm, Member, {"external_id": "a", "languages": '["PT-br"]', "region": "DE"}, None),
        (typed_forms.PostForm, Post, {"external_id": "a", "kind": "text", "tags": '["\\u202e"]'}, "tags"),
        (
            typed_forms.PostForm,
            Post,
            {"external_id": "a", "kind": "text", "safety_labels": '{"a":2}'},
            "safety_labels",
        ),
        (
            typed_forms.PostForm,
            Post,
            {"external_id": "a", "kind": "text", "safety_labels": '{"a":0,"a":1}'},
            "safety_labels",
        ),
        (typed_forms.PostForm, Post, {"external_id": "a", "kind": "text", "tags": "[NaN]"}, "tags"),
        (typed_forms.PostForm, Post, {"external_id": "a", "kind": "text", "tags": '["\\u0000"]'}, "tags"),
        (typed_forms.PostForm, Post, {"external_id": "a", "kind": "text", "language": "EN", "tags": '["a "]'}, None),
    ],
)
def test_a_form_of_the_admin_reads_values_like_the_api(form, model, data, error):
    filled = modelform_factory(model, form=form, fields=list(form.types))(data=data)
    assert list(filled.errors) == ([error] if error else [])
    if not error:
        read = {name: filled.cleaned_data[name] for name in ("languages", "language", "tags") if name in data}
        assert read in ({"languages": ["pt-BR"]}, {"language": "en", "tags": ["a"]})
