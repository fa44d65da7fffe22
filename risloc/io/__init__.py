"""Files of scenes and of measurements."""
