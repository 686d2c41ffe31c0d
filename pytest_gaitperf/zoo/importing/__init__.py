"""A user's own weights, from Keras or as ONNX, into a model repository."""
