"""What makes the claims of the documentation: each module runs one study and writes its page."""
