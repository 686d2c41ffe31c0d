"""The gait-recognition networks, their variants, and the model repository that serves them."""
