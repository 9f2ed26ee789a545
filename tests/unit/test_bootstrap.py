"""bootstrap.py reports missing requirements before it installs anything."""

from pathlib import Path

import pytest

import bootstrap


def test_an_old_python_is_reported_with_the_required_version() -> None:
    with pytest.raises(bootstrap.BootstrapError, match=r"3\.9 is too old: 3\.11 or newer"):
        bootstrap.check_python((3, 9, 18, "final", 0))


def test_the_minimum_python_is_accepted() -> None:
    bootstrap.check_python((3, 11, 0, "final", 0))


def test_a_python_too_new_for_the_packages_is_reported() -> None:
    with pytest.raises(bootstrap.BootstrapError, match=r"3\.14 is newer .* 3\.13 at most"):
        bootstrap.check_python((3, 14, 0, "final", 0))


@pytest.mark.parametrize("absent", ["venv", "ensurepip"])
def test_a_python_without_venv_is_reported_with_the_package_to_install(absent: str) -> None:
    with pytest.raises(bootstrap.BootstrapError, match=rf"no {absent} module.*python3-venv"):
        bootstrap.check_venv(lambda module: module != absent)


def test_a_full_disk_is_reported_with_free_and_needed_space() -> None:
    with pytest.raises(bootstrap.BootstrapError, match=r"10 MB left, but the packages need 3072 MB"):
        bootstrap.check_disk(10 * 2**20)


def test_a_failed_installation_names_the_variable_for_a_mirror() -> None:
    with pytest.raises(bootstrap.BootstrapError, match="UV_DEFAULT_INDEX"):
        bootstrap.run_installer("false")


def test_the_stamp_changes_with_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("one==1")
    before = bootstrap.installation_stamp(lock)
    lock.write_text("one==2")
    assert bootstrap.installation_stamp(lock) != before


def test_the_development_packages_include_those_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements").mkdir()
    run, dev = tmp_path / "requirements.txt", tmp_path / "requirements" / "dev.txt"
    run.write_text("one==1")
    dev.write_text("one==1\ntwo==2")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    assert not bootstrap.is_installed(run)
    (tmp_path / "installed").write_text(bootstrap.installation_stamp(dev))
    assert bootstrap.is_installed(run)
    (tmp_path / "installed").write_text(bootstrap.installation_stamp(run))
    assert not bootstrap.is_installed(dev)
