"""One run, phase by phase: plan, open, measure, judge, confirm, record, report, close."""
