"""The record of changes, changes that wait for approval, and what tells every process that something changed."""

from django.contrib.auth import get_user_model
from django.db import models

from flags.models.append_only import AppendOnlyModel
from flags.models.flags import Flag
from flags.models.guarded import GuardedModel


class ChangeSubject(models.TextChoices):
    FLAG = "flag", "flag"
    SEGMENT = "segment", "segment"
    PLAN = "plan", "rollout plan"
    # Eight letters: a longer column would be another table on SQLite, without the triggers that keep the record.
    EXPERIMENT = "trial", "experiment"


class FlagChange(AppendOnlyModel):
    """What was done: by whom, or by which rule of the system, why, and all of it before and after."""

    subject = models.CharField(max_length=8, choices=ChangeSubject.choices)
    key = models.CharField(max_length=64, db_index=True)
    changed_at = models.DateTimeField(db_index=True)
    user = models.ForeignKey(get_user_model(), on_delete=models.PROTECT, null=True, related_name="+")
    system = models.CharField(max_length=64, blank=True, help_text="The rule that acted, if no person did.")
    approved_by = models.ForeignKey(get_user_model(), on_delete=models.PROTECT, null=True, related_name="+")
    action = models.CharField(max_length=16)
    why = models.TextField()
    before = models.JSONField(null=True, help_text="Empty: it was made.")
    after = models.JSONField()
    evidence = models.JSONField(default=list, help_text="Readings that the system acted on.")

    class Meta:
        ordering = ["-changed_at", "-pk"]
        indexes = [models.Index(fields=["subject", "key", "-changed_at"], name="changes_of_subject")]

    def __str__(self) -> str:
        return f"{self.key} {self.action}"

    @property
    def actor_name(self) -> str:
        """Return the person's name, or the rule of the system."""
        return self.user.get_username() if self.user else f"system: {self.system}"


class PendingChange(GuardedModel):
    """A change that was asked for, and waits for a second person."""

    class State(models.TextChoices):
        PENDING = "waiting"
        APPROVED = "approved"
        REJECTED = "rejected"

    subject = models.CharField(max_length=8, choices=ChangeSubject.choices)
    key = models.CharField(max_length=64, db_index=True)
    flag = models.ForeignKey(Flag, on_delete=models.CASCADE, related_name="pending")
    patch = models.JSONField()
    action = models.CharField(max_length=16)
    why = models.TextField()
    requested_at = models.DateTimeField()
    requested_by = models.ForeignKey(get_user_model(), on_delete=models.PROTECT, null=True, related_name="+")
    requested_by_system = models.CharField(max_length=64, blank=True)
    flag_version = models.PositiveIntegerField(help_text="The flag's version that the change was made from.")
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(get_user_model(), on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        ordering = ["-requested_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.key} {self.action}"


class PayloadVersion(models.Model):
    """One row, written with each change: processes look at it to see whether to read the flags again."""

    token = models.UUIDField()

    def __str__(self) -> str:
        return str(self.token)
