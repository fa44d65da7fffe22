"""Methods, scores, tables and figures of the evaluation."""
