"""Orchestration: one Prefect flow a stage, the driver flow, tracking. It knows the stages and no mathematics."""
