"""
Admin pages for users and roles, in the theme's forms.

Django registers pages of its own for both. They do not use the theme's form fields, which the theme's style sheet then
leaves without a border, so that the forms seem to have no fields.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import admin as auth_admin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from monitoring.row_forms import UnchangedRowAdmin, UnchangedRowForm

admin.site.unregister([User, Group])


class UserForm(UnchangedRowForm, UserChangeForm):  # type: ignore[misc]
    """The form of an existing user. The password is changed on a page of its own."""


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[misc]
    """The form with which staff set a user's password. Django's form writes back every column as it was read."""

    def save(self, commit: bool = True) -> User:
        """Save the password only."""
        user: User = super().save(commit=False)
        user.save(update_fields=["password"])
        return user


@admin.register(User)
class UserAdmin(auth_admin.UserAdmin, UnchangedRowAdmin):  # type: ignore[type-arg]  # not generic at run time
    form = UserForm
    add_form = UserCreationForm
    change_password_form = PasswordForm
    list_display = ("username", "email", "roles", "is_active", "is_staff", "is_superuser", "last_login")
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ("user_permissions",)
    autocomplete_fields = ("groups",)
    fieldsets = (
        (None, {"fields": ("username", "password", "first_name", "last_name", "email")}),
        (gettext_lazy("Access"), {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        (gettext_lazy("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("username", "password1", "password2")}),)
    warn_unsaved_form = True

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Return the fieldsets. A new user has no stored row that another writer could change."""
        return super().get_fieldsets(request, obj) if obj else self.add_fieldsets

    @admin.display(description=gettext_lazy("Roles"))
    def roles(self, user: User) -> str:
        """Return the names of the user's groups, separated by commas."""
        return ", ".join(group.name for group in user.groups.all())


@admin.register(Group)
class RoleAdmin(UnchangedRowAdmin):
    list_display = ("name", "permission_count")
    search_fields = ("name",)
    ordering = ("name",)
    filter_horizontal = ("permissions",)
    warn_unsaved_form = True

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("permissions")

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the field with the content types of all permissions, which their names contain, in one statement."""
        kwargs.setdefault("queryset", db_field.remote_field.model.objects.select_related("content_type"))
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    @admin.display(description=gettext_lazy("Permissions"))
    def permission_count(self, group: Group) -> int:
        """Return the number of permissions of the role."""
        return len(group.permissions.all())
