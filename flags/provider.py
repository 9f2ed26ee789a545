"""
The OpenFeature provider: how code outside of flags asks. An error is counted, and the asker gets its own default.

    from openfeature import api
    api.get_client().get_boolean_value("wasm_recommendations", False, EvaluationContext(member_id))
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from flags.services.evaluate import NO_ATTRIBUTES, Evaluation, evaluate_details
from flags.snapshot import flag_snapshot
from monitoring.metrics import FLAG_ERRORS

log = logging.getLogger(__name__)

Resolution = FlagResolutionDetails[Any]
METADATA = Metadata("recsys")
REASONS = {reason.value: reason for reason in Reason}


class FlagProvider(AbstractProvider):
    """Answers from this process's snapshot. OpenFeature passes arguments by name: the names here are its own."""

    def get_metadata(self) -> Metadata:
        return METADATA

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        return resolve_flag(flag_key, default_value, evaluation_context, bool)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        return resolve_flag(flag_key, default_value, evaluation_context, str)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        return resolve_flag(flag_key, default_value, evaluation_context, int)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        return resolve_flag(flag_key, default_value, evaluation_context, float)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        return resolve_flag(flag_key, default_value, evaluation_context, dict, list)


def resolve_flag(key: str, default: object, context: EvaluationContext | None, *types: type) -> Resolution:
    """Return what the flag is worth if it is of one of *types*, else *default* and what was wrong."""
    unit_id = context.targeting_key or "" if context else ""
    try:
        found = evaluate_details(
            flag_snapshot.current(), key, unit_id, context.attributes if context else NO_ATTRIBUTES
        )
    except Exception as error:
        # Whatever is wrong with a flag, the request that asks for it must go on.
        log.exception("flag_failed", extra={"flag": key})
        return error_resolution(default, ErrorCode.GENERAL, type(error).__name__)
    if found is None:
        return error_resolution(default, ErrorCode.FLAG_NOT_FOUND, f"There is no flag {key!r}.")
    value = found.answer.value
    if float in types and type(value) is int:
        value = float(value)
    if type(value) not in types:
        asked = " or ".join(kind.__name__ for kind in types)
        return error_resolution(default, ErrorCode.TYPE_MISMATCH, f"{key} is a {type(value).__name__}, not a {asked}.")
    return FlagResolutionDetails(
        value=value, variant=found.variant_name, reason=REASONS[found.reason], flag_metadata=build_metadata(found)
    )


def error_resolution(default: object, code: ErrorCode, message: str) -> Resolution:
    """Return the asker's default, and count why."""
    FLAG_ERRORS.labels(code.value.lower()).inc()
    return FlagResolutionDetails(value=default, reason=Reason.ERROR, error_code=code, error_message=message)


def build_metadata(evaluation: Evaluation) -> dict[str, bool | int | float | str]:
    """Return what came with the value: the rule, and of an experiment its ids and the variant's settings."""
    answer = evaluation.answer
    metadata: dict[str, bool | int | float | str] = {"rule": answer.rule} if answer.rule else {}
    if answer.variant:
        metadata["experiment"] = answer.rule.removeprefix("experiment:")
    if answer.exposed_variant:
        metadata |= {
            "experiment_id": answer.exposed_variant.experiment_id,
            "phase_id": answer.exposed_variant.phase_id,
            "propensity": answer.exposed_variant.propensity,
        }
    scalars = {name: v for name, v in answer.config.items() if isinstance(v, bool | int | float | str)}
    return metadata | {f"config.{name}": value for name, value in scalars.items()}
