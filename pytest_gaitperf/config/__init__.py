"""What a user asks for: options, ``[tool.gaitperf]``, grid files and markers, as frozen values."""
