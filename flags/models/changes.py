"""The change history, changes that are pending approval, and the token that signals a change to every process."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models
from django.utils.translation import gettext

from flags.models.append_only import AppendOnlyModel
from flags.models.flags import Flag
from flags.models.guarded import GuardedModel
from flags.models.plans import describe_guardrail
from monitoring.number_texts import grouped, significant
from values.translation import translatable


class ChangeSubject(models.TextChoices):
    FLAG = "flag", "flag"
    SEGMENT = "segment", "segment"
    PLAN = "plan", "rollout plan"
    EXPERIMENT = "experiment", "experiment"


ACTIONS = (
    translatable("created"),
    translatable("changed"),
    translatable("imported"),
    translatable("restored"),
    translatable("archived"),
    translatable("killed"),
    translatable("started"),
    translatable("paused"),
    translatable("resumed"),
    translatable("widened"),
    translatable("phase started"),
    translatable("finished"),
    translatable("stopped"),
    translatable("stepped back"),
    translatable("advanced"),
    translatable("rolled out"),
    translatable("rolled back"),
)
"""What changes are called in the history."""


def name_action(action: str) -> str:
    """Return the action in words, in the language of the page."""
    return gettext(action.replace("_", " "))


VERDICTS = {
    "holds": translatable("holds"),
    "breached": translatable("breached"),
    "too_few_samples": translatable("too few samples"),
    "unreadable": translatable("could not be read"),
}


def describe_check(check: Mapping[str, Any]) -> str:
    """
    Return the result of checking a guardrail, in the language of the page.

    *check* is one of `FlagChange.evidence`. One of a version that stored no bound names its guardrail in English.
    """
    named = ("gauge", "variant", "bound", "threshold")
    guardrail = describe_guardrail(*(check[name] for name in named)) if "bound" in check else check["guardrail"]
    return gettext("{guardrail}: {value} over {samples} samples, {verdict}").format(
        guardrail=guardrail,
        value=significant(check["value"] if check["samples"] else None, 6),
        samples=grouped(check["samples"]),
        verdict=gettext(VERDICTS[check["verdict"]]),
    )


class FlagChange(AppendOnlyModel):
    """A recorded change: the user or system rule, the reason, and the document before and after."""

    subject = models.CharField(max_length=16, choices=ChangeSubject.choices)
    key = models.CharField(max_length=64, db_index=True)
    changed_at = models.DateTimeField(db_index=True)
    user = models.ForeignKey(get_user_model(), on_delete=models.PROTECT, null=True, related_name="+")
    system = models.CharField(
        max_length=64, blank=True, help_text="The system rule that made the change, if no user did."
    )
    approved_by = models.ForeignKey(get_user_model(), on_delete=models.PROTECT, null=True, related_name="+")
    action = models.CharField(max_length=16)
    why = models.TextField()
    before = models.JSONField(null=True, help_text="Empty: the change created the object.")
    after = models.JSONField()
    evidence = models.JSONField(default=list, help_text="Guardrail checks behind an automatic change.")

    class Meta:
        ordering = ["-changed_at", "-pk"]
        indexes = [models.Index(fields=["subject", "key", "-changed_at"], name="flag_changes_by_subject")]

    def __str__(self) -> str:
        return f"{self.key} {name_action(self.action)}"

    @property
    def action_label(self) -> str:
        """Return the action in words, in the language of the page."""
        return name_action(self.action)

    @property
    def evidence_texts(self) -> list[str]:
        """Return the guardrail checks in words, in the language of the page."""
        return list(map(describe_check, self.evidence))

    @property
    def actor_name(self) -> str:
        """Return the user's name, or the system rule."""
        return self.user.get_username() if self.user else f"system: {self.system}"


class PendingChange(GuardedModel):
    """A requested change that needs a second person's approval."""

    class State(models.TextChoices):
        PENDING = "pending"
        APPROVED = "approved"
        REJECTED = "rejected"

    subject = models.CharField(max_length=16, choices=ChangeSubject.choices)
    key = models.CharField(max_length=64, db_index=True)
    flag = models.ForeignKey(Flag, on_delete=models.CASCADE, related_name="pending")
    patch = models.JSONField()
    action = models.CharField(max_length=16)
    why = models.TextField()
    requested_at = models.DateTimeField()
    requested_by = models.ForeignKey(get_user_model(), on_delete=models.PROTECT, null=True, related_name="+")
    requested_by_system = models.CharField(max_length=64, blank=True)
    flag_version = models.PositiveIntegerField(
        help_text="The flag's version at the request. Approval is refused if the flag changed since."
    )
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(get_user_model(), on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        ordering = ["-requested_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.key} {name_action(self.action)}"


class PayloadVersion(models.Model):
    """A single row, rewritten by each change. Processes poll its token to decide whether to reload the flags."""

    token = models.UUIDField()

    def __str__(self) -> str:
        return str(self.token)
