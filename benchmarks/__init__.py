"""What is fast, and how we know: each module prints a ratio measured side by side in one run."""
