"""Conformance suites that plug-ins inherit: supply a fixture, and the plug-in is tested."""

from lobula.testing.engines import EngineConformance

__all__ = ["EngineConformance"]
