"""What ``pi_capture`` offers by its documented names."""

from __future__ import annotations

import pkgutil

import pi_capture


def test_no_module_hides_a_public_name() -> None:
    """A module is an attribute of its package once it is imported, and takes the place of a function of its name."""
    assert not {module.name for module in pkgutil.iter_modules(pi_capture.__path__)} & set(pi_capture.__all__)
