"""Methods, scores and tables of the evaluation."""
