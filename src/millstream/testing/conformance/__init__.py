"""Conformance suites: what every store, source and sink must pass, for whoever writes one."""
