"""
The OpenFeature provider, through which code outside of flags evaluates them.

An evaluation never raises: an error is counted in FLAG_ERRORS, and the caller gets its default.

    from flags.client import FLAG_CLIENT
    FLAG_CLIENT.get_boolean_value("wasm_recommendations", False, EvaluationContext(member_id))
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
    """Evaluates flags from this process's snapshot. OpenFeature fixes the argument names: it passes them by keyword."""

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
    """Return the flag's value if it has one of *types*, else *default* with an error code and message."""
    unit_id = context.targeting_key or "" if context else ""
    try:
        evaluation = evaluate_details(
            flag_snapshot.current(), key, unit_id, context.attributes if context else NO_ATTRIBUTES
        )
    except Exception as error:
        # A broken flag must not fail the request that evaluates it.
        log.exception("flag_evaluation_failed", extra={"flag": key})
        return error_resolution(default, ErrorCode.GENERAL, type(error).__name__)
    if evaluation is None:
        return error_resolution(default, ErrorCode.FLAG_NOT_FOUND, f"There is no flag {key!r}.")
    value = evaluation.answer.value
    if float in types and type(value) is int:
        value = float(value)
    if type(value) not in types:
        expected = " or ".join(kind.__name__ for kind in types)
        message = f"{key} is a {type(value).__name__}, not a {expected}."
        return error_resolution(default, ErrorCode.TYPE_MISMATCH, message)
    return FlagResolutionDetails(
        value=value,
        variant=evaluation.variant_name,
        reason=REASONS[evaluation.reason],
        flag_metadata=build_metadata(evaluation),
    )


def error_resolution(default: object, code: ErrorCode, message: str) -> Resolution:
    """Return the caller's default with the error, and count the error by its code."""
    FLAG_ERRORS.labels(code.value.lower()).inc()
    return FlagResolutionDetails(value=default, reason=Reason.ERROR, error_code=code, error_message=message)


def build_metadata(evaluation: Evaluation) -> dict[str, bool | int | float | str]:
    """Return OpenFeature metadata: the deciding rule, and an experiment's ids, propensity and variant settings."""
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
