"""The conformance kit over every architecture of this repository."""

from zoo.testing.checks import *  # noqa: F403 - the checks are this module's tests
