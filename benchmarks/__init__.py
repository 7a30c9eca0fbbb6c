"""Rows F1 to F9 of the budgets: ``python -m benchmarks`` prints the table. See README.md."""
