"""Millstream runs AI agents as stream processors. Everything public is here; see README.md."""
