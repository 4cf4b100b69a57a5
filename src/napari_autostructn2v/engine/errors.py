"""The one exception that is the user's to mend; everything else that is raised is a bug."""

from __future__ import annotations


class InputError(ValueError):
    """Bad usage, data or file, told in one sentence: what was wrong, its value, what to do."""
